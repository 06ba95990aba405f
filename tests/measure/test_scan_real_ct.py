"""Real CTs: contrast phases, and readings in the range of each tissue. Bodies were marked manually, as boxes.

The arterial, portal venous and delayed scans of one patient are the hard case: below the renal veins the IVC is
unenhanced in all of them except the last.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from node.measure.scan_findings import ScanJudgement, judge_scan
from node.model import ContrastPhase, Level, Vector
from node.settings.tree import QualitySettings
from tests.conftest import DATA
from tests.measure.scans import drawn_bodies
from tests.volumes import volume_of_images

THREE_PHASES: dict[Level, Vector] = {Level.L1: (-14.0, 55.0, -155.0), Level.L2: (-12.0, 50.0, -189.0)}
#: Folder, bodies, phase, and whether the image shows contrast.
SCANS: dict[str, tuple[str, dict[Level, Vector], ContrastPhase, bool]] = {
    "without contrast": (
        "ct/juno_wb",
        {Level.L1: (-2, -130, -468), Level.L2: (-2, -139, -502), Level.L3: (-1, -146, -537), Level.L4: (-1, -149, -575)},
        ContrastPhase.NONE,
        False,
    ),
    "abdomen with contrast": (
        "ct/crlm_1004",
        {Level.L1: (5, 22, -292), Level.L2: (3, 14, -328), Level.L3: (4, 9, -362)},
        ContrastPhase.PORTAL_VENOUS,
        True,
    ),
    "chest with contrast": (
        "ct/lidc_0001",
        {Level.L1: (24, 38, -280), Level.L2: (26, 25, -309)},
        ContrastPhase.ARTERIAL,
        True,
    ),
}


@pytest.fixture
def folder() -> Callable[[str], Path]:
    def find(name: str) -> Path:
        path = DATA / name
        if not path.exists():
            pytest.skip(f"shared/data/{name} is not here")
        return path

    return find


def _images(folder: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted(folder.rglob("*")) if path.is_file()]


def _judge(images: list[pydicom.Dataset], centres: dict[Level, Vector]) -> ScanJudgement:
    """Only the slices around the bodies, to save time."""
    low, high = min(c[2] for c in centres.values()) - 40, max(c[2] for c in centres.values()) + 40
    volume = volume_of_images([image for image in images if low < image.ImagePositionPatient[2] < high])
    return judge_scan(volume, drawn_bodies(volume.hu.shape, volume.affine_lps_mm, centres), None, QualitySettings())


@pytest.mark.parametrize("scan", SCANS)
def test_phase_and_tissues_of_real_scans(folder: Callable[[str], Path], scan: str) -> None:
    name, centres, phase, present = SCANS[scan]
    judged = _judge(_images(folder(name)), centres)
    assert (judged.contrast.phase, judged.contrast.present) == (phase, present), judged.contrast.detail
    readings = judged.readings
    assert readings.air_hu == pytest.approx(-1000, abs=10)
    assert readings.fat_hu == pytest.approx(-100, abs=15)
    assert readings.muscle_hu == pytest.approx(55, abs=18)
    assert readings.canal_hu == pytest.approx(25, abs=15)
    assert readings.noise_sd_hu is not None
    assert 5 < readings.noise_sd_hu < 45
    assert {finding.code for finding in judged.findings} <= {"contrast_phase", "thick_slices"}


@pytest.mark.parametrize(
    ("scan", "phase"), [(0, ContrastPhase.ARTERIAL), (1, ContrastPhase.PORTAL_VENOUS), (2, ContrastPhase.PORTAL_VENOUS)]
)
def test_three_scans_of_one_patient(folder: Callable[[str], Path], scan: int, phase: ContrastPhase) -> None:
    """The third, later one has no name of its own: aorta and vena cava still hold the same blood."""
    places = defaultdict(list)
    for image in sorted(_images(folder("ct/hcc_tace_011")), key=lambda d: int(d.InstanceNumber)):
        places[round(float(image.ImagePositionPatient[2]), 2)].append(image)
    judged = _judge([stack[scan] for stack in places.values() if len(stack) > scan], THREE_PHASES)
    assert judged.contrast.phase is phase, judged.contrast.detail
    assert judged.readings.aorta_hu == pytest.approx({0: 321, 1: 208, 2: 150}[scan], abs=8)
    assert judged.readings.kidney_hu is None or judged.readings.kidney_hu > 120
