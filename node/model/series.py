"""A CT series: what its headers say, its images, and its voxels."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import numpy as np

from node.language.phrase import Phrase
from node.model.arrays import Affine, HuArray, Vector


class Orientation(StrEnum):
    """Plane that the slices of a series are nearest to."""

    AXIAL = "axial"
    SAGITTAL = "sagittal"
    CORONAL = "coronal"


class ContrastPhase(StrEnum):
    """Phase of intravenous contrast."""

    NONE = "none"
    ARTERIAL = "arterial"
    PORTAL_VENOUS = "portal_venous"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """The DICOM image that one slice of a volume comes from; ``frame_number`` counts from 1, 1 for single-frame images."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    frame_number: int = 1


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """What the headers say of a series; ``None`` where they say nothing.

    ``spacing_mm`` is (between columns, between rows, between slices), as the contract of ``result.json`` has it.
    ``multi_energy`` says that the images were made from several X-ray energies; then there is no ``kvp`` either.
    ``acquisition_date`` is the day on which the CT was made. ``patient_age_years`` (on that day) and ``patient_sex`` (``M``,
    ``F`` or ``O``, as Patient's Sex has them) are patient data: for decisions, never for a log or a report.
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
    patient_age_years: float | None = field(default=None, repr=False)
    patient_sex: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A series as one regular grid of Hounsfield units.

    Attributes:
        hu: int16, (slices, rows, columns), on the grid of the source images: ``hu[k]`` is the pixel matrix of ``frames[k]``.
        affine_lps_mm: 4 x 4; maps the array index (slice, row, column, 1) to the position of the voxel's centre in mm.
        facts: what the headers say.
        frames: the source image of every slice, in the order of axis 0.
    """

    hu: HuArray
    affine_lps_mm: Affine
    facts: SeriesFacts
    frames: tuple[SourceFrame, ...]

    @property
    def axis_spacing_mm(self) -> Vector:
        """Distance between voxel centres along axis 0, 1 and 2, in mm."""
        norms = np.linalg.norm(self.affine_lps_mm[:3, :3], axis=0)
        return (float(norms[0]), float(norms[1]), float(norms[2]))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A series of the study that could be measured, as the select room found it.

    Attributes:
        frames: its images in the order of axis 0 of the volume.
        facts: what the headers say.
        why: one sentence that says why it stands at its place among the candidates.
    """

    frames: tuple[SourceFrame, ...]
    facts: SeriesFacts
    why: Phrase


@dataclass(frozen=True, slots=True)
class SeriesLeftOut:
    """A series that is not measured, and why."""

    series_instance_uid: str
    code: str
    detail: Phrase


@dataclass(frozen=True, slots=True)
class Selection:
    """What a study offers: candidates, the best first, and every series left out with its reason."""

    candidates: tuple[Candidate, ...]
    left_out: tuple[SeriesLeftOut, ...]
