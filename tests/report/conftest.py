"""A small synthetic CT in every orientation, and results built by hand."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from node.language.phrase import joined, phrase
from node.measure.fracture import HeightLoss
from node.model import (
    AcrCategory,
    Bmd,
    Calibration,
    ContrastCorrection,
    ContrastPhase,
    FractureKind,
    LabelArray,
    Level,
    LevelMeasurement,
    Orientation,
    PriorComparison,
    Reason,
    SeriesFacts,
    SeriesLeftOut,
    Software,
    SourceFrame,
    StudyResult,
    VertebralBody,
    Volume,
)
from node.model.object_kinds import SrKind
from node.report import ReportUids, uids_for

CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
STUDY, SERIES, FRAME_OF_REFERENCE = "2.25.1001", "2.25.1002", "2.25.1003"
CREATED = datetime(2024, 5, 6, 7, 8, 9)

#: Bodies in LPS mm: centre and half axes, each different, so that no flip or swap maps one onto another.
BODIES = {
    Level.L1: ((3.0, 20.0, 55.0), (20.0, 14.0, 11.0)),
    Level.L2: ((0.0, 16.0, 20.0), (21.0, 15.0, 12.0)),
    Level.L3: ((-4.0, 14.0, -17.0), (22.0, 16.0, 12.5)),
    Level.L4: ((-6.0, 17.0, -55.0), (23.0, 17.0, 13.0)),
}
_TILT = np.deg2rad(17.0)
_COS, _SIN = float(np.cos(_TILT)), float(np.sin(_TILT))
#: Direction along a row (to the next column), along a column (to the next row), to the next slice; spacing likewise.
ORIENTATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...], tuple[float, float, float]]] = {
    "axial": ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1.5, 1.25, 3.0)),
    "axial_head_first": ((1, 0, 0), (0, 1, 0), (0, 0, -1), (1.5, 1.25, 3.0)),
    "sagittal": ((0, 1, 0), (0, 0, -1), (1, 0, 0), (1.25, 2.0, 3.0)),
    "sagittal_from_right": ((0, 1, 0), (0, 0, -1), (-1, 0, 0), (1.25, 2.0, 3.0)),
    "coronal": ((1, 0, 0), (0, 0, -1), (0, 1, 0), (1.5, 2.0, 2.5)),
    "oblique": ((1, 0, 0), (0, _COS, _SIN), (0, -_SIN, _COS), (1.5, 1.25, 3.0)),
}
_PLANE = {"axial": Orientation.AXIAL, "oblique": Orientation.AXIAL, "sagittal": Orientation.SAGITTAL}


@dataclass(frozen=True, eq=False)
class SyntheticCt:
    """A volume with its labels, and the headers it comes from."""

    volume: Volume
    sources: list[Dataset]
    labels: LabelArray
    regions: LabelArray


def synthetic_ct(orientation: str = "axial") -> SyntheticCt:
    """Random texture with four ellipsoid bodies; 170 mm along z, about 100 mm across."""
    row, column, step, spacing = ORIENTATIONS[orientation]
    extent = np.array([102.0, 84.0, 174.0])
    directions = [np.array(step), np.array(column), np.array(row)]
    steps = [spacing[2], spacing[1], spacing[0]]
    affine = np.eye(4)
    shape = []
    for axis, (direction, length) in enumerate(zip(directions, steps, strict=True)):
        affine[:3, axis] = direction * length
        shape.append(int(np.abs(direction) @ extent / length))
    centre = np.array([-2.0, 15.0, 0.0])
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.array(shape) - 1) / 2)

    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1) @ affine[:3, :3].T + affine[:3, 3]
    hu = np.random.default_rng(7).normal(30.0, 20.0, shape)
    labels = np.zeros(shape, dtype=np.uint8)
    regions = np.zeros(shape, dtype=np.uint8)
    for level, (middle, half_axes) in BODIES.items():
        radius = np.sqrt((((grid - middle) / half_axes) ** 2).sum(axis=-1))
        labels[radius <= 1.0] = int(level)
        regions[radius <= 0.6] = int(level)
        hu[radius <= 1.0] += 120.0
        hu[(radius > 0.85) & (radius <= 1.0)] += 250.0

    frames = tuple(SourceFrame(Path(f"{k:03d}.dcm"), CT, f"2.25.5{k:04d}") for k in range(shape[0]))
    facts = SeriesFacts(
        study_instance_uid=STUDY,
        series_instance_uid=SERIES,
        frame_of_reference_uid=FRAME_OF_REFERENCE,
        manufacturer="Philips",
        manufacturer_model_name="Brilliance 64",
        kvp=120.0,
        convolution_kernel="B",
        slice_thickness_mm=spacing[2],
        spacing_mm=spacing,
        orientation=_PLANE.get(orientation.split("_")[0], Orientation.CORONAL),
        contrast_phase=ContrastPhase.NONE,
    )
    volume = Volume(hu.astype(np.int16), affine, facts, frames)
    sources = [_header(volume, k, row, column) for k in range(shape[0])]
    return SyntheticCt(volume, sources, labels, regions)


def _header(volume: Volume, k: int, row: tuple[float, ...], column: tuple[float, ...]) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.SOPClassUID = CT
    ds.SOPInstanceUID = volume.frames[k].sop_instance_uid
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = STUDY, SERIES, FRAME_OF_REFERENCE
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Müller^Jörg", "4711", "19501231", "M"
    ds.StudyID, ds.AccessionNumber, ds.StudyDate, ds.StudyTime = "17", "A1", "20240102", "101500"
    ds.ReferringPhysicianName = "House^Gregory"
    ds.Manufacturer, ds.ManufacturerModelName, ds.SoftwareVersions = "Philips", "Brilliance 64", ["4.1", "patch 2"]
    ds.Modality, ds.InstanceNumber = "CT", k + 1
    ds.Rows, ds.Columns = volume.hu.shape[1:]
    ds.PixelSpacing = [volume.axis_spacing_mm[1], volume.axis_spacing_mm[2]]
    ds.SliceThickness = volume.axis_spacing_mm[0]
    ds.ImagePositionPatient = [round(float(v), 6) for v in (volume.affine_lps_mm @ [k, 0, 0, 1])[:3]]
    ds.ImageOrientationPatient = [round(float(v), 6) for v in (*row, *column)]
    ds.PositionReferenceIndicator = None
    return ds


def enhanced(ct: SyntheticCt) -> SyntheticCt:
    """The same series as one enhanced multi-frame image, its frames in reverse order."""
    count = len(ct.sources)
    ds = deepcopy(ct.sources[0])
    for keyword in ("PixelSpacing", "SliceThickness", "ImagePositionPatient", "ImageOrientationPatient"):
        del ds[keyword]
    ds.SOPClassUID, ds.SOPInstanceUID, ds.NumberOfFrames = ENHANCED_CT, "2.25.6000", count
    first = ct.sources[0]
    measures, orientation, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = first.PixelSpacing, first.SliceThickness
    orientation.ImageOrientationPatient = first.ImageOrientationPatient
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    ds.SharedFunctionalGroupsSequence = [shared]
    per_frame = []
    for source in reversed(ct.sources):
        position, item = Dataset(), Dataset()
        position.ImagePositionPatient = source.ImagePositionPatient
        item.PlanePositionSequence = [position]
        per_frame.append(item)
    ds.PerFrameFunctionalGroupsSequence = per_frame
    frames = tuple(SourceFrame(Path("enhanced.dcm"), ENHANCED_CT, "2.25.6000", count - k) for k in range(count))
    return replace(ct, volume=replace(ct.volume, frames=frames), sources=[ds])


CALIBRATION = Calibration(
    "schwaiger2014-120", 0.78, 0.0, "K2HPO4", "Schwaiger BJ et al., AJNR 2014;35(8):1628-1633, PMC7964446"
)
_HU = {Level.L1: (131.24, 24.61), Level.L2: (125.0, 26.0), Level.L3: (119.3, 22.9), Level.L4: (122.22, 25.5)}


def measured(ct: SyntheticCt) -> StudyResult:
    """Four usable levels with BMD and category: low bone mass."""
    bodies = tuple(VertebralBody(level, centre, 0.97, "counted from the sacrum") for level, (centre, _) in BODIES.items())
    levels = tuple(
        LevelMeasurement(level, BODIES[level][0], mean, deviation, 4200.5, usable=True, findings=())
        for level, (mean, deviation) in _HU.items()
    )
    means = [mean for mean, _ in _HU.values()]
    hu_mean = sum(means) / len(means)
    return StudyResult(
        status="measured",
        reasons=(),
        facts=ct.volume.facts,
        why_this_series="axial, thinnest slices, no contrast",
        series_left_out=(SeriesLeftOut("2.25.99", "localizer", "the series is a localizer"),),
        bodies=bodies,
        levels=levels,
        hu_mean=hu_mean,
        bmd=Bmd(
            CALIBRATION,
            tuple((level, 0.78 * mean) for level, (mean, _) in _HU.items()),
            0.78 * hu_mean,
            (0.78 * hu_mean - 9.0, 0.78 * hu_mean + 9.0),
            AcrCategory.LOW_BONE_MASS,
            (),
        ),
        timings_s=(("select", 0.123), ("segment", 4.0), ("measure", 0.5)),
        software=Software("0.1.0", "embedded 1"),
    )


def hu_only(ct: SyntheticCt) -> StudyResult:
    """No equation fits: HU, no BMD, no category."""
    reason = Reason("no_equation", "no validated HU-to-BMD equation for the scanner SIEMENS Biograph64: HU only")
    facts = replace(ct.volume.facts, manufacturer="SIEMENS", manufacturer_model_name="Biograph64")
    result = measured(ct)
    return replace(result, facts=facts, reasons=(reason,), bmd=Bmd(None, (), None, None, None, (reason,)))


def one_level(ct: SyntheticCt) -> StudyResult:
    """L2 alone is usable; one level is empty, one fractured, one not seen."""
    result = measured(ct)
    one, two, three, _ = result.levels
    one = replace(
        one,
        hu_mean=None,
        hu_sd=None,
        roi_volume_mm3=0.0,
        usable=False,
        findings=(Reason("small_region", "the region is empty after erosion by 10 mm"),),
    )
    three = replace(three, usable=False, findings=(Reason("fracture", "wedge shape: front 34 % lower than back"),))
    bmd = 0.78 * 125.0
    reason = Reason("one_level", "one usable level only; at least two are the consensus for a QCT class, the study took one")
    per_level = ((Level.L2, bmd), (Level.L3, 0.78 * 119.3))
    return replace(
        result,
        reasons=(reason,),
        bodies=result.bodies[:3],
        levels=(one, two, three),
        hu_mean=125.0,
        bmd=Bmd(CALIBRATION, per_level, bmd, (bmd - 12.0, bmd + 12.0), AcrCategory.LOW_BONE_MASS, (reason,)),
    )


def withheld(ct: SyntheticCt) -> StudyResult:
    """BMD without category: contrast, and the interval crosses a threshold."""
    result = measured(ct)
    reasons = (
        Reason("contrast", "portal venous phase: BMD is overestimated by an unknown amount"),
        Reason("category_withheld", "contrast-enhanced, and the interval 71 to 106 mg/cm3 crosses 80"),
    )
    facts = replace(ct.volume.facts, contrast_phase=ContrastPhase.PORTAL_VENOUS)
    return replace(result, facts=facts, reasons=reasons, bmd=replace(result.bmd, category=None, reasons=reasons))


def normal(ct: SyntheticCt) -> StudyResult:
    """Normal category, L1 excluded."""
    result = measured(ct)
    one = replace(result.levels[0], usable=False, findings=(Reason("metal", "screw in the body"),))
    levels = (one, *(replace(level, hu_mean=210.0 + 5 * n) for n, level in enumerate(result.levels[1:])))
    per_level = tuple((level.level, 0.78 * level.hu_mean) for level in levels if level.hu_mean is not None)
    bmd = Bmd(CALIBRATION, per_level, 167.7, (153.0, 182.5), AcrCategory.NORMAL, ())
    return replace(result, levels=levels, hu_mean=215.0, bmd=bmd)


def not_measured(ct: SyntheticCt) -> StudyResult:
    """Nothing could be measured in a series that was read."""
    reason = Reason("no_lumbar_spine", "no complete lumbar vertebra in the series: chest CT that ends at T11")
    return replace(
        measured(ct),
        status="not_measured",
        reasons=(reason,),
        bodies=(),
        levels=(),
        hu_mean=None,
        bmd=Bmd(None, (), None, None, None, ()),
    )


def fracture_findings(*fractures: tuple[Level, int]) -> dict[Level, Reason]:
    """Findings of crush fractures as the measurement makes them."""
    lost = {1: 0.22, 2: 0.35, 3: 0.5}
    against = phrase("compared with its neighbours")
    losses = {level: HeightLoss(FractureKind.CRUSH, lost[grade], grade, against) for level, grade in fractures}
    return {level: Reason("fracture", loss.said) for level, loss in losses.items()}


def with_fractures(result: StudyResult, *fractures: tuple[Level, int]) -> StudyResult:
    """The same with fractured vertebrae, given by level and grade; their levels stay in the mean."""
    found = fracture_findings(*fractures)
    each = joined((joined((level.name, reason.detail), " ") for level, reason in sorted(found.items())), "; ")
    seen = Reason("fracture", phrase("{each}. A fragility fracture matters at any BMD.", each=each))
    levels = tuple(
        replace(level, findings=(*level.findings, found[level.level])) if level.level in found else level
        for level in result.levels
    )
    return replace(result, levels=levels, reasons=(seen, *result.reasons))


def fractured(ct: SyntheticCt) -> StudyResult:
    """Low bone mass with three fractures, one of them of a vertebra that is not measured."""
    return with_fractures(measured(ct), (Level.L2, 2), (Level.T12, 3), (Level.L3, 1))


MEASURED_RESULTS: dict[str, Callable[[SyntheticCt], StudyResult]] = {
    "measured": measured,
    "hu_only": hu_only,
    "one_level": one_level,
    "withheld": withheld,
    "normal": normal,
    "fractured": fractured,
}
PRIOR = PriorComparison(
    "2.25.77", date(2023, 1, 2), 365, (Level.L2,), 125.0, 120.8, 97.5, 94.24, 3.3, 3.5, 5.0, not_comparable=()
)


def with_prior(result: StudyResult) -> StudyResult:
    """The same beside an earlier study."""
    return replace(result, prior=PRIOR)


def borderline(ct: SyntheticCt) -> StudyResult:
    """Osteoporosis, and the interval reaches into low bone mass; the site takes off for contrast."""
    taken_off = ContrastCorrection(ContrastPhase.ARTERIAL, 5.25, 3.0, "own scans", "Dr. A", date(2024, 1, 1))
    result = measured(ct)
    bmd = replace(
        result.bmd,
        bmd_mg_cm3=79.96,
        interval_mg_cm3=(73.2, 86.7),
        category=AcrCategory.OSTEOPOROSIS,
        thresholds_crossed_mg_cm3=(80.0,),
        contrast_correction=taken_off,
    )
    return replace(result, facts=replace(ct.volume.facts, contrast_phase=ContrastPhase.ARTERIAL), bmd=bmd)


def predecessors() -> list[Dataset]:
    """Headers of two reports that another one replaces."""
    found = []
    for number, kind in enumerate((SrKind.COMPREHENSIVE_3D, SrKind.BASIC_TEXT)):
        ds = Dataset()
        ds.StudyInstanceUID, ds.SeriesInstanceUID = STUDY, "2.25.4711"
        ds.SOPClassUID, ds.SOPInstanceUID = kind.sop_class_uid, f"2.25.815{number}"
        found.append(ds)
    return found


def labels_of(ct: SyntheticCt, result: StudyResult) -> tuple[LabelArray, LabelArray]:
    """Labels and regions that fit a result: bodies it names, regions of levels that have a mean."""
    named = [int(body.level) for body in result.bodies]
    filled = [int(level.level) for level in result.levels if level.hu_mean is not None]
    labels = np.where(np.isin(ct.labels, named), ct.labels, 0).astype(np.uint8)
    regions = np.where(np.isin(ct.regions, filled), ct.regions, 0).astype(np.uint8)
    return labels, regions


@pytest.fixture(scope="session")
def uids() -> ReportUids:
    return uids_for(STUDY, "digest", "0.1.0", "settings")


@pytest.fixture(scope="session")
def axial() -> SyntheticCt:
    return synthetic_ct("axial")
