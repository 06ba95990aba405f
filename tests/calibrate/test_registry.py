"""Which entry a CT gets: each refusal, the order of several that fit, and ties."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import replace
from pathlib import Path

import pytest

from node.calibrate import Equation, Registry, convert, load_registry
from node.calibrate.verdict import verdict
from node.common.errors import ConfigurationError
from node.model import (
    Calibration,
    ContrastPhase,
    Level,
    LevelMeasurement,
    Orientation,
    Reason,
    SeriesFacts,
)

CT = SeriesFacts(
    study_instance_uid="2.25.1",
    series_instance_uid="2.25.2",
    frame_of_reference_uid="2.25.3",
    manufacturer="SIEMENS",
    manufacturer_model_name="SOMATOM Definition AS",
    kvp=120.0,
    convolution_kernel="B30f",
    slice_thickness_mm=1.0,
    spacing_mm=(0.8, 0.8, 1.0),
    orientation=Orientation.AXIAL,
    contrast_phase=ContrastPhase.PORTAL_VENOUS,
    device_serial_number="64123",
    station_name="CT1",
    acquisition_date=dt.date(2026, 3, 1),
)
FIT = {
    "phantom": "QRM-BDC 6-rod, serial number 12",
    "date": dt.date(2026, 1, 10),
    "n": 30,
    "r2": 0.9995,
    "slope_se": 0.001,
    "intercept_se": 0.2,
}


def entry(**fields: object) -> Equation:
    plain: dict[str, object] = {
        "id": "ours",
        "manufacturer": ["Siemens"],
        "model": ["SOMATOM Definition AS"],
        "kvp": 120,
        "slope": 0.8,
        "intercept": -3.0,
        "material": "HA",
        "source": "own phantom",
        "status": "active",
        "approved_by": "A. Physicist",
        "approved_on": dt.date(2026, 1, 12),
    }
    return Equation.model_validate(plain | fields)


def registry(*entries: Equation) -> Registry:
    return Registry((), entries)


REFUSALS: list[tuple[str, dict[str, object], dict[str, object], str, str]] = [
    ("unknown scanner", {}, {"manufacturer_model_name": "SOMATOM Definition AS+"}, "no_equation", "AS+"),
    ("another maker", {}, {"manufacturer": "Siemens / MIM"}, "no_equation", "MIM"),
    ("near-miss kVp 130", {}, {"kvp": 130.0}, "no_equation_for_kvp", "130 kVp"),
    ("near-miss kVp 135", {}, {"kvp": 135.0}, "no_equation_for_kvp", "135 kVp"),
    ("no kVp", {}, {"kvp": None}, "scanner_unknown", "KVP"),
    ("sharp kernel", {"kernel_class": "soft"}, {"convolution_kernel": "B60f"}, "no_equation_for_kernel", "is sharp"),
    ("soft kernel", {"kernel_class": "sharp"}, {}, "no_equation_for_kernel", "is soft"),
    ("unknown kernel", {"kernel_class": "soft"}, {"convolution_kernel": "T20s"}, "no_equation_for_kernel", "of kernel"),
    ("no kernel", {"kernel_class": "soft"}, {"convolution_kernel": None}, "no_equation_for_kernel", "not stated"),
    ("other phase", {"contrast_phase": "arterial"}, {}, "no_equation_for_phase", "portal_venous"),
    (
        "unknown phase",
        {"contrast_phase": "none"},
        {"contrast_phase": ContrastPhase.UNKNOWN},
        "no_equation_for_phase",
        "not known",
    ),
    ("other unit", {"device_serial_number": "64124"}, {}, "no_equation_for_device", "64123"),
    ("unit not stated", {"device_serial_number": "64123"}, {"device_serial_number": None}, "no_equation_for_device", "none"),
    ("other station", {"station_name": "CT2"}, {}, "no_equation_for_device", "CT1"),
    ("expired", {"valid_until": dt.date(2026, 2, 28)}, {}, "equation_expired", "2026-02-28"),
    ("not yet valid", {"valid_from": dt.date(2026, 3, 2)}, {}, "equation_not_yet_valid", "2026-03-02"),
    ("no date", {"valid_until": dt.date(2026, 12, 31)}, {"acquisition_date": None}, "ct_date_unknown", "no date"),
    ("unapproved", {"status": "pending", "approved_by": None, "approved_on": None}, {}, "equation_pending", "not approved"),
    ("off", {"status": "off", "message": "Tube changed: calibrate again."}, {}, "equation_off", "Tube changed"),
    ("mono-energetic", {}, {"multi_energy": True, "kvp": None}, "multi_energy", "C.8.15.3.12"),
    ("several energies with a KVP", {}, {"multi_energy": True}, "multi_energy", "multi-energy image"),
]


@pytest.mark.parametrize(
    ("fields", "change", "code", "says"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS]
)
def test_what_does_not_fit_gets_no_bmd_and_the_reason(
    fields: dict[str, object], change: dict[str, object], code: str, says: str
) -> None:
    facts = replace(CT, **change)  # type: ignore[arg-type]
    equations = registry(entry(**fields))
    reason = equations.match(facts)
    assert isinstance(reason, Reason)
    assert reason.code == code
    assert says in reason.detail
    assert "HU only" in reason.detail
    [judged] = equations.verdicts(facts)
    assert [one.code for one in judged.reasons] == [code]

    bmd = convert([LevelMeasurement(Level.L1, (0.0, 0.0, 0.0), 100.0, 20.0, 1500.0, True, ())], facts, equations)
    assert (bmd.calibration, bmd.bmd_mg_cm3, bmd.category) == (None, None, None)
    assert bmd.reasons == (reason,)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"kernel_class": "soft"},
        {"contrast_phase": "portal_venous"},
        {"device_serial_number": " 64123 "},
        {"station_name": "ct1"},
        {"valid_from": dt.date(2026, 3, 1), "valid_until": dt.date(2026, 3, 1)},
    ],
)
def test_what_fits_is_used(fields: dict[str, object]) -> None:
    match = registry(entry(**fields)).match(CT)
    assert isinstance(match, Calibration)
    assert (match.id, match.slope, match.intercept, match.material) == ("ours", 0.8, -3.0, "HA")
    assert (match.approved_by, match.approved_on) == ("A. Physicist", dt.date(2026, 1, 12))


def test_an_unknown_kernel_fits_only_what_is_not_restricted() -> None:
    facts = replace(CT, convolution_kernel="T20s")
    match = registry(entry(id="soft", kernel_class="soft"), entry(id="any")).match(facts)
    assert isinstance(match, Calibration)
    assert match.id == "any"


def test_every_reason_against_an_entry_is_said() -> None:
    judged = verdict(entry(kernel_class="sharp", station_name="CT2", status="off", message="x"), replace(CT, kvp=130.0))
    assert [reason.code for reason in judged.reasons] == [
        "no_equation_for_kvp",
        "no_equation_for_device",
        "no_equation_for_kernel",
        "equation_off",
    ]


def test_the_reason_is_that_of_the_nearest_entry() -> None:
    far, near = entry(id="far", kvp=140), entry(id="near", kernel_class="sharp")
    for entries in ((far, near), (near, far)):
        reason = registry(*entries).match(CT)
        assert isinstance(reason, Reason)
        assert reason.code == "no_equation_for_kernel"
        assert "near" in reason.detail
        assert "far" not in reason.detail


def _id(match: Calibration | Reason) -> str:
    assert isinstance(match, Calibration)
    return match.id


def test_the_most_specific_entry_wins_even_over_a_newer_one() -> None:
    entries = (
        entry(id="model", approved_on=dt.date(2026, 2, 20)),
        entry(id="kernel", kernel_class="soft"),
        entry(id="unit", kernel_class="soft", device_serial_number="64123"),
        entry(id="phase", kernel_class="soft", device_serial_number="64123", contrast_phase="portal_venous"),
    )
    for count in range(1, 5):
        for order in (entries[:count], entries[:count][::-1]):
            assert _id(registry(*order).match(CT)) == entries[count - 1].id
    assert _id(registry(*entries).match(replace(CT, device_serial_number="1"))) == "kernel"


def test_of_equally_specific_entries_the_newest_wins() -> None:
    old, new = entry(id="old", fit=FIT), entry(id="new", fit=FIT | {"date": dt.date(2026, 2, 1)})
    assert _id(registry(new, old).match(CT)) == "new"
    undated = entry(id="undated", approved_by=None, approved_on=None)
    assert _id(registry(undated, old).match(CT)) == "old"


def test_an_entry_that_is_newer_but_not_valid_yet_leaves_the_old_one_in_use() -> None:
    entries = (entry(id="old"), entry(id="new", valid_from=dt.date(2026, 3, 15)))
    assert _id(registry(*entries).match(CT)) == "old"
    assert _id(registry(*entries).match(replace(CT, acquisition_date=dt.date(2026, 3, 15)))) == "new"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {}),
        ({"kernel_class": "soft"}, {"device_serial_number": "64123"}),
        ({"model": ["Sensation 64", "SOMATOM  definition AS"]}, {"manufacturer": ["SIEMENS"]}),
        ({"valid_until": dt.date(2026, 6, 1), "fit": FIT}, {"valid_from": dt.date(2026, 6, 1), "fit": FIT}),
    ],
)
def test_a_tie_is_an_error_at_start(one: dict[str, object], other: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=r"first and second") as error:
        registry(entry(id="first", **one), entry(id="second", **other))
    assert "neither is more specific or newer" in str(error.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"kvp": 140}),
        ({}, {"model": ["Sensation 64"]}),
        ({"kernel_class": "soft"}, {"kernel_class": "sharp"}),
        ({"contrast_phase": "arterial"}, {"contrast_phase": "portal_venous"}),
        ({"device_serial_number": "1"}, {"device_serial_number": "2"}),
        ({"station_name": "CT1"}, {"station_name": "CT2"}),
        ({"valid_until": dt.date(2026, 6, 1), "fit": FIT}, {"valid_from": dt.date(2026, 6, 2), "fit": FIT}),
        ({}, {"kernel_class": "soft"}),
        ({}, {"approved_on": dt.date(2026, 1, 13)}),
        ({}, {"status": "pending"}),
        ({}, {"status": "off", "message": "x"}),
    ],
)
def test_what_no_ct_can_get_both_of_is_no_tie(one: dict[str, object], other: dict[str, object]) -> None:
    assert len(registry(entry(id="first", **one), entry(id="second", **other)).equations) == 2


def test_an_equation_for_the_phase_is_not_said_to_read_too_high() -> None:
    levels = [LevelMeasurement(level, (0.0, 0.0, 0.0), 150.0, 20.0, 1500.0, True, ()) for level in (Level.L1, Level.L2)]
    assert [reason.code for reason in convert(levels, CT, registry(entry())).reasons][:1] == ["contrast"]
    assert convert(levels, CT, registry(entry(contrast_phase="portal_venous"))).reasons == ()
    unenhanced = replace(CT, contrast_phase=ContrastPhase.NONE, contrast_bolus_agent="oral")
    assert [r.code for r in convert(levels, unenhanced, registry(entry(contrast_phase="none"))).reasons][:1] == ["contrast"]


def test_the_source_of_a_fit_is_its_statistics() -> None:
    match = registry(entry(source="", fit=FIT)).match(CT)
    assert isinstance(match, Calibration)
    assert "QRM-BDC 6-rod, serial number 12 of 2026-01-10: n = 30, R2 = 0.9995" in match.source


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"source": ""}, "source or its fit"),
        ({"fit": FIT | {"r2": 0.99}}, "0.995"),
        ({"fit": FIT | {"n": 2}}, "greater than or equal to 3"),
        ({"fit": FIT, "approved_by": None, "approved_on": None}, '"pending"'),
        ({"approved_on": None}, "set together"),
        ({"approved_by": "  "}, "at least 1 character"),
        ({"valid_from": dt.date(2026, 2, 1), "valid_until": dt.date(2026, 1, 1)}, "later than valid_until"),
        ({"valid_until": "2026-12-31"}, "valid date"),
        ({"valid_until": 20261231}, "valid date"),
        ({"contrast_phase": "unknown"}, "omit contrast_phase"),
        ({"kernel_class": "bone"}, "'soft' or 'sharp'"),
        ({"device_serial_number": " "}, "at least 1 character"),
        ({"intercept": float("nan")}, "finite"),
        ({"expires": dt.date(2026, 1, 1)}, "not permitted"),
    ],
)
def test_an_entry_that_is_wrong_is_refused(fields: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        entry(**fields)


def test_shipped_entries_alone_have_no_tie_and_nobody_to_name() -> None:
    shipped = load_registry(None)
    assert shipped.unapproved() == ()
    assert shipped.expired(dt.date(2100, 1, 1)) == ()


def test_the_documented_example_is_a_whole_entry(tmp_path: Path) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "calibration.md").read_text(encoding="utf-8")
    [example] = [block for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL) if "[[equation]]" in block]
    (tmp_path / "site.toml").write_text(example, encoding="utf-8")
    [documented] = load_registry(tmp_path / "site.toml").site
    assert documented.model_fields_set == set(Equation.model_fields)
    codes = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert codes == {case[3] for case in REFUSALS}, "every refusal is described"
