"""Chooses the series of a study that is measured, with a reason for every other one.

:func:`find_dicom` finds the files, :func:`select_series` ranks the series from their headers, :func:`load_volume` decodes
the pixels of a candidate. :func:`check_file` refuses a file that would cost too much. :func:`read_nifti` reads a NIfTI file.
Geometry is checked only here.
"""

from node.select.budget import check_file
from node.select.copies import is_same_image
from node.select.headers import values_judged_here
from node.select.nifti import read_nifti
from node.select.one_scan import SeveralScansError
from node.select.patients import CODE as IDENTITY_DIFFERS
from node.select.scan import find_dicom
from node.select.selection import select_series
from node.select.studies import StudyFiles, ct_studies
from node.select.volume import load_volume

__all__ = [
    "IDENTITY_DIFFERS",
    "SeveralScansError",
    "StudyFiles",
    "check_file",
    "ct_studies",
    "find_dicom",
    "is_same_image",
    "load_volume",
    "read_nifti",
    "select_series",
    "values_judged_here",
]
