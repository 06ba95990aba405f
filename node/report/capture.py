"""DICOM attributes shared by the summary page and its PDF: patient, study and equipment."""

from __future__ import annotations

from datetime import datetime

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from node.model import StudyResult
from node.model.codes import MODEL_NAME
from node.report.equipment import name_algorithms
from node.report.headers import patient_and_study_of, plain_text, stamp
from node.report.uids import ReportUids


def capture(
    source: Dataset,
    result: StudyResult,
    uids: ReportUids,
    created: datetime,
    sop_class_uid: UID,
    sop_instance_uid: str,
    names_patient: bool,
) -> Dataset:
    """An object without series and content attributes, for Explicit VR Little Endian (PS3.3 C.8.6.1, C.24.1).

    Args:
        source: header of an image of the study.
        created: date and time of content.
        names_patient: whether the content says whose it is.
    """
    ds = Dataset()
    ds.update(patient_and_study_of(source))
    name_algorithms(ds, result.software, uids.device)
    stamp(ds, created)
    ds.StudyInstanceUID = source.StudyInstanceUID
    ds.SOPClassUID = sop_class_uid
    ds.SOPInstanceUID = sop_instance_uid
    ds.InstanceNumber = 1
    ds.SoftwareVersions = plain_text(result.software.version, 64)
    ds.DeviceSerialNumber = uids.device
    ds.ConversionType = "WSD"
    ds.SecondaryCaptureDeviceManufacturer = ds.Manufacturer
    ds.SecondaryCaptureDeviceManufacturerModelName = MODEL_NAME
    ds.SecondaryCaptureDeviceSoftwareVersions = ds.SoftwareVersions
    # whether it shows the patient's identity or a date (PS3.3 C.7.6.1, C.24.2)
    ds.BurnedInAnnotation = "YES" if names_patient else "NO"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds
