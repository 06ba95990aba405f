"""``[quality] population`` in the pipeline: a finding, or no measurement."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from node.model import Candidate, Level, VertebralBody
from node.phantom import CtHeader, write_ct_series
from node.select import select_series
from node.settings.tree import QualitySettings, SelectSettings, Settings
from node.study.pipeline import Pipeline, SegmentOutcome, StudyInput

HEADER = CtHeader("2.25.1", "2.25.2", "2.25.3", "TEST", "TEST^POPULATION", manufacturer="Philips", kvp=120.0)


@pytest.fixture
def candidate(tmp_path: Path) -> Candidate:
    """A block of 150 HU; the patient is 35 years old."""
    affine = np.array([[0, 0, 1.0, 0], [0, 1.0, 0, 0], [2.5, 0, 0, 0], [0, 0, 0, 1.0]])
    header = replace(HEADER, manufacturer_model_name="Brilliance 64", patient_sex="F", patient_age="035Y")
    hu = np.full((40, 48, 48), 150, np.int16)
    paths = write_ct_series(hu, affine, header, tmp_path / "ct")
    return select_series(paths, SelectSettings()).candidates[0]


def _segmented(candidate: Candidate, folder: Path) -> SegmentOutcome:
    labels = np.zeros((40, 48, 48), np.uint8)
    labels[12:28, 6:42, 6:42] = Level.L1
    path = folder / "bodies.npz"
    np.savez_compressed(path, labels=labels)
    body = VertebralBody(Level.L1, (24.0, 24.0, 50.0), 0.9, "drawn for a test")
    return SegmentOutcome(candidate, "digest", path, (body,), (), (), 0.0)


@pytest.mark.parametrize("effect", ["flag", "refuse"])
def test_who_is_outside_is_flagged_or_refused(candidate: Candidate, tmp_path: Path, effect: str) -> None:
    pipeline = Pipeline(Settings(quality=QualitySettings.model_validate({"population": effect})), lambda _: None)
    segmented = _segmented(candidate, tmp_path)
    measured = pipeline.measure(StudyInput((), tmp_path), segmented)
    bmd = pipeline.calibrate(segmented, measured)
    assert "population" in [finding.code for finding in measured.findings]
    assert measured.refused is (effect == "refuse")
    assert (measured.hu_mean is None) is (effect == "refuse")
    assert any(level.usable for level in measured.levels) is (effect == "flag")
    # a block without air, fat and muscle says nothing of its scale, so that there is no bone density either way
    assert bmd.bmd_mg_cm3 is None
    assert ("hu_scale" in [finding.code for finding in measured.findings]) is (effect == "flag")
