"""What Image Type and the maker mean for HU: measured, measured without a bone density, or left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.language.catalogue import Language, say
from node.select import select_series
from node.select.body_part import body_part
from node.select.headers import read_headers
from node.settings.tree import SelectSettings
from tests.select.ct_series import bend, make_series, write

SITE = SelectSettings(
    accept_image_types=("DERIVED\\SECONDARY\\PROCESSED", "derived\\primary\\*", "DERIVED\\SECONDARY\\AXIAL\\VMI")
)


def worth(folder: Path, settings: SelectSettings | None = None, **attributes: object) -> str:
    """``bmd``, ``hu``, or the code of the refusal."""
    selection = select_series(write(folder, bend(make_series(40), **attributes)), settings or SelectSettings())
    if not selection.candidates:
        (left,) = selection.left_out
        by_type = "Image Type" in left.detail
        assert by_type == ("select.accept_image_types" in left.detail)
        return left.code
    return "bmd" if selection.candidates[0].facts.hu_doubt is None else "hu"


@pytest.mark.parametrize(
    ("image_type", "expected"),
    [
        ("ORIGINAL\\PRIMARY\\AXIAL", "bmd"),
        ("ORIGINAL\\SECONDARY\\AXIAL", "bmd"),
        ("ORIGINAL\\PRIMARY\\AXIAL\\CT_SOM5 SPI", "bmd"),
        ("DERIVED\\PRIMARY\\AXIAL\\CT_SOM5 SPI", "bmd"),
        ("DERIVED\\PRIMARY\\AXIAL\\CT_SOM7 SEQ", "bmd"),
        ("DERIVED\\PRIMARY\\MPR", "bmd"),
        ("DERIVED\\SECONDARY\\REFORMATTED", "bmd"),
        ("DERIVED\\SECONDARY\\REFORMATTED\\PROCESSED", "hu"),
        ("DERIVED\\SECONDARY\\PROCESSED", "hu"),
        ("DERIVED\\PRIMARY\\AXIAL", "hu"),
        ("DERIVED\\SECONDARY\\AXIAL", "derived_image"),
        ("DERIVED\\SECONDARY", "derived_image"),
        ("DERIVED\\SECONDARY\\AXIAL\\VMI", "spectral_image"),
        ("DERIVED\\PRIMARY\\AXIAL\\CT_SOM5 SPI\\MIP", "projection"),
        ("ORIGINAL\\PRIMARY\\LOCALIZER\\CT_SOM5 TOP", "localizer"),
    ],
)
def test_image_type(tmp_path: Path, image_type: str, expected: str) -> None:
    assert worth(tmp_path, ImageType=image_type.split("\\")) == expected


@pytest.mark.parametrize(
    ("image_type", "expected"),
    [
        ("DERIVED\\SECONDARY\\PROCESSED", "bmd"),
        ("DERIVED\\PRIMARY\\AXIAL", "bmd"),
        ("DERIVED\\SECONDARY\\AXIAL\\VMI", "bmd"),
        ("DERIVED\\SECONDARY\\AXIAL", "derived_image"),
        ("DERIVED\\SECONDARY\\PROCESSED\\MORE", "hu"),
    ],
)
def test_a_site_accepts_more(tmp_path: Path, image_type: str, expected: str) -> None:
    assert worth(tmp_path, SITE, ImageType=image_type.split("\\")) == expected


@pytest.mark.parametrize(
    ("manufacturer", "model", "expected"),
    [
        ("SIEMENS", "Biograph 64", "bmd"),
        (None, None, "bmd"),
        ("CMS, Inc.", "XiO", "hu"),
        ("Computerized Medical Systems", "XiO", "hu"),
        ("Unknown manufacturer", "Unknown model", "hu"),
        ("3D Slicer", None, "hu"),
        ("Varian Medical Systems", "ARIA RadOnc", "hu"),
        ("ADAC", "Pinnacle3", "hu"),
        ("Varian Medical Systems", "On-Board Imager", "no_body_ct"),
        ("Elekta", "XVI", "no_body_ct"),
        ("Siemens", "Axiom-Artis", "no_body_ct"),
        ("Philips / MIM Software", None, "rewritten_by_workstation"),
    ],
)
def test_maker(tmp_path: Path, manufacturer: str | None, model: str | None, expected: str) -> None:
    assert worth(tmp_path, Manufacturer=manufacturer, ManufacturerModelName=model) == expected


def test_what_is_certain_comes_first(tmp_path: Path) -> None:
    plain, processed = make_series(60), bend(make_series(60), ImageType=["DERIVED", "SECONDARY", "PROCESSED"])
    bend(processed, StudyInstanceUID=plain[0].StudyInstanceUID)
    bend(plain, ContrastBolusAgent="Ultravist")
    first, second = select_series(write(tmp_path, [*processed, *plain]), SelectSettings()).candidates
    assert (first.facts.hu_doubt is None, second.facts.hu_doubt is None) == (True, False)
    assert second.why.endswith("because of its processed values.")
    assert "verarbeitete Werte" in say(second.why, Language.DE)


def test_slices_of_a_nifti_are_no_reformat(tmp_path: Path) -> None:
    series = bend(make_series(40), ImageType=["DERIVED", "SECONDARY", "CONVERTED"])
    (candidate,) = select_series(write(tmp_path, series), SelectSettings()).candidates
    assert "axial slices of a NIfTI file" in candidate.why
    assert candidate.facts.hu_doubt is None


@pytest.mark.parametrize(
    ("part", "series", "study", "rank"),
    [
        ("CHEST", "3.0 B30f", "CT ABDOMEN & PELVIS", 0),
        ("CHEST", None, "CT ABD/PEL W CONTRAST", 0),
        ("PANCREAS", "5.0", None, 0),
        ("CHEST", "LWS sag", None, 0),
        ("CHEST", "1.0 Br40", "Abdomen/Becken nativ", 0),
        ("THORAX", "TAP 5.0", None, 0),
        ("CHEST", "thorax-abdomen", None, 0),
        ("CHESTABDPELV", None, None, 0),
        ("TLSPINE", None, None, 0),
        ("CHEST", "C/A/P 5mm", None, 0),
        ("CHEST", None, "Polytrauma Ganzkörper", 0),
        ("THORAX", None, "CT addome completo", 0),
        ("CHEST", None, "UROGRAPHY", 0),
        ("CHEST", "CHEST 5.0", "CT CHEST ABDOMEN PELVIS", 1),
        ("CHEST", "3.0 B30f", None, 1),
        ("CHEST", None, "Computertomographie Thorax", 1),
        ("TSPINE", None, None, 1),
        ("HEAD", None, None, 2),
        ("CSPINE", None, None, 2),
        (None, None, None, 0),
    ],
)
def test_body_part(tmp_path: Path, part: str | None, series: str | None, study: str | None, rank: int) -> None:
    one = bend(make_series(1), SeriesDescription=series or "")
    bend(one, **{k: v for k, v in {"BodyPartExamined": part, "StudyDescription": study}.items() if v})
    (header,) = read_headers(write(tmp_path, one)[0])
    found = body_part(header)
    assert (found.rank, found.said is None) == (rank, rank == 0)
    if study and rank and "ABDOMEN" in study:
        assert found.said == "the description of the series names only the chest"
