"""Findings of the scan: each with its measured value, its limit from the settings, and its effect."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.measure.scan import ScanView
from node.measure.scan_findings import scan_findings
from node.model import NO_BMD_CODES, ScanFindingCode, ScanReadings
from node.settings.tree import QualitySettings

GOOD = ScanReadings(air_hu=-998.0, noise_sd_hu=18.0, fat_hu=-104.0, muscle_hu=54.0, aorta_hu=41.0, canal_hu=16.0)
WIDE = ScanView(GOOD, 0.0, 500.0)
FAULTS = {
    "air": (ScanView(replace(GOOD, air_hu=-942.0)), 2.0, None, "-942 HU"),
    "noise": (ScanView(replace(GOOD, noise_sd_hu=63.0)), 2.0, None, "noise of 63 HU"),
    "sharp_kernel": (WIDE, 2.0, "B70f", "B70f is sharp"),
    "thick_slices": (WIDE, 5.0, None, "slices of 5 mm"),
    "patient_truncated": (ScanView(GOOD, 140.0, 500.0), 2.0, None, "cut off over 140 mm at the edge of an image of 500 mm"),
    "myelography": (ScanView(replace(GOOD, canal_hu=420.0)), 2.0, None, "420 HU"),
}


def test_a_good_scan_has_none() -> None:
    assert scan_findings(WIDE, 3.0, None, QualitySettings()) == ((), False)


def test_where_nothing_can_be_read_the_scale_is_not_known() -> None:
    found, refused = scan_findings(ScanView(), 3.0, None, QualitySettings())
    assert [finding.code for finding in found] == [ScanFindingCode.HU_SCALE]
    assert not refused


def test_a_narrow_image_that_cuts_the_patient_is_usual() -> None:
    assert scan_findings(ScanView(GOOD, 400.0, 160.0), 3.0, None, QualitySettings()) == ((), False)


@pytest.mark.parametrize("code", FAULTS)
@pytest.mark.parametrize("effect", ["flag", "refuse"])
def test_each_fault_is_found_and_has_its_effect(code: str, effect: str) -> None:
    view, thickness_mm, kernel, says = FAULTS[code]
    found, refused = scan_findings(view, thickness_mm, kernel, QualitySettings.model_validate({code: effect}))
    # a scale that is off costs the bone density as well, whatever the setting of the remark is
    [remark] = [finding for finding in found if finding.code not in NO_BMD_CODES]
    assert remark.code == code
    assert says in remark.detail
    assert (len(found) == 2) is (code == "air")
    assert refused is (effect == "refuse")


@pytest.mark.parametrize(
    ("limit", "code"),
    [
        ({"air_tolerance_hu": 60.0}, "air"),
        ({"noise_limit_hu": 70.0}, "noise"),
        ({"slice_thickness_limit_mm": 5.0}, "thick_slices"),
        ({"full_field_mm": 510.0}, "patient_truncated"),
        ({"cut_off_limit_mm": 150.0}, "patient_truncated"),
        ({"canal_limit_hu": 500.0}, "myelography"),
    ],
)
def test_limits_come_from_the_settings(limit: dict[str, float], code: str) -> None:
    view, thickness_mm, kernel, _ = FAULTS[code]
    found, refused = scan_findings(view, thickness_mm, kernel, QualitySettings.model_validate(limit))
    assert ([finding for finding in found if finding.code not in NO_BMD_CODES], refused) == ([], False)
