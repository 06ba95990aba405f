-- Sends every CT series to the node as soon as it is stable: for an Orthanc without the Python plugin.
-- The alias bmd-node must stand in DicomModalities. Results of the node are SEG, SR and OT, so they are not sent back.
-- Orthanc does not repeat a hand-over that failed: with a node that may be down, use the plugin.

function OnStableSeries(seriesId, tags, metadata)
   if tags['Modality'] == 'CT' then
      -- the whole series in one association, as a job; Lua's SendToModality() takes single images only
      RestApiPost('/modalities/bmd-node/store', '{"Resources": ["' .. seriesId .. '"], "Asynchronous": true}')
   end
end
