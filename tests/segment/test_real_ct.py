"""Real CTs: correct levels if the whole lumbar spine is in view, otherwise none. A wrong level is the worst outcome."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import pytest

from node.measure import measure_levels
from node.model import MEASURED_LEVELS, Level, Segmentation, Volume
from node.segment import Segmenter
from node.settings.tree import MeasureSettings
from tests.volumes import read_nifti, volume_of_images


def quiet(_: str) -> None:
    """Progress that nobody reads."""


def _most_common_series(paths: list[Path]) -> Volume:
    """The largest series of a folder that holds a stray image too."""
    images = [pydicom.dcmread(path) for path in paths if path.is_file()]
    [(largest, _)] = Counter(d.SeriesInstanceUID for d in images).most_common(1)
    return volume_of_images([d for d in images if d.SeriesInstanceUID == largest])


def axial_series(folder: Path) -> Volume:
    """A folder that holds one regular axial series."""
    return volume_of_images([pydicom.dcmread(path) for path in sorted(folder.rglob("*")) if path.is_file()])


def test_whole_body_with_5_mm_slices(segmenter: Segmenter, data_file: Callable[[str], Path]) -> None:
    result = segmenter.segment(axial_series(data_file("ct/juno_wb")), quiet)
    heights = {body.level: body.centroid_lps_mm[2] for body in result.bodies}
    # Read by eye: ../shared/data/README.md.
    for level, z in ((Level.L1, -468.0), (Level.L2, -501.0), (Level.L3, -537.0), (Level.L4, -574.0), (Level.L5, -615.0)):
        assert level in heights, (level.name, result.reasons)
        assert abs(heights[level] - z) <= 8.0, level.name
    # sacrum and twelfth ribs are in view
    assert {body.evidence for body in result.bodies} == {"counted from sacrum, the last of twelve rib pairs agrees"}
    assert all(body.confidence > 0.95 for body in result.bodies)


def test_eleven_rib_pairs_give_no_name(segmenter: Segmenter, data_file: Callable[[str], Path]) -> None:
    """The first ribs are in view, and the last ones spring from the eleventh body (z = -75 mm)."""
    result = segmenter.segment(read_nifti(data_file("ct/eleven_ribs.nii.gz")), quiet)
    assert result.bodies == ()
    assert [reason.code for reason in result.reasons] == ["level_not_certain"]
    assert "eleven rib pairs: L1 may be T12" in str(result.reasons[0].detail)


def test_steep_ribs_in_a_narrow_field(segmenter: Segmenter, data_file: Callable[[str], Path]) -> None:
    """Each rib meets the spine lower beside its body than the one above, the last half a body below the middle."""
    result = segmenter.segment(read_nifti(data_file("ct/steep_ribs.nii.gz")), quiet)
    heights = {body.level: body.centroid_lps_mm[2] for body in result.bodies}
    expected = {Level.L1: -111.0, Level.L2: -148.0, Level.L3: -186.0, Level.L4: -224.0, Level.L5: -259.0}
    assert {level: heights[level] for level in expected} == pytest.approx(expected, abs=5.0), result.reasons
    assert heights[Level.T12] == pytest.approx(-78.0, abs=5.0)
    assert {body.evidence for body in result.bodies} == {"counted from sacrum, last rib agrees"}


def test_sagittal_study_with_a_sharp_kernel(segmenter: Segmenter, data_file: Callable[[str], Path]) -> None:
    images = [pydicom.dcmread(path) for path in sorted(data_file("ct/alexion_sagittal").rglob("*")) if path.is_file()]
    planes = Counter(tuple(round(float(v), 2) for v in d.ImageOrientationPatient) for d in images)
    [(plane, _)] = planes.most_common(1)
    volume = volume_of_images([d for d in images if tuple(round(float(v), 2) for v in d.ImageOrientationPatient) == plane])
    result = segmenter.segment(volume, quiet)
    heights = {body.level: body.centroid_lps_mm[2] for body in result.bodies}
    expected = {Level.L1: -1083.0, Level.L2: -1117.0, Level.L3: -1153.0, Level.L4: -1188.0}
    assert {level: heights[level] for level in expected} == pytest.approx(expected, abs=5.0), result.reasons
    levels = measure_levels(volume.hu, result.labels, volume.affine_lps_mm, list(result.bodies), MeasureSettings()).levels
    read_by_hand = {Level.L1: 147.0, Level.L2: 152.0, Level.L3: 140.0, Level.L4: 115.0}
    assert {level.level: level.hu_mean for level in levels if level.level in read_by_hand} == pytest.approx(
        read_by_hand, abs=10
    )


def test_degenerate_narrow_noisy_spine(segmenter: Segmenter, data_file: Callable[[str], Path]) -> None:
    folder = data_file("ct/verse014")
    volume = read_nifti(folder / "sub-verse014_ct.nii.gz")
    vertebrae = read_nifti(folder / "sub-verse014_seg-vert_msk.nii.gz").hu
    result = segmenter.segment(volume, quiet)
    assert {body.level for body in result.bodies} >= {Level.L1, Level.L2, Level.L3, Level.L4}
    for body in result.bodies:
        # The masks hold whole vertebrae: a body lies inside its own one.
        drawn = result.labels == int(body.level)
        if body.level in MEASURED_LEVELS:
            assert (vertebrae[drawn] == int(body.level)).mean() > 0.8, body.level.name
        assert np.isin(vertebrae[drawn], [0, int(body.level)]).mean() > 0.95, body.level.name


def _right_or_withheld(result: Segmentation, heights: dict[Level, float]) -> None:
    """Names from the last rib alone, each where it was read by eye in the coronal plane; or none, with the doubt stated."""
    for body in result.bodies:
        assert body.level in heights, body.level.name
        assert abs(body.centroid_lps_mm[2] - heights[body.level]) <= 8.0, body.level.name
        assert body.confidence <= 0.6
        assert "without the sacrum" in body.evidence or "from the last rib alone" in body.evidence
    if not result.bodies:
        assert [reason.code for reason in result.reasons] == ["level_not_certain"]


def test_abdomen_without_a_sacrum(segmenter: Segmenter, data_file: Callable[[str], Path]) -> None:
    """The last ribs spring from the body at z = -171 mm, on both sides."""
    images = sorted(data_file("ct/hcc_tace_006").rglob("*"))
    result = segmenter.segment(_most_common_series(images), quiet)
    assert {body.level for body in result.bodies} >= {Level.L1, Level.L2, Level.L3}, result.reasons
    _right_or_withheld(result, {Level.T12: -171.0, Level.L1: -202.0, Level.L2: -235.0, Level.L3: -271.0, Level.L4: -299.0})


@pytest.mark.parametrize("phase", [0, 1, 2])
def test_three_phases_of_one_abdomen(segmenter: Segmenter, data_file: Callable[[str], Path], phase: int) -> None:
    """The last ribs spring from the body at z = -125 mm. Never trained on."""
    images = [pydicom.dcmread(path) for path in sorted(data_file("ct/hcc_tace_011").rglob("*")) if path.is_file()]
    places = defaultdict(list)
    for image in sorted(images, key=lambda d: int(d.InstanceNumber)):
        places[round(float(image.ImagePositionPatient[2]), 2)].append(image)
    volume = volume_of_images([stack[phase] for stack in places.values() if len(stack) > phase])
    result = segmenter.segment(volume, quiet)
    assert result.bodies, result.reasons
    _right_or_withheld(result, {Level.T12: -125.0, Level.L1: -156.0, Level.L2: -189.0, Level.L3: -224.0})


def test_rudimentary_last_ribs_leave_doubt(segmenter: Segmenter, data_file: Callable[[str], Path]) -> None:
    """Below the last long ribs (z = -208 mm) stands a body with stumps: T12 or L1."""
    result = segmenter.segment(axial_series(data_file("ct/crlm_1004")), quiet)
    assert result.bodies == ()
    assert [reason.code for reason in result.reasons] == ["level_not_certain"]


def test_chest_without_a_complete_lumbar_vertebra(segmenter: Segmenter, data_file: Callable[[str], Path]) -> None:
    result = segmenter.segment(axial_series(data_file("ct/nlst_chest")), quiet)
    assert result.bodies == ()
    assert not result.labels.any()
    assert result.reasons[0].code in {"no_lumbar_spine", "level_not_certain"}


def test_chest_that_ends_in_the_lumbar_spine(
    segmenter: Segmenter, installed_ct: tuple[Volume, npt.NDArray[np.uint8]]
) -> None:
    volume, total = installed_ct
    result = segmenter.segment(volume, quiet)
    assert {body.level for body in result.bodies} == {Level.T12, Level.L1, Level.L2}, result.reasons
    # Twelve rib pairs are in view, from the first.
    assert {body.evidence for body in result.bodies} == {"counted from the last of twelve rib pairs, without the sacrum"}
    # TotalSegmentator: L1, L2, L3 = 31, 30, 29.
    for body in result.bodies:
        drawn = result.labels == int(body.level)
        assert (total[drawn] == 51 - int(body.level)).mean() > 0.8, body.level.name


def test_abdomen_and_pelvis_that_nothing_was_trained_on(segmenter: Segmenter, reference_files: Path) -> None:
    """The whole lumbar spine with sacrum and last ribs, at 3 mm; a bone island in L1, metal in a femur."""
    volume = read_nifti(reference_files / "example_ct.nii.gz")
    report = reference_files / "spine_report" / "test_result" / "totalseg_vertebrae_pp_refined.nii.gz"
    bodies = read_nifti(report).hu  # T12 to L5 = 19 to 24, as TotalSegmentator drew them
    result = segmenter.segment(volume, quiet)
    lumbar = {Level.L1, Level.L2, Level.L3, Level.L4, Level.L5}
    assert {body.level for body in result.bodies} - {Level.T12} == lumbar, result.reasons
    for body in result.bodies:
        drawn, true = result.labels == int(body.level), bodies == int(body.level)
        assert 2 * (drawn & true).sum() / (drawn.sum() + true.sum()) > 0.85, body.level.name
        assert body.evidence == "counted from sacrum, last rib agrees"


def test_chest_that_ends_at_t12(segmenter: Segmenter, reference_files: Path) -> None:
    result = segmenter.segment(read_nifti(reference_files / "aorta_report" / "example_ct.nii.gz"), quiet)
    assert result.bodies == ()
    assert result.reasons[0].code in {"no_lumbar_spine", "level_not_certain"}
