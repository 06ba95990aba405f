"""What the plugin decides, without Orthanc: settings, ledger, marks and waits."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.plugins.orthanc_server import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "plugins"))

# Orthanc puts the folder of the plugin on the path, here we do
from bmd_node_handover import Job, Ledger, mark_of
from bmd_node_pace import retry_delay_s
from bmd_node_settings import ConfigurationError, PluginSettings, Rule, read_settings


def test_without_a_section_the_defaults_hold() -> None:
    assert read_settings({"Name": "Orthanc"}) == PluginSettings(
        enable=True, hand_over="store", modality="bmd-node", retry_first_s=5.0, retry_max_s=120.0
    )


def test_every_key_is_read() -> None:
    rules = [{"Modality": "CT", "RemoteAET": "CT_*"}, {"SeriesDescription": "*spine*"}]
    section = {"Enable": False, "HandOver": "pull", "Modality": "node-2", "RetryFirstSeconds": 1, "RetryMaxSeconds": 2.5}
    expected = (Rule((("Modality", "CT"), ("RemoteAET", "CT_*"))), Rule((("SeriesDescription", "*spine*"),)))
    section |= {"Rules": rules, "NodeUser": "node"}
    assert read_settings({"BmdNode": section}) == PluginSettings(False, "pull", "node-2", "node", 1, 2.5, expected)


@pytest.mark.parametrize(
    "section",
    [
        [],
        {"Modalty": "bmd-node"},
        {"Enable": "yes"},
        {"Enable": 1},
        {"Modality": ""},
        {"Modality": 3},
        {"RetryFirstSeconds": 0},
        {"RetryFirstSeconds": True},
        {"RetryMaxSeconds": "60"},
        {"HandOver": "DICOMweb"},
        {"Rules": []},
        {"Rules": [{}]},
        {"Rules": {"Modality": "CT"}},
        {"Rules": [{"PatientName": "*"}]},
        {"Rules": [{"Modality": ["CT"]}]},
    ],
)
def test_a_wrong_section_is_refused(section: Any) -> None:
    with pytest.raises(ConfigurationError, match="BmdNode"):
        read_settings({"BmdNode": section})


@pytest.mark.parametrize(
    ("values", "meant"),
    [
        ({"Modality": "CT", "RemoteAET": "CT_2"}, True),
        ({"Modality": "ct ", "RemoteAET": "ct_2"}, True),
        ({"Modality": "CT", "RemoteAET": "PACS"}, False),
        ({"Modality": "MR", "RemoteAET": "CT_2"}, False),
        ({"Modality": "CT"}, False),
    ],
)
def test_a_rule_means_a_series_that_fits_all_of_it(values: dict[str, str], meant: bool) -> None:
    assert Rule((("Modality", "CT"), ("RemoteAET", "CT_?"))).matches(values) is meant


def test_a_study_that_is_owed_keeps_its_place() -> None:
    ledger = Ledger(3).owing(["a", "b"]).owing(["c", "a"])
    assert ledger.owed == ("a", "b", "c")
    assert ledger.settled("b").owed == ("a", "c")
    assert ledger.settled("z") == ledger


@pytest.mark.parametrize("job", [None, Job("job", "a", {"series": "mark"})])
def test_the_ledger_comes_back_from_its_text(job: Job | None) -> None:
    ledger = Ledger(17, ("a", "b"), job)
    assert Ledger.from_json(ledger.to_json()) == ledger


def test_the_mark_of_a_series_depends_on_its_images_and_not_on_their_order() -> None:
    assert mark_of(["b", "a"]) == mark_of(["a", "b"])
    assert mark_of(["a", "b"]) != mark_of(["a"])
    assert mark_of(["a", "b"]) != mark_of(["ab"])


def test_waits_double_up_to_the_longest() -> None:
    settings = PluginSettings(retry_first_s=5, retry_max_s=60)
    assert [retry_delay_s(n, settings) for n in range(7)] == [0, 5, 10, 20, 40, 60, 60]
    assert retry_delay_s(100_000, settings) == 60
