"""From the headers of real DICOM files to the refusal: one case for each way in which a number could not be defended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from node.calibrate import Registry, convert, load_registry
from node.model import Bmd, Candidate, Level, LevelMeasurement, Selection
from node.phantom import CtHeader, write_ct_series
from node.select import select_series
from node.settings.tree import SelectSettings

#: The numbers are made up.
SITE = """
[[equation]]
id = "ours-120-soft"
manufacturer = ["SIEMENS"]
model = ["SOMATOM Definition AS"]
kvp = 120
kernel_class = "soft"
valid_from = 2026-01-10
valid_until = 2026-07-10
slope = 0.8
intercept = -3.0
material = "HA"
status = "active"
approved_by = "A. Physicist"
approved_on = 2026-01-12

[equation.fit]
phantom = "QRM-BDC 6-rod"
date = 2026-01-10
n = 30
r2 = 0.9995
slope_se = 0.002
intercept_se = 0.4
"""
HEADER = CtHeader(
    study_instance_uid="2.25.101",
    series_instance_uid="2.25.102",
    frame_of_reference_uid="2.25.103",
    patient_id="TEST",
    patient_name="TEST^REFUSAL",
    patient_sex="F",
    patient_age="066Y",
    study_date="20260301",
    manufacturer="SIEMENS",
    manufacturer_model_name="SOMATOM Definition AS",
    kvp=120.0,
    convolution_kernel="B30f",
)
#: 150 HU, 117 mg/cm3: a category anywhere, if there were an equation.
LEVELS = tuple(
    LevelMeasurement(level, (0.0, 0.0, 0.0), 150.0, 20.0, 1500.0, True, ()) for level in (Level.L1, Level.L2, Level.L3)
)


class Site:
    """A registry file and a folder of DICOM."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def registry(self, text: str = SITE) -> Registry:
        path = self._folder / "site.toml"
        path.write_text(text)
        return load_registry(path)

    def select(self, header: CtHeader = HEADER, **attributes: object) -> Selection:
        hu = np.random.default_rng(1).integers(-50, 200, (40, 36, 44)).astype(np.int16)
        affine = np.array([[0, 0, 0.8, 0], [0, 0.8, 0, 0], [2.5, 0, 0, 0], [0, 0, 0, 1.0]])
        paths = write_ct_series(hu, affine, header, self._folder / "ct")
        for path in paths if attributes else ():
            ds = pydicom.dcmread(path)
            for keyword, value in attributes.items():
                setattr(ds, keyword, value)
            ds.save_as(path)
        return select_series(paths, SelectSettings())

    def candidate(self, header: CtHeader = HEADER, **attributes: object) -> Candidate:
        (candidate,) = self.select(header, **attributes).candidates
        return candidate


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def refused(bmd: Bmd, code: str) -> str:
    """Assert that there is no number and no category, and the reason alone; returns its sentence."""
    assert (bmd.calibration, bmd.level_bmd_mg_cm3, bmd.bmd_mg_cm3, bmd.interval_mg_cm3, bmd.category) == (
        None,
        (),
        None,
        None,
        None,
    )
    assert [reason.code for reason in bmd.reasons] == [code]
    return bmd.reasons[0].detail


def test_what_fits_gets_bmd_interval_and_category(site: Site) -> None:
    facts = site.candidate().facts
    bmd = convert(LEVELS, facts, site.registry())
    assert bmd.bmd_mg_cm3 == pytest.approx(117.0)
    assert bmd.category is not None
    assert bmd.calibration is not None
    assert (bmd.calibration.id, bmd.calibration.slope_se) == ("ours-120-soft", 0.002)


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"manufacturer_model_name": "SOMATOM Force"}, "no_equation", "SOMATOM Force"),
        ({"manufacturer": None}, "scanner_unknown", "Manufacturer"),
        ({"kvp": 130.0}, "no_equation_for_kvp", "130 kVp"),
        ({"kvp": 135.0}, "no_equation_for_kvp", "135 kVp"),
        ({"kvp": 0.6}, "scanner_unknown", "KVP"),
        ({"convolution_kernel": "B70f"}, "no_equation_for_kernel", "is sharp"),
        ({"study_date": "20260711"}, "equation_expired", "2026-07-10"),
        ({"study_date": "20260109"}, "equation_not_yet_valid", "2026-01-10"),
        ({"study_date": None}, "ct_date_unknown", "no date"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else None,
)
def test_a_header_that_does_not_fit_gets_hu_only(site: Site, change: dict[str, object], code: str, says: str) -> None:
    facts = site.candidate(replace(HEADER, **change)).facts  # type: ignore[arg-type]
    assert says in refused(convert(LEVELS, facts, site.registry()), code)


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (lambda text: text.replace('"active"', '"pending"').split("approved_by")[0] + "[equation.fit]"
         + text.split("[equation.fit]")[1], "equation_pending"),
        (lambda text: text.replace('"active"', '"off"\nmessage = "Tube changed: calibrate again."'), "equation_off"),
    ],
    ids=["not approved", "switched off"],
)  # fmt: skip
def test_an_entry_that_nobody_approved_or_that_is_off_is_not_used(site: Site, edit: Callable[[str], str], code: str) -> None:
    refused(convert(LEVELS, site.candidate().facts, site.registry(edit(SITE))), code)


def test_several_energies_select_no_equation_whatever_kvp_says(site: Site) -> None:
    facts = site.candidate(MultienergyCTAcquisition="YES").facts
    assert "C.8.15.3.12" in refused(convert(LEVELS, facts, site.registry()), "multi_energy")


@pytest.mark.parametrize(
    "attributes",
    [{"SeriesDescription": "MonoE 70keV[HU]"}, {"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "VMI"]}],
    ids=["by description", "by image type"],
)
def test_mono_energetic_images_do_not_come_as_far_as_an_equation(site: Site, attributes: dict[str, object]) -> None:
    selection = site.select(HEADER, **attributes)
    assert selection.candidates == ()
    assert [left_out.code for left_out in selection.left_out] == ["spectral_image"]


def test_contrast_that_crosses_a_threshold_withholds_the_category_and_keeps_the_number(site: Site) -> None:
    enhanced = replace(HEADER, contrast_bolus_agent="Iohexol", series_description="Abdomen portal venous")
    facts = site.candidate(enhanced).facts
    bmd = convert([replace(level, hu_mean=180.0) for level in LEVELS], facts, site.registry())
    assert bmd.bmd_mg_cm3 == pytest.approx(141.0)
    assert (bmd.category, bmd.borderline, bmd.thresholds_crossed_mg_cm3) == (None, False, (120.0,))
    assert [reason.code for reason in bmd.reasons] == ["contrast", "category_withheld"]
    far = convert([replace(level, hu_mean=250.0) for level in LEVELS], facts, site.registry())
    assert far.category is not None, "above the threshold with and without the bias"


def test_a_child_gets_a_number_and_no_category(site: Site) -> None:
    bmd = convert(LEVELS, site.candidate(replace(HEADER, patient_age="016Y")).facts, site.registry())
    assert (bmd.bmd_mg_cm3, bmd.category) == (pytest.approx(117.0), None)
    assert [reason.code for reason in bmd.reasons] == ["category_withheld"]
