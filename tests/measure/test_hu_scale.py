"""A scale that is off has no bone density, whatever the tolerance of the remark ``air`` is."""

from __future__ import annotations

import pytest

from node.language.catalogue import Language, say
from node.language.phrase import phrase
from node.measure.hu_scale import off_scale
from node.measure.scan import ScanView
from node.measure.scan_findings import scan_findings
from node.model import ScanFindingCode, ScanReadings
from node.settings.tree import QualitySettings

#: Readings of real series without a fault: docs/findings.md, and python -m benchmarks.hu_scale (docs/admission.md).
REAL = [
    (-999, -100, 48),
    (-1007, -103, 50),
    (-997, -96, 69),
    (-1000, -92, 56),
    (None, None, 40),
    (None, -110, None),
    (-999, -110, 54),
    (-998, -96, 69),
    (-1001, -92, 57),
    (-1000, -105, 55),
    (-1000, -103, 63),
    (-1000, -102, 65),
    (-1010, -103, 54),
]


@pytest.mark.parametrize(("air", "fat", "muscle"), REAL)
def test_real_series(air: float | None, fat: float | None, muscle: float | None) -> None:
    assert off_scale(ScanReadings(air_hu=air, fat_hu=fat, muscle_hu=muscle), None) is None


@pytest.mark.parametrize(
    ("air", "fat", "muscle", "words"),
    [
        (-976.0, -84.0, 74.0, "-976 HU instead"),
        (-1024.0, -124.0, 28.0, "-1024 HU instead"),
        (-900.0, None, None, "-900 HU instead"),
        (None, -76.0, 74.0, "fat measures -76"),
        (None, -132.0, 28.0, "fat measures -132"),
        (None, None, 150.0, "muscle measures 150"),
        (None, None, None, "neither air nor fat nor muscle"),
    ],
)
def test_off(air: float | None, fat: float | None, muscle: float | None, words: str) -> None:
    found = off_scale(ScanReadings(air_hu=air, fat_hu=fat, muscle_hu=muscle), None)
    assert found is not None
    assert found.code == ScanFindingCode.HU_SCALE
    assert words in found.detail
    assert "no bone density" in found.detail
    assert "keine Knochendichte" in say(found.detail, Language.DE)


def test_the_tolerance_of_the_remark_changes_nothing() -> None:
    quality = QualitySettings(air_tolerance_hu=500)
    view = ScanView(ScanReadings(air_hu=-976.0, fat_hu=-84.0, muscle_hu=74.0))
    found, refused = scan_findings(view, 2.0, None, quality)
    assert ([reason.code for reason in found], refused) == (["hu_scale"], False)


def test_the_values_and_the_header_speak_too() -> None:
    view = ScanView(ScanReadings(air_hu=-1000.0))
    found, _ = scan_findings(view, 2.0, None, QualitySettings(), phrase("bone"), phrase("fat"))
    assert [reason.code for reason in found] == ["hu_not_certain", "hu_scale"]
