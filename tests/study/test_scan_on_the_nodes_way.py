"""Scan quality in the pipeline: contrast in the image reaches facts, equation and category; findings can refuse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from node.model import AcrCategory, ContrastPhase, VertebralBody
from node.phantom import MYELOGRAPHY, PORTAL_VENOUS, UNENHANCED, Contrast, Phantom, write_series
from node.select import select_series
from node.settings.tree import QualitySettings, SelectSettings, Settings
from node.study.pipeline import MeasureOutcome, Pipeline, SegmentOutcome, StudyInput, concluded_facts
from tests.measure.scans import SMALL, scan

#: BMD 130: normal, but not if contrast may have raised it.
HARD = replace(SMALL, density_mg_cm3=131.0)


def _segmented(phantom: Phantom, folder: Path) -> SegmentOutcome:
    """Outcome of a perfect segmenter: the true masks."""
    candidate = select_series(write_series(phantom, folder / "ct"), SelectSettings()).candidates[0]
    path = folder / "bodies.npz"
    np.savez_compressed(path, labels=phantom.truth.labels)
    bodies = tuple(
        VertebralBody(truth.level, truth.centroid_lps_mm, 1.0, "truth")
        for truth in phantom.truth.levels
        if truth.visible_fraction > 0.9
    )
    return SegmentOutcome(candidate, "digest", path, bodies, (), (), 0.0)


def _measure(
    contrast: Contrast, folder: Path, quality: QualitySettings | None = None
) -> tuple[Pipeline, SegmentOutcome, MeasureOutcome]:
    pipeline = Pipeline(Settings(quality=quality or QualitySettings()), lambda _: None)
    segmented = _segmented(scan(replace(HARD, contrast=contrast)), folder)
    return pipeline, segmented, pipeline.measure(StudyInput((), folder), segmented)


@pytest.mark.parametrize(
    ("contrast", "phase", "codes", "category"),
    [
        (UNENHANCED, ContrastPhase.NONE, [], AcrCategory.NORMAL),
        (replace(PORTAL_VENOUS, agent=None), ContrastPhase.PORTAL_VENOUS, ["contrast", "category_withheld"], None),
        # the header names an agent, which is in the canal and not in the vessels
        (MYELOGRAPHY, ContrastPhase.NONE, [], AcrCategory.NORMAL),
    ],
    ids=["none", "portal venous, header silent", "myelography"],
)
def test_the_phase_of_the_image_decides(
    tmp_path: Path, contrast: Contrast, phase: ContrastPhase, codes: list[str], category: AcrCategory | None
) -> None:
    pipeline, segmented, measured = _measure(contrast, tmp_path)
    facts = concluded_facts(segmented, measured)
    bmd = pipeline.calibrate(segmented, measured)
    assert facts is not None
    assert facts.contrast_phase is phase
    assert bmd.bmd_mg_cm3 == pytest.approx(131, abs=3)
    assert [reason.code for reason in bmd.reasons] == codes
    assert bmd.category is category
    assert measured.scan.aorta_hu == pytest.approx(contrast.aorta_hu, abs=6)
    said = {finding.code: finding.detail for finding in measured.findings}
    assert ("myelography" in said) is (contrast is MYELOGRAPHY)
    if contrast is MYELOGRAPHY:
        assert "the header records a contrast agent, but the image shows no contrast" in said["contrast_phase"]
    if phase is ContrastPhase.PORTAL_VENOUS:
        assert "the header records no contrast agent" in said["contrast_phase"]


def test_a_refused_scan_is_not_measured_and_says_why(tmp_path: Path) -> None:
    pipeline, segmented, measured = _measure(MYELOGRAPHY, tmp_path, QualitySettings(myelography="refuse"))
    assert measured.refused
    assert (measured.levels, measured.hu_mean, measured.regions_path) == ((), None, None)
    assert "myelography" in [finding.code for finding in measured.findings]
    assert measured.scan.canal_hu == pytest.approx(MYELOGRAPHY.dural_sac_hu, rel=0.1)
    assert pipeline.calibrate(segmented, measured).bmd_mg_cm3 is None
