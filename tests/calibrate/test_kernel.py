"""Kernels are classed by the real spellings of their makers, and not otherwise."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from node.calibrate import KernelClass, kernel_class, load_registry
from node.model import Calibration
from tests.calibrate.test_registry import CT

REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "reference"
SOFT, SHARP = KernelClass.SOFT, KernelClass.SHARP


def table(name: str) -> list[dict[str, str]]:
    path = REFERENCE / name
    if not path.is_file():
        pytest.skip(f"the table of real headers shared/reference/{name} is not here")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("manufacturer", "kernel", "expected"),
    [
        ("SIEMENS", "B30f", SOFT),
        ("SIEMENS", "B41s", SOFT),
        ("Siemens Healthineers", "Br40f", SOFT),
        ("SIEMENS", "I31f", SOFT),
        ("SIEMENS", "B45f", None),
        ("SIEMENS", "B50f", SHARP),
        ("SIEMENS", "B80f", SHARP),
        ("SIEMENS", "T20s", None),
        ("SIEMENS", "B", None),
        ("GE MEDICAL SYSTEMS", "STANDARD", SOFT),
        ("GE MEDICAL SYSTEMS", "BONEPLUS", SHARP),
        ("GE MEDICAL SYSTEMS", "LUNG", SHARP),
        ("GE MEDICAL SYSTEMS", "DETAIL", None),
        ("GE MEDICAL SYSTEMS", "EXPERIMENTAL7", None),
        ("Philips", "B", SOFT),
        ("Philips", "C", SOFT),
        ("Philips Medical Systems", "D", SHARP),
        ("Philips", "EC", None),
        ("Philips", "unkn", None),
        ("TOSHIBA", "FC10", SOFT),
        ("Canon Medical Systems", "FC18", SOFT),
        ("TOSHIBA", "FC51", SHARP),
        ("TOSHIBA", "FC30", SHARP),
        ("TOSHIBA", "FC20", None),
        ("TOSHIBA", "FL01", None),
        ("GE MEDICAL SYSTEMS", "B30f", None),
        ("SIEMENS", "STANDARD", None),
        ("UIH", "B_SOFT_B", None),
        (None, "B30f", None),
        ("SIEMENS", None, None),
    ],
)
def test_class_by_the_spelling_of_the_maker(manufacturer: str | None, kernel: str | None, expected: object) -> None:
    assert kernel_class(manufacturer, kernel) is expected


def test_the_kernels_of_nlst() -> None:
    unknown = set()
    for row in table("ct_kernels_nlst_idc_v25.csv"):
        if kernel_class(row["Manufacturer"], row["kernel"]) is None:
            unknown.add(row["kernel"])
    assert unknown == {
        *("T20s", "EXPERIMENTAL7", "FL01", "FL04"),  # projections and trials
        *("unkn", "UNK", "B", "B45f", "EC", "BODY FILTER"),  # B: of Siemens
    }


def test_only_the_validated_model_of_all_real_scanners_is_matched() -> None:
    registry = load_registry(None)
    matched = {
        (row["Manufacturer"], row["ManufacturerModelName"])
        for row in table("ct_models_idc_v25.csv")
        if isinstance(
            registry.match(
                replace(
                    CT,
                    manufacturer=row["Manufacturer"] or None,
                    manufacturer_model_name=row["ManufacturerModelName"] or None,
                )
            ),
            Calibration,
        )
    }
    assert matched == {("Philips", "Brilliance 64")}
