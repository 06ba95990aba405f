"""The page as PDF, read and drawn by parts that others wrote, and the DICOM object around it."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from node.language.catalogue import Language
from node.report import build_pdf, render_page, render_pdf, take_views
from tests.report.conftest import CREATED, labels_of, normal, not_measured
from tests.report.tools import iod_errors, run_tool

MADE = {"measured": normal, "not_measured": not_measured}


@pytest.fixture(scope="module", params=MADE)
def made(request, axial):
    """A result, its pictures, and the document in German."""
    result = MADE[request.param](axial)
    views = take_views(axial.volume, *labels_of(axial, result), result)
    return result, views, render_pdf(views, result, Language.DE)


def test_it_looks_like_the_page(made, tmp_path):
    result, views, pdf = made
    (tmp_path / "page.pdf").write_bytes(pdf)
    run_tool("pdftoppm", "-r", 100, "-png", "-singlefile", tmp_path / "page.pdf", tmp_path / "page")
    drawn, page = Image.open(tmp_path / "page.png").convert("RGB"), Image.fromarray(render_page(views, result, Language.DE))
    # letters are fitted to pixels in other ways, so blocks of pixels are compared;
    # a part of a pixel at the lower right border counts as a whole one for the program
    assert max(abs(a - b) for a, b in zip(drawn.size, page.size, strict=True)) <= 1
    one, other = (np.asarray(image.crop((0, 0, 1280, 1024)).reduce(16), dtype=float) for image in (drawn, page))
    assert np.abs(one - other).mean() < 3.0
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.99


def test_its_text_can_be_searched(made, tmp_path):
    result, _, pdf = made
    (tmp_path / "page.pdf").write_bytes(pdf)
    words = " ".join(run_tool("pdftotext", "-raw", tmp_path / "page.pdf", "-").split())
    if result.status == "measured":
        parts = (
            "Normalbereich",
            "167,7 mg/cm³",
            "L1 nicht gewertet: screw in the body.",
            "Philips Brilliance 64",
            "keine Diagnose",
        )
    else:
        parts = ("Nicht gemessen", "No complete lumbar vertebra in the series", "Geprüfte Serie: Philips")
    for part in parts:
        assert part in words, part


def test_same_result_same_bytes(made):
    result, views, pdf = made
    assert render_pdf(views, result, Language.DE) == pdf
    assert render_pdf(views, result, Language.EN) != pdf
    # what would differ from day to day, or from process to process
    assert b"/CreationDate" not in pdf
    assert b"/ModDate" not in pdf
    assert b"/ID" not in pdf


def test_object_is_valid_and_gives_the_document_back(made, axial, uids, tmp_path):
    result, _, pdf = made
    ds = build_pdf(axial.sources, pdf, result, uids, CREATED, Language.DE)
    ds.save_as(tmp_path / "pdf.dcm", enforce_file_format=True)
    assert iod_errors(tmp_path / "pdf.dcm") == []
    run_tool("dcm2pdf", tmp_path / "pdf.dcm", tmp_path / "again.pdf")
    assert (tmp_path / "again.pdf").read_bytes().rstrip(b"\0") == pdf.rstrip(b"\0")
    assert ds.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert ds.DocumentTitle.startswith("Knochendichte aus der CT:")
    assert (ds.BurnedInAnnotation, ds.VerificationFlag) == ("NO", "UNVERIFIED")
    assert ds.PatientName == "Müller^Jörg"
    assert len({ds.SOPInstanceUID, ds.SeriesInstanceUID, uids.page_instance, uids.page_series, uids.sr_series}) == 5
    assert len(ds.SourceInstanceSequence) == len(axial.sources)


def test_what_is_no_pdf_is_refused(axial, uids):
    with pytest.raises(ValueError, match="PDF"):
        build_pdf(axial.sources, b"<html>", replace(normal(axial)), uids, CREATED)
