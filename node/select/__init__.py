"""From the instances of a study to the series that is measured, and a reason for every one that is not.

:func:`find_dicom` finds the files, :func:`select_series` judges them from their headers, :func:`load_volume` decodes the
pixels of a candidate. :func:`read_nifti` reads a NIfTI file. Geometry is checked here and nowhere else.
"""

from node.select.nifti import read_nifti
from node.select.scan import find_dicom
from node.select.selection import select_series
from node.select.volume import load_volume

__all__ = ["find_dicom", "load_volume", "read_nifti", "select_series"]
