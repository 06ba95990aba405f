"""Every object says which software and algorithm it comes from, in the same words everywhere (IHE AI Results 6.5.3.1)."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from tests.docs.conformance_tables import objects as built_objects
from tests.report.tools import iod_errors

PROCESSING, ACQUISITION = "109102", "109101"


@pytest.fixture(scope="module")
def objects() -> dict[str, Dataset]:
    return built_objects()[0]


def described(ds: Dataset) -> list[tuple[str, str, str, str]]:
    """Manufacturer, model, version and UID of what has processed, where it has a UID."""
    return [
        (item.Manufacturer, item.ManufacturerModelName, item.SoftwareVersions, item.DeviceUID)
        for item in ds.ContributingEquipmentSequence
        if item.PurposeOfReferenceCodeSequence[0].CodeValue == PROCESSING and "DeviceUID" in item
    ]


def values(ds: Dataset, code: str) -> set[str]:
    """Values of the content items with a concept name (DCM)."""
    return {
        str(item.get("TextValue") or item.get("UID"))
        for item in ds.iterall()
        if item.VR == "SQ" and item.keyword == "ContentSequence"
        for item in item.value
        if item.get("ConceptNameCodeSequence") and item.ConceptNameCodeSequence[0].CodeValue == code
    }


def test_every_object_names_the_same_software_and_algorithm(objects: dict[str, Dataset]) -> None:
    [said] = {tuple(described(ds)) for ds in objects.values()}
    software, algorithm = said
    assert software[1:3] == ("bmd-node", "0.1.0")
    assert algorithm[1:3] == ("bmd-node, embedded 1", "0.1.0")
    assert software[3] != algorithm[3]


def test_content_items_have_the_values_of_the_sequence(objects: dict[str, Dataset]) -> None:
    software, algorithm = described(objects["sr.dcm"])
    for name in ("sr.dcm", "sr-comprehensive.dcm", "sr-enhanced.dcm"):
        report = objects[name]
        assert [values(report, code) for code in ("121014", "121015", "121012")] == [
            {software[0]}, {software[1]}, {software[3]}
        ]  # fmt: skip
        assert [values(report, code) for code in ("111001", "111003")] == [{algorithm[1]}, {algorithm[2]}]
    for segment in objects["seg.dcm"].SegmentSequence:
        [used] = segment.SegmentationAlgorithmIdentificationSequence
        assert (used.AlgorithmSource, used.AlgorithmName, used.AlgorithmVersion) == algorithm[:3]


def test_the_scanner_stays_named(objects: dict[str, Dataset]) -> None:
    purposes = [item.PurposeOfReferenceCodeSequence[0].CodeValue for item in objects["sr.dcm"].ContributingEquipmentSequence]
    assert ACQUISITION in purposes


def test_page_and_pdf_stay_valid(objects: dict[str, Dataset], tmp_path: Path) -> None:
    for name in ("summary.dcm", "summary-pdf.dcm", "sr.dcm", "seg.dcm"):
        objects[name].save_as(tmp_path / name, enforce_file_format=True)
        assert iod_errors(tmp_path / name) == [], name
