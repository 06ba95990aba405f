"""Second opinions: every view of a scene keeps the geometry, and a spliced spine has the bodies that it says."""

from __future__ import annotations

import numpy as np
import pytest

from node.model import Level
from node.phantom import PhantomParameters, make_phantom
from node.segment.embedded import EmbeddedSegmenter
from training.ct import Ct
from training.opinions import VIEWS, Opinions, names_in, opinions, table
from training.scenes import Scene, cut, scene_of
from training.scoring import RIGHT_WITHIN_MM
from training.spliced import spliced_scenes

LUMBAR = range(int(Level.L1), int(Level.L5) + 1)


@pytest.fixture(scope="module")
def scene() -> Scene:
    phantom = make_phantom(PhantomParameters(pixel_spacing_mm=1.5, slice_distance_mm=3.0))
    return scene_of(Ct("phantom", phantom.hu, phantom.affine_lps_mm), phantom.truth.labels, None)


@pytest.fixture(scope="module")
def segmenter() -> EmbeddedSegmenter:
    return EmbeddedSegmenter()


@pytest.mark.slow
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_names_the_same_bodies(scene: Scene, segmenter: EmbeddedSegmenter, view: str) -> None:
    names, _ = names_in(*VIEWS[view](segmenter.network, scene))
    for level in LUMBAR:
        assert np.linalg.norm(np.subtract(names[level], scene.centres_mm[level])) < RIGHT_WITHIN_MM, (view, level)


@pytest.mark.slow
def test_spliced_spines_are_counted_from_both_landmarks(scene: Scene, segmenter: EmbeddedSegmenter) -> None:
    centres = {level: scene.centres_mm[level] for level in LUMBAR}
    made = [one for one in spliced_scenes([(scene, centres)], 1) if one.sacrum and one.last_rib]
    assert [sorted(one.centres_mm) for one in made] == [
        [*range(int(Level.L1), int(Level.L4) + 1)],
        [*range(int(Level.L1), int(Level.L6) + 1)],
    ]
    for one, words in zip(made, ("four lumbar-type vertebrae", "six lumbar-type vertebrae"), strict=True):
        seen = opinions(segmenter.network, one, "spliced", None, ("plain",))
        assert seen.wrong == 0, seen
        assert words in seen.said, seen


def test_a_cut_scene_keeps_its_places(scene: Scene) -> None:
    middle = scene.centres_mm[int(Level.L3)]
    part = cut(scene, middle[2] - 60.0, middle[2] + 60.0)
    assert part.whole == {int(Level.L2), int(Level.L3), int(Level.L4)}
    at = tuple(np.round((np.array(middle) - part.grid.origin_lps_mm)[::-1] / part.grid.spacing_mm).astype(int))
    before = tuple(np.round((np.array(middle) - scene.grid.origin_lps_mm)[::-1] / scene.grid.spacing_mm).astype(int))
    assert part.hu[at] == scene.hu[before]
    assert part.hu.shape[0] == pytest.approx(120.0 / part.grid.spacing_mm, abs=2)


def test_a_view_that_says_something_else_contradicts() -> None:
    l1, l2, l3 = (0.0, 0.0, 0.0), (0.0, 0.0, -36.0), (0.0, 0.0, -72.0)
    plain = {int(Level.L1): l1, int(Level.L2): l2}
    one = Opinions("one", "real", {"plain": plain, "mirrored": dict(plain), "moved": {}}, 2, 0, 0, True)
    assert (one.contradicted, one.silent) == ((), ("moved",))
    shifted = {int(Level.L1): l2, int(Level.L2): l3}
    other = Opinions("other", "real", {"plain": plain, "mirrored": shifted, "moved": {}}, 0, 2, 0, True)
    assert other.contradicted == ("mirrored",)
    said = table([one, other])
    assert "2 CTs; levels 2 right, 2 wrong" in said
    assert "mirrored: contradicts 1 of 1 wrong and 0 of 1 right" in said
