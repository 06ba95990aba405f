"""Phantoms: levels and outlines against the truth that comes with them, in several orientations, and doubtful anatomy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from node.model import Level, Orientation, Segmentation
from node.phantom import ABDOMEN, FieldOfView, Phantom, PhantomParameters, Spine, make_phantom
from node.segment import Segmenter
from tests.volumes import volume_of


def quiet(_: str) -> None:
    """Progress that nobody reads."""


def segmented(segmenter: Segmenter, phantom: Phantom) -> Segmentation:
    return segmenter.segment(volume_of(phantom.hu, phantom.affine_lps_mm), quiet)


def truth_centres(phantom: Phantom) -> dict[Level, npt.NDArray[np.float64]]:
    out = {}
    for level in (Level.T12, Level.L1, Level.L2, Level.L3, Level.L4):
        voxels = np.argwhere(phantom.truth.labels == int(level))
        out[level] = phantom.affine_lps_mm[:3, :3] @ voxels.mean(axis=0) + phantom.affine_lps_mm[:3, 3]
    return out


CASES = {
    "axial 1 mm": PhantomParameters(noise_sd_hu=20.0, slice_distance_mm=1.0),
    "sagittal 3 mm": PhantomParameters(noise_sd_hu=20.0, slice_distance_mm=3.0, orientation=Orientation.SAGITTAL),
    "coronal 3 mm reversed": PhantomParameters(
        noise_sd_hu=20.0, slice_distance_mm=3.0, orientation=Orientation.CORONAL, reverse_slices=True, density_mg_cm3=60.0
    ),
    "abdomen 5 mm feet first": PhantomParameters(
        noise_sd_hu=15.0, slice_distance_mm=5.0, reverse_slices=True, field_of_view=ABDOMEN, density_mg_cm3=150.0
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_l1_to_l4_are_named_and_outlined(segmenter: Segmenter, case: str) -> None:
    phantom = make_phantom(CASES[case])
    result = segmented(segmenter, phantom)
    found = {body.level: body for body in result.bodies}
    for level, centre in truth_centres(phantom).items():
        if level == Level.T12 and level not in found:
            continue  # it comes along where it is whole
        assert level in found, (level.name, result.reasons)
        assert np.linalg.norm(np.array(found[level].centroid_lps_mm) - centre) < 4.0
        drawn, true = result.labels == int(level), phantom.truth.labels == int(level)
        assert 2 * (drawn & true).sum() / (drawn.sum() + true.sum()) > 0.8
    assert set(np.unique(result.labels)) == {0, *(int(body.level) for body in result.bodies)}


def test_the_same_input_gives_the_same_output(segmenter: Segmenter) -> None:
    phantom = make_phantom(PhantomParameters(slice_distance_mm=3.0, pixel_spacing_mm=1.0))
    first, second = segmented(segmenter, phantom), segmented(segmenter, phantom)
    assert first.bodies == second.bodies
    assert (first.labels == second.labels).all()


def test_without_the_sacrum_names_rest_on_the_last_rib(segmenter: Segmenter) -> None:
    view = FieldOfView((0.0, 0.0, 60.0), (260.0, 256.0, 190.0))
    phantom = make_phantom(PhantomParameters(slice_distance_mm=2.0, field_of_view=view))
    result = segmented(segmenter, phantom)
    centres = truth_centres(phantom)
    assert Level.L2 in {body.level for body in result.bodies}, result.reasons
    for body in result.bodies:
        assert np.linalg.norm(np.array(body.centroid_lps_mm) - centres[body.level]) < 10.0
        assert body.confidence <= 0.6
        assert body.evidence.startswith("counted from the last rib alone")


def test_without_sacrum_and_ribs_nothing_is_named(segmenter: Segmenter) -> None:
    view = FieldOfView((0.0, 25.0, 0.0), (110.0, 120.0, 120.0))
    phantom = make_phantom(PhantomParameters(slice_distance_mm=2.0, field_of_view=view))
    result = segmented(segmenter, phantom)
    assert result.bodies == ()
    assert not result.labels.any()
    assert [reason.code for reason in result.reasons] == ["level_not_certain"]


def test_six_lumbar_vertebrae_are_not_named_as_five(segmenter: Segmenter) -> None:
    view = FieldOfView((0.0, 0.0, 10.0), (360.0, 280.0, 380.0))
    phantom = make_phantom(PhantomParameters(slice_distance_mm=2.0, field_of_view=view, spine=Spine(lumbar_vertebrae=6)))
    result = segmented(segmenter, phantom)
    assert result.bodies == ()
    assert [reason.code for reason in result.reasons] == ["level_not_certain"]


def test_air_holds_no_spine(segmenter: Segmenter) -> None:
    affine = np.diag([2.0, 1.0, 1.0, 1.0])[:, [2, 1, 0, 3]]
    result = segmenter.segment(volume_of(np.full((60, 90, 90), -1000, dtype=np.int16), affine), quiet)
    assert result.bodies == ()
    assert [reason.code for reason in result.reasons] == ["no_lumbar_spine"]
