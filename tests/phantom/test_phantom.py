"""What the image of a phantom shows is what its truth says."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import scipy.ndimage

from node.common.errors import ConfigurationError
from node.model import FractureKind, Level, Orientation
from node.phantom import (
    ARTERIAL,
    BONE_KERNEL,
    Anatomy,
    FieldOfView,
    Fracture,
    Pathology,
    PatientPosition,
    Phantom,
    PhantomParameters,
    Screws,
    Spine,
    make_phantom,
    random_parameters,
    write_truth,
)

#: The lumbar spine alone: quick to make.
SPINE_ONLY = FieldOfView((0.0, 20.0, 0.0), (64.0, 110.0, 196.0))
QUIET = PhantomParameters(noise_sd_hu=0.0, pixel_spacing_mm=1.0, slice_distance_mm=1.0, field_of_view=SPINE_ONLY)
LUMBAR = (Level.L1, Level.L2, Level.L3, Level.L4, Level.L5)


@pytest.fixture(scope="module")
def quiet() -> Phantom:
    return make_phantom(QUIET)


def spacing_mm(phantom: Phantom) -> npt.NDArray[np.float64]:
    spacing: npt.NDArray[np.float64] = np.linalg.norm(phantom.affine_lps_mm[:3, :3], axis=0)
    return spacing


def deep_inside(phantom: Phantom, level: Level, depth_mm: float) -> npt.NDArray[np.bool_]:
    """Voxels of a body further than ``depth_mm`` from its surface."""
    depth = scipy.ndimage.distance_transform_edt(phantom.truth.labels == level, sampling=spacing_mm(phantom))
    return np.asarray(depth > depth_mm)


def label_at(phantom: Phantom, labels: npt.NDArray[np.uint8], places_mm: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Labels of the voxels nearest to places (n, 3) in LPS mm."""
    to_index = np.linalg.inv(phantom.affine_lps_mm)
    index = np.rint(places_mm @ to_index[:3, :3].T + to_index[:3, 3]).astype(int)
    assert np.all(index >= 0)
    assert np.all(index < labels.shape)
    return np.asarray(labels[tuple(index.T)])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"kernel": BONE_KERNEL},
        {"orientation": Orientation.SAGITTAL, "slice_distance_mm": 3.0},
        {"slice_distance_mm": 2.5, "slice_thickness_mm": 5.0},
        {"slice_rotation_deg": (10.0, -8.0, 5.0), "pose_deg": (0.0, 6.0, 4.0)},
    ],
    ids=["axial", "bone kernel", "sagittal 3 mm", "overlapping 5 mm", "oblique"],
)
def test_mean_deep_inside_a_body_is_the_density_asked_for(changes: dict[str, object]) -> None:
    densities = ((Level.L1, 60.0), (Level.L2, 100.0), (Level.L3, 150.0), (Level.L4, 0.0), (Level.L5, 220.0))
    phantom = make_phantom(dataclasses.replace(QUIET, level_densities_mg_cm3=densities, **changes))  # type: ignore[arg-type]
    for level, density in densities:
        inside = deep_inside(phantom, level, 8.0)
        assert inside.sum() > 30
        assert phantom.hu[inside].mean() == pytest.approx(density / 0.78, abs=0.5)
        assert phantom.truth.level(level).hu == pytest.approx(density / 0.78)


@pytest.mark.parametrize("changes", [{}, {"kernel": BONE_KERNEL, "pixel_spacing_mm": 0.6}], ids=["smooth", "bone"])
def test_noise_has_the_standard_deviation_asked_for(changes: dict[str, object]) -> None:
    small = FieldOfView((0.0, 0.0, 0.0), (60.0, 60.0, 40.0))
    parameters = dataclasses.replace(QUIET, field_of_view=small, **changes)  # type: ignore[arg-type]
    without = make_phantom(parameters).hu.astype(float)
    noise = make_phantom(dataclasses.replace(parameters, noise_sd_hu=20.0)).hu - without
    assert noise.std() == pytest.approx(20.0, rel=0.02)
    assert abs(noise.mean()) < 0.5


