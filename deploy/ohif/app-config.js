// OHIF (https://ohif.org) on Orthanc's DICOMweb, from the same origin: see nginx.conf beside this file.

// The segmentation mode's bundle holds onnxruntime, which asks for this name of Node.js where the browser no longer says which
// script runs. That happens when scripts arrive in an unusual order, and the reader would see an empty page.
window.__filename = '/';

window.config = {
  name: 'bmd-node',
  routerBasename: '/',
  extensions: [],
  modes: [],
  customizationService: {
    // the summary page is one picture (modality OT): nothing to play
    autoCineModalities: { $set: ['US'] },
    'ohif.tours': { $set: [] },
  },
  showStudyList: true,
  showLoadingIndicator: true,
  showWarningMessageForCrossOrigin: false,
  showCPUFallbackMessage: true,
  strictZSpacingForVolumeViewport: true,
  maxNumberOfWebWorkers: 3,
  maxNumRequests: { interaction: 100, thumbnail: 75, prefetch: 25 },
  defaultDataSourceName: 'orthanc',
  dataSources: [
    {
      namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
      sourceName: 'orthanc',
      configuration: {
        friendlyName: 'Orthanc',
        name: 'orthanc',
        qidoRoot: '/dicom-web',
        wadoRoot: '/dicom-web',
        wadoUriRoot: '/dicom-web',
        // Orthanc 1.10 answers with rendered pictures only for what it can render: pixels are asked for as they are stored
        imageRendering: 'wadors',
        thumbnailRendering: 'wadors',
        enableStudyLazyLoad: true,
        qidoSupportsIncludeField: false,
        supportsFuzzyMatching: false,
        supportsWildcard: true,
        omitQuotationForMultipartRequest: true,
        bulkDataURI: { enabled: true },
      },
    },
  ],
};
