"""Contributing Equipment Sequence (0018,A001): the software and the algorithm that produced a result.

IHE Radiology AI Results (Rev. 1.3, section 6.5.3.1) requires every algorithm in it, with the values that a structured report
has for its device observer (TID 1004) and for the algorithm of its measurements (TID 4019).
"""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from node.common.uids import derived_uid
from node.model import Software
from node.model.codes import MANUFACTURER, MODEL_NAME
from node.report.headers import plain_text


def algorithm_name(software: Software) -> str:
    """Name of the measuring algorithm: this software with its segmenter, at most 64 characters."""
    return plain_text(f"{MODEL_NAME}, {software.segmenter}", 64)


def name_algorithms(ds: Dataset, software: Software, device_uid: str) -> None:
    """Add this software and its algorithm to the contributing equipment of an object.

    Args:
        ds: an object; existing items (scanner, library) stay.
        software: of the result.
        device_uid: of this software version, as in the device observer. The algorithm has its own UID, which changes
            with the segmenter.
    """
    version = plain_text(software.version, 64)
    algorithm_uid = derived_uid("bmd-node", "algorithm", software.version, software.segmenter)
    items = list(ds.get("ContributingEquipmentSequence", []))
    items.append(_item(MODEL_NAME, version, device_uid, "Software that made this object"))
    items.append(_item(algorithm_name(software), version, algorithm_uid, "Algorithm that segmented and measured"))
    ds.ContributingEquipmentSequence = items


def _item(name: str, version: str, uid: str, description: str) -> Dataset:
    purpose, item = Dataset(), Dataset()
    code = codes.DCM.ProcessingEquipment
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = code.value, code.scheme_designator, code.meaning
    item.PurposeOfReferenceCodeSequence = [purpose]
    item.Manufacturer = MANUFACTURER
    item.ManufacturerModelName = name
    item.SoftwareVersions = version
    item.DeviceUID = UID(uid)
    item.ContributionDescription = description
    return item
