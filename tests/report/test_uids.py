from dataclasses import astuple

import pytest
from pydicom.uid import UID

from node.common.uids import derived_uid
from node.model import Level
from node.report import uids_for

ARGUMENTS = ("1.2.3", "content", "0.1.0", "settings")


def _flat(value):
    return [v for item in value for v in _flat(item)] if isinstance(value, tuple) else [value]


def _strings(uids):
    return [v for v in _flat(astuple(uids)) if not isinstance(v, Level)]


def test_same_input_same_uids_all_valid_and_distinct():
    first, second = uids_for(*ARGUMENTS), uids_for(*ARGUMENTS)
    assert first == second
    strings = _strings(first)
    assert all(UID(uid).is_valid and uid.startswith("2.25.") for uid in strings)
    assert len(set(strings)) == len(strings)


@pytest.mark.parametrize("changed", range(4))
def test_every_part_of_the_input_changes_the_objects(changed):
    other = list(ARGUMENTS)
    other[changed] += "x"
    first, second = uids_for(*ARGUMENTS), uids_for(*other)
    for name in ("seg_series", "seg_instance", "seg_dimensions", "sr_series", "sr_instance", "page_series", "page_instance"):
        assert getattr(first, name) != getattr(second, name)


def test_a_vertebra_keeps_its_tracking_uid_when_it_is_measured_again():
    first, later = uids_for(*ARGUMENTS), uids_for("1.2.3", "more images", "0.2.0", "other settings")
    assert first.body_tracking(Level.L3) == later.body_tracking(Level.L3)
    assert first.region_tracking(Level.L3) == later.region_tracking(Level.L3)
    assert first.region_tracking(Level.L3) != uids_for("1.2.4", *ARGUMENTS[1:]).region_tracking(Level.L3)


def test_parts_cannot_run_into_each_other():
    assert derived_uid("ab", "c") != derived_uid("a", "bc")
    # SHA-256 of the parts, each after its length in four bytes: fixed for good, or sent objects could not be found again
    assert derived_uid("a") == "2.25.152858197640685108838808746101340050688"
