// A button on the page of a study in Orthanc Explorer: result and summary page of bmd-node.
$('#study').live('pagebeforecreate', function() {
  var button = $('<a>')
    .attr('id', 'bmd-node-button')
    .attr('data-role', 'button')
    .attr('data-icon', 'search')
    .attr('href', '#')
    .text('Bone mineral density');
  button.insertBefore($('#study-delete').parent().parent());
  button.click(function(event) {
    event.preventDefault();
    window.open('../bmd-node/studies/' + $.mobile.pageData.uuid + '/view');
  });
});
