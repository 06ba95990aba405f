"""A CT series: header facts, images and voxels."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import numpy as np

from node.language.phrase import Phrase
from node.model.arrays import Affine, HuArray, Vector
from node.model.reasons import Reason

#: Image Type of the slices that the node writes of a NIfTI file (PS3.3 C.7.6.1.1.2).
NIFTI_IMAGE_TYPE = ("DERIVED", "SECONDARY", "CONVERTED")


class Orientation(StrEnum):
    """Nearest plane of the slices of a series."""

    AXIAL = "axial"
    SAGITTAL = "sagittal"
    CORONAL = "coronal"


class ContrastPhase(StrEnum):
    """Phase of intravenous contrast."""

    NONE = "none"
    ARTERIAL = "arterial"
    PORTAL_VENOUS = "portal_venous"
    UNKNOWN = "unknown"


class AgeDoubt(StrEnum):
    """Why the age of a patient is not known although the header seems to state it."""

    FILLER = "filler"  # a value that a system fills in for want of one
    CONTRADICTION = "contradiction"  # age and birth date differ by more than a year
    VARIES = "varies"  # the images of the series differ


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """The DICOM image of one slice of a volume; ``frame_number`` counts from 1 and is 1 for single-frame images."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    frame_number: int = 1


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """Header facts of a series; ``None`` if they are not stated.

    ``spacing_mm`` is (between columns, between rows, between slices), as in ``result.json``.
    ``multi_energy`` means that the images were computed from several X-ray energies; then there is no ``kvp`` either.
    ``contrast_probable`` means that the concluded contrast phase is near a limit.
    ``acquisition_date`` is the day of the CT. ``patient_age_years`` (on that day) and ``patient_sex`` (``M``,
    ``F`` or ``O``, as in Patient's Sex) are patient data: for decisions, never for a log or a report. ``age_doubt`` says why
    there is no age where the header seems to state one. ``hu_doubt`` says why HU of the series are credible but not certain,
    so that there is no BMD.
    """

    study_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str | None
    manufacturer: str | None
    manufacturer_model_name: str | None
    kvp: float | None
    convolution_kernel: str | None
    slice_thickness_mm: float | None
    spacing_mm: Vector
    orientation: Orientation
    contrast_bolus_agent: str | None = None
    contrast_phase: ContrastPhase = ContrastPhase.UNKNOWN
    series_number: int | None = None
    series_description: str | None = None
    device_serial_number: str | None = None
    station_name: str | None = None
    acquisition_date: dt.date | None = None
    multi_energy: bool = False
    contrast_probable: bool = field(default=False, repr=False)
    patient_age_years: float | None = field(default=None, repr=False)
    patient_sex: str | None = field(default=None, repr=False)
    hu_doubt: Phrase | None = field(default=None, repr=False)
    age_doubt: AgeDoubt | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A series as one regular grid of Hounsfield units.

    Attributes:
        hu: int16, (slices, rows, columns), on the grid of the source images: ``hu[k]`` is the pixel matrix of ``frames[k]``.
        affine_lps_mm: 4 x 4; maps the array index (slice, row, column, 1) to the position of the voxel's centre in mm.
        facts: from the headers.
        frames: the source image of every slice, in the order of axis 0.
        scale_doubt: why the values are not those of the Hounsfield scale, as far as their frequencies show it.
    """

    hu: HuArray
    affine_lps_mm: Affine
    facts: SeriesFacts
    frames: tuple[SourceFrame, ...]
    scale_doubt: Phrase | None = None

    @property
    def axis_spacing_mm(self) -> Vector:
        """Distance between voxel centres along axis 0, 1 and 2, in mm."""
        norms = np.linalg.norm(self.affine_lps_mm[:3, :3], axis=0)
        return (float(norms[0]), float(norms[1]), float(norms[2]))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A measurable series of the study, found by the select room.

    Attributes:
        frames: its images in the order of axis 0 of the volume.
        facts: from the headers.
        why: one sentence on its rank among the candidates.
        remarks: what an administrator should know of its headers; not for the reader of the report.
    """

    frames: tuple[SourceFrame, ...]
    facts: SeriesFacts
    why: Phrase
    remarks: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class SeriesLeftOut:
    """A series that is not measured, and why."""

    series_instance_uid: str
    code: str
    detail: Phrase


@dataclass(frozen=True, slots=True)
class Selection:
    """The series of a study: candidates, best first, and excluded series with reasons."""

    candidates: tuple[Candidate, ...]
    left_out: tuple[SeriesLeftOut, ...]