def test_noise_of_a_smooth_kernel_is_correlated_like_that_of_ct() -> None:
    small = FieldOfView((0.0, 0.0, 0.0), (60.0, 60.0, 40.0))
    parameters = dataclasses.replace(QUIET, field_of_view=small, pixel_spacing_mm=0.6)
    noise = make_phantom(dataclasses.replace(parameters, noise_sd_hu=20.0)).hu - make_phantom(parameters).hu.astype(float)
    near = (noise[:, :, 1:] * noise[:, :, :-1]).mean() / noise.var()
    far = (noise[:, :, 8:] * noise[:, :, :-8]).mean() / noise.var()
    assert 0.2 < near < 0.9
    assert abs(far) < 0.1


@pytest.mark.parametrize(
    "changes",
    [
        {"reverse_slices": True},
        {"patient_position": PatientPosition.HEAD_FIRST_PRONE},
        {"orientation": Orientation.SAGITTAL},
        {"orientation": Orientation.SAGITTAL, "reverse_slices": True},
        {"orientation": Orientation.CORONAL},
        {"slice_rotation_deg": (4.0, 3.0, -5.0)},
        {"slice_distance_mm": 4.0},
    ],
    ids=["reversed", "prone", "sagittal", "sagittal reversed", "coronal", "oblique", "4 mm"],
)
def test_every_orientation_shows_the_same_bodies_at_the_same_places(quiet: Phantom, changes: dict[str, object]) -> None:
    wide = FieldOfView((0.0, 20.0, 0.0), (90.0, 130.0, 220.0))
    other = make_phantom(dataclasses.replace(QUIET, field_of_view=wide, **changes))  # type: ignore[arg-type]
    index = np.argwhere(quiet.truth.labels > 0)[::97]
    places = index @ quiet.affine_lps_mm[:3, :3].T + quiet.affine_lps_mm[:3, 3]
    here = label_at(quiet, quiet.truth.labels, places)
    there = label_at(other, other.truth.labels, places)
    assert (here == there).mean() > (0.88 if "slice_distance_mm" in changes else 0.94)
    for level in LUMBAR:
        # Labels and image belong together: the body is brighter inside than what surrounds it.
        mask = other.truth.labels == level
        ring = scipy.ndimage.binary_dilation(mask, iterations=4) & ~scipy.ndimage.binary_dilation(mask, iterations=2)
        assert other.hu[mask].mean() > np.median(other.hu[ring]) + 40


def test_centroids_are_the_centres_of_the_labels(quiet: Phantom) -> None:
    for level in LUMBAR:
        index = np.argwhere(quiet.truth.labels == level)
        place = quiet.affine_lps_mm[:3, :3] @ index.mean(axis=0) + quiet.affine_lps_mm[:3, 3]
        truth = quiet.truth.level(level)
        assert place == pytest.approx(np.array(truth.centroid_lps_mm), abs=0.2)
        assert len(index) == pytest.approx(truth.body_volume_mm3, rel=0.02)
        assert truth.visible_fraction == 1.0


def test_a_body_beyond_the_edge_of_the_image_is_said_to_be_cut() -> None:
    upper = FieldOfView((0.0, 0.0, 60.0), (60.0, 60.0, 110.0))
    truth = make_phantom(dataclasses.replace(QUIET, field_of_view=upper)).truth
    seen = {level.level: level.visible_fraction for level in truth.levels}
    assert seen[Level.L1] == seen[Level.L2] == 1.0
    assert 0.0 < seen[Level.L3] < 1.0
    assert seen[Level.L4] == seen[Level.L5] == 0.0
    assert Level.L4 not in truth.labels


def test_bodies_have_the_size_of_a_typical_adult(quiet: Phantom) -> None:
    for level in LUMBAR:
        index = np.argwhere(quiet.truth.labels == level)
        _, depth, width = np.ptp(index, axis=0) + 1
        assert 40 <= width <= 52
        assert 30 <= depth <= 42
        assert 22_000 < quiet.truth.level(level).body_volume_mm3 < 40_000
    slices = np.flatnonzero(np.isin(quiet.truth.labels, LUMBAR).any(axis=(1, 2)))
    assert 165 <= np.ptp(slices) <= 190


