"""An intercept that is wrong by a constant: HU with a reason, no BMD, never a category."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread

from node.phantom import UNENHANCED
from node.settings.tree import QualitySettings, Settings
from node.study.pipeline import Pipeline, StudyInput
from tests.measure.scans import scan
from tests.study.test_scan_on_the_nodes_way import HARD, _segmented


@pytest.mark.parametrize(("off", "image_type", "code"), [(24, None, "hu_scale"), (0, "PROCESSED", "hu_not_certain")])
def test_hu_without_bmd(tmp_path: Path, off: int, image_type: str | None, code: str) -> None:
    segmented = _segmented(scan(replace(HARD, contrast=UNENHANCED)), tmp_path)
    assert segmented.candidate is not None
    for frame in segmented.candidate.frames:
        ds = dcmread(frame.path)
        ds.RescaleIntercept = str(float(ds.RescaleIntercept) + off)
        ds.save_as(frame.path)
    if image_type is not None:
        doubtful = replace(segmented.candidate.facts, hu_doubt="processed")
        segmented = replace(segmented, candidate=replace(segmented.candidate, facts=doubtful))
    pipeline = Pipeline(Settings(quality=QualitySettings(air_tolerance_hu=500)), lambda _: None)
    measured = pipeline.measure(StudyInput((), tmp_path), segmented)
    bmd = pipeline.calibrate(segmented, measured)
    assert measured.hu_mean is not None
    assert (bmd.bmd_mg_cm3, bmd.category, bmd.interval_mg_cm3) == (None, None, None)
    assert [reason.code for reason in bmd.reasons] == [code]
    assert "air" not in [finding.code for finding in measured.findings]
