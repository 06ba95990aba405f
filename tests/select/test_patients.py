"""Series whose images do not agree on their patient, or on other facts."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from node.calibrate import population_reason
from node.model import AgeDoubt, ContrastPhase
from node.select import select_series
from node.settings.tree import SelectSettings
from tests.select.ct_series import bend, make_series, write

SETTINGS = SelectSettings()


@pytest.mark.parametrize("which", [slice(0, 1), slice(39, 40), slice(0, 40, 2), slice(20, 40)])
def test_a_series_of_two_patients_is_refused(tmp_path: Path, which: slice, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    series = make_series(40)
    bend(series[which], PatientID="NOBODY", PatientName="NOBODY^ELSE")
    selection = select_series(write(tmp_path, series), SETTINGS)
    assert selection.candidates == ()
    [left] = selection.left_out
    assert (left.series_instance_uid, left.code) == (series[0].SeriesInstanceUID, "identity_differs")
    assert "Patient ID, Patient's Name" in left.detail
    for value in ("NOBODY", "SECRET"):
        assert value not in f"{selection} {caplog.text}"


def test_a_study_of_two_patients_is_refused(tmp_path: Path) -> None:
    one = make_series(40)
    other = bend(make_series(3, study_uid=one[0].StudyInstanceUID), PatientID="NOBODY")
    selection = select_series(write(tmp_path, [*one, *other]), SETTINGS)
    assert selection.candidates == ()
    assert {left.code for left in selection.left_out} == {"identity_differs"}
    assert len(selection.left_out) == 2


def test_another_study_of_another_patient_does_not_matter(tmp_path: Path) -> None:
    selection = select_series(write(tmp_path, [*make_series(40), *bend(make_series(40), PatientID="NOBODY")]), SETTINGS)
    assert len(selection.candidates) == 1


def test_a_spelling_or_a_gap_is_told_without_values(tmp_path: Path) -> None:
    series = make_series(40)
    bend(series[:1], PatientName="Secret^Patient", PatientID="")
    selection = select_series(write(tmp_path, series), SETTINGS)
    [candidate] = selection.candidates
    [remark] = candidate.remarks
    assert remark.code == "identity_written_differently"
    assert "Patient ID, Patient's Name" in remark.detail
    assert "ecret" not in remark.detail


def test_copies_of_two_patients_are_refused(tmp_path: Path) -> None:
    series = make_series(40)
    paths = write(tmp_path / "a", series)
    (copy,) = [ds for ds in map(dcmread, paths) if ds.SOPInstanceUID == series[39].SOPInstanceUID]
    copy.PatientID = "NOBODY"
    copy.save_as(tmp_path / "copy.dcm")
    selection = select_series([*paths, tmp_path / "copy.dcm"], SETTINGS)
    assert selection.candidates == ()
    assert [left.code for left in selection.left_out] == ["identity_differs"]
    assert "versions that name different patients" in selection.left_out[0].detail


def test_a_copy_that_writes_the_patient_in_another_way_is_the_same(tmp_path: Path) -> None:
    series = make_series(40)
    paths = write(tmp_path / "a", series)
    copy = dcmread(paths[5])
    copy.PatientName = "Secret^Patient"
    copy.save_as(tmp_path / "copy.dcm")
    selection = select_series([*paths, tmp_path / "copy.dcm"], SETTINGS)
    assert len(selection.candidates[0].frames) == 40
    assert selection.left_out == ()


@pytest.mark.parametrize("of", [1, 15])
def test_facts_that_a_minority_lacks_are_facts(tmp_path: Path, of: int) -> None:
    series = make_series(40)
    bend(series, DeviceSerialNumber="77", AccessionNumber="A", StudyID="1")
    bend(series[:of], Manufacturer="PHILIPS ", DeviceSerialNumber="", AccessionNumber="")
    [candidate] = select_series(write(tmp_path, series), SETTINGS).candidates
    facts = candidate.facts
    assert (facts.manufacturer, facts.device_serial_number) == ("Philips", "77")
    assert [remark.code for remark in candidate.remarks] == ["headers_incomplete"]
    assert "Accession Number, Device Serial Number" in candidate.remarks[0].detail


def test_facts_that_differ_are_not_known_and_told(tmp_path: Path) -> None:
    series = bend(make_series(40), AccessionNumber="A", StudyID="1", DeviceSerialNumber="77")
    bend(series[:1], AccessionNumber="B", ManufacturerModelName="Brilliance 16", DeviceSerialNumber="78")
    [candidate] = select_series(write(tmp_path, series), SETTINGS).candidates
    assert (candidate.facts.manufacturer_model_name, candidate.facts.device_serial_number) == (None, None)
    [remark] = candidate.remarks
    assert remark.code == "headers_differ"
    assert remark.detail.endswith("Accession Number, Manufacturer's Model Name, Device Serial Number")


def test_contrast_that_one_image_names_was_given(tmp_path: Path) -> None:
    series = bend(make_series(40), SeriesDescription="Abdomen portal venous")
    bend(series[30:], ContrastBolusAgent="IODINE")
    [candidate] = select_series(write(tmp_path, series), SETTINGS).candidates
    assert candidate.facts.contrast_bolus_agent == "IODINE"
    assert candidate.facts.contrast_phase is ContrastPhase.PORTAL_VENOUS


def test_an_agent_in_any_image_is_a_sign_of_contrast(tmp_path: Path) -> None:
    series = make_series(40)
    bend(series[39:], ContrastBolusAgent="IODINE")
    [candidate] = select_series(write(tmp_path, series), SETTINGS).candidates
    assert "contrast agent in the header" in candidate.why


@pytest.mark.parametrize(
    ("attributes", "doubt", "words"),
    [
        ({"PatientBirthDate": "20260310"}, AgeDoubt.FILLER, "age not known (the header holds a filler value)"),
        ({"PatientAge": "000Y"}, AgeDoubt.FILLER, "age not known (the header holds a filler value)"),
        ({"PatientAge": "000D", "PatientBirthDate": "17530101"}, AgeDoubt.FILLER, "age not known"),
        (
            {"PatientAge": "030Y", "PatientBirthDate": "19560101"},
            AgeDoubt.CONTRADICTION,
            "age not known (age and birth date in the header contradict each other)",
        ),
        ({}, None, "does not state the patient's age"),
    ],
)
def test_an_age_that_is_no_fact_is_not_known(
    tmp_path: Path, attributes: dict[str, object], doubt: AgeDoubt | None, words: str
) -> None:
    series = bend(make_series(40), StudyDate="20260310", AcquisitionDate="20260310", PatientSex="F", **attributes)
    [candidate] = select_series(write(tmp_path, series), SETTINGS).candidates
    assert (candidate.facts.patient_age_years, candidate.facts.age_doubt) == (None, doubt)
    reason = population_reason(candidate.facts)
    assert reason is not None
    assert words in reason.detail


def test_ages_of_two_people_are_none(tmp_path: Path) -> None:
    series = bend(make_series(40), PatientAge="070Y", StudyDate="20260310")
    bend(series[:1], PatientAge="040Y")
    [candidate] = select_series(write(tmp_path, series), SETTINGS).candidates
    assert (candidate.facts.patient_age_years, candidate.facts.age_doubt) == (None, AgeDoubt.VARIES)


def test_a_report_without_patient_beside_the_images_is_no_other_patient(tmp_path: Path) -> None:
    series = make_series(40)
    other = bend(make_series(1, study_uid=series[0].StudyInstanceUID), Modality="SR", PatientID="", PatientName="")
    bend(other, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.67", SOPInstanceUID=generate_uid())
    assert len(select_series(write(tmp_path, [*series, *other]), SETTINGS).candidates) == 1