def test_thick_slices_are_means_of_thin_ones() -> None:
    small = FieldOfView((0.0, 0.0, 0.0), (60.0, 60.0, 60.0))
    thin = make_phantom(dataclasses.replace(QUIET, field_of_view=small)).hu.astype(float)
    thick = make_phantom(dataclasses.replace(QUIET, field_of_view=small, slice_distance_mm=5.0)).hu
    means = thin.reshape(12, 5, 60, 60).mean(axis=1)
    assert np.abs(means - thick).mean() < 1.5
    # A thin slice of every five would be another image.
    assert np.abs(thin[2::5] - thick).mean() > 10


def test_screws_are_metal_in_their_levels_alone_and_leave_the_labels(quiet: Phantom) -> None:
    phantom = make_phantom(dataclasses.replace(QUIET, screws=Screws()))
    metal = phantom.hu > 1400
    for level in (Level.L3, Level.L4, Level.L5):
        assert (metal & (phantom.truth.labels == level)).sum() > 500
    for level in (Level.T12, Level.L1, Level.L2):
        assert not (metal & (phantom.truth.labels == level)).any()
    np.testing.assert_array_equal(phantom.truth.labels, quiet.truth.labels)
    assert phantom.hu.max() == 3071


def test_contrast_fills_the_vessels_and_leaves_the_bone() -> None:
    wide = FieldOfView((0.0, 0.0, 40.0), (110.0, 140.0, 60.0))
    parameters = dataclasses.replace(QUIET, field_of_view=wide)
    plain, arterial = make_phantom(parameters), make_phantom(dataclasses.replace(parameters, contrast=ARTERIAL))
    inside = scipy.ndimage.binary_erosion(plain.truth.anatomy == Anatomy.AORTA, iterations=4)
    assert plain.hu[inside].mean() == pytest.approx(42, abs=2)
    assert arterial.hu[inside].mean() == pytest.approx(300, abs=2)
    bone = plain.truth.labels == Level.L2
    np.testing.assert_array_equal(plain.hu[scipy.ndimage.binary_erosion(bone, iterations=4)], 128)
    np.testing.assert_array_equal(arterial.hu[scipy.ndimage.binary_erosion(bone, iterations=4)], 128)


def test_anatomy_that_fools_naive_code_is_there() -> None:
    wide = FieldOfView((0.0, 10.0, -20.0), (400.0, 330.0, 340.0))
    phantom = make_phantom(
        dataclasses.replace(QUIET, field_of_view=wide, pixel_spacing_mm=1.5, slice_distance_mm=3.0, slice_thickness_mm=1.0)
    )
    anatomy = phantom.truth.anatomy
    for name in (
        Anatomy.TABLE,
        Anatomy.RIB_11,
        Anatomy.RIB_12,
        Anatomy.SACRUM,
        Anatomy.ILIUM,
        Anatomy.AORTA,
        Anatomy.VENA_CAVA,
        Anatomy.PSOAS,
        Anatomy.KIDNEY,
        Anatomy.LIVER,
        Anatomy.POSTERIOR_L3,
        Anatomy.DISC_L4,
        Anatomy.CANAL,
    ):
        assert (anatomy == name).sum() > 100, name.name
    bowel = phantom.hu[anatomy == Anatomy.BOWEL]
    assert (bowel > 200).sum() > 500
    assert (bowel < -800).sum() > 500
    # The last rib ends at T12's vertebra, beside its body, and no rib touches L1.
    rib = scipy.ndimage.binary_dilation(anatomy == Anatomy.RIB_12, iterations=2)
    assert (rib & np.isin(anatomy, (Anatomy.T12, Anatomy.POSTERIOR_T12))).any()
    assert not (rib & (anatomy == Anatomy.L1)).any()
    # Nothing but the table lies outside of the body: in a corner there is air.
    assert phantom.hu[:, 0, 0].max() == -1000


