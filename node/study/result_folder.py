"""A row of the tables of studies, read from the folder of a result."""

from __future__ import annotations

from pathlib import Path

import pydicom
from pydantic import ValidationError
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from node.common.errors import InputError
from node.report import WrittenHeader, WrittenResult, written_header
from node.study.objects import PAGE_FILE, RESULT_FILE, SR_FILE

#: What a row takes from the objects: no text, no pixels.
_KEYWORDS = (
    *("SpecificCharacterSet", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientAge", "PatientSex"),
    *("PatientSize", "PatientWeight", "AccessionNumber", "StudyDate", "ContributingEquipmentSequence"),
)


def read_result(folder: Path) -> WrittenResult:
    """Read ``result.json``.

    Raises:
        InputError: it is missing or damaged.
    """
    path = folder / RESULT_FILE
    try:
        return WrittenResult.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise InputError(f"{path}: {error.error_count()} of its values are missing or wrong") from error


def read_header(folder: Path) -> WrittenHeader:
    """Read patient, study and scanner from the objects; what they do not say is empty, also if there are none."""
    return written_header(_header(folder / PAGE_FILE), _header(folder / SR_FILE))


def _header(path: Path) -> Dataset | None:
    try:
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_KEYWORDS))
    except (OSError, InvalidDicomError):
        return None