def test_a_sixth_lumbar_vertebra_and_a_fracture() -> None:
    spine = Spine(lumbar_vertebrae=6)
    pathology = Pathology(fractures=(Fracture(Level.L2, FractureKind.WEDGE, 0.4),))
    tall = FieldOfView((0.0, 20.0, -20.0), (64.0, 110.0, 240.0))
    phantom = make_phantom(dataclasses.replace(QUIET, field_of_view=tall, spine=spine, pathology=pathology))
    assert (phantom.truth.labels == Level.L6).sum() > 20_000
    heights = (phantom.truth.labels == Level.L2).sum(axis=0)
    rows = np.flatnonzero(heights.max(axis=1) > 10)
    front, back = heights[rows[3:8]].max(), heights[rows[-8:-3]].max()
    assert front < 0.8 * back


def test_texture_is_uneven_tissue_and_no_more() -> None:
    small = FieldOfView((0.0, 0.0, 0.0), (60.0, 60.0, 40.0))
    parameters = dataclasses.replace(QUIET, field_of_view=small)
    plain = make_phantom(parameters)
    uneven = make_phantom(dataclasses.replace(parameters, texture_sd_hu=10.0))
    inside = scipy.ndimage.binary_erosion(plain.truth.labels == Level.L3, iterations=4)
    difference = uneven.hu[inside] - plain.hu[inside].astype(float)
    assert 4.0 < difference.std() < 12.0
    assert abs(difference.mean()) < 1.0


def test_equal_parameters_give_equal_images_and_another_seed_another_one() -> None:
    small = FieldOfView((0.0, 0.0, 0.0), (40.0, 40.0, 30.0))
    parameters = PhantomParameters(field_of_view=small, texture_sd_hu=5.0)
    first, second = make_phantom(parameters), make_phantom(parameters)
    np.testing.assert_array_equal(first.hu, second.hu)
    np.testing.assert_array_equal(first.truth.anatomy, second.truth.anatomy)
    assert (first.hu != make_phantom(dataclasses.replace(parameters, seed=1)).hu).mean() > 0.5


def test_random_parameters_are_valid_wide_and_repeatable() -> None:
    drawn = [random_parameters(seed) for seed in range(300)]
    assert drawn[7] == random_parameters(7)
    densities = [p.density_mg_cm3 for p in drawn]
    assert min(densities) < 50
    assert max(densities) > 210
    assert {p.orientation for p in drawn} == set(Orientation)
    assert min(p.slice_distance_mm for p in drawn) == 0.6
    assert max(p.slice_distance_mm for p in drawn) == 5.0
    assert any(p.screws for p in drawn)
    assert any(p.spine.lumbar_vertebrae == 6 for p in drawn)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"noise_sd_hu": -1.0}, "noise_sd_hu"),
        ({"slice_distance_mm": 0.0}, "slice_distance_mm"),
        ({"level_densities_mg_cm3": ((Level.L2, 5000.0),)}, "L2"),
        ({"spine": Spine(lumbar_vertebrae=4)}, "lumbar_vertebrae"),
        ({"seed": -1}, "seed"),
        ({"field_of_view": FieldOfView((0, 0, 0), (2000.0, 2000.0, 2000.0))}, "voxels"),
        ({"pixel_spacing_mm": float("nan")}, "pixel_spacing_mm"),
    ],
)
def test_a_value_without_meaning_is_refused_by_name(changes: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        dataclasses.replace(QUIET, **changes)  # type: ignore[arg-type]


def test_truth_as_json(quiet: Phantom, tmp_path: Path) -> None:
    write_truth(quiet, tmp_path / "new" / "truth.json")
    content = json.loads((tmp_path / "new" / "truth.json").read_text(encoding="utf-8"))
    assert [level["level"] for level in content["levels"]] == ["T12", "L1", "L2", "L3", "L4", "L5"]
    assert content["levels"][1]["density_mg_cm3"] == 100.0
    assert content["scanner"]["slope_mg_cm3_per_hu"] == 0.78
    assert content["parameters"]["orientation"] == "axial"
