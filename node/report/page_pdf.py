"""The summary page as PDF and Encapsulated PDF (PS3.3 A.45.1), for archives that print or search text."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import datetime

from matplotlib import rc_context
from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from node.language.catalogue import Language, say
from node.language.phrase import phrase
from node.model import StudyResult
from node.model.codes import MODEL_NAME
from node.report.capture import capture
from node.report.headers import quiet
from node.report.page import page_figure
from node.report.page_views import PageViews
from node.report.uids import ReportUids
from node.report.whose import Whose

SERIES_NUMBER = 9804
#: Resolution of pictures in the document, for a page of 12.8 by 10.24 inches.
_PICTURE_DPI = 200


def render_pdf(
    views: PageViews | None, result: StudyResult, language: Language = Language.EN, whose: Whose | None = None
) -> bytes:
    """Draw the page as PDF: searchable text, outlines and bars as vectors, pictures as images.

    Arguments as for :func:`~node.report.render_page`. The document contains no date and no random identifier, so the same
    page gives the same bytes.
    """
    document = io.BytesIO()
    words = {"Title": _title(result, language), "Creator": MODEL_NAME, "Producer": None, "CreationDate": None}
    # TrueType (42), not Type 3: searchable and sharp in viewers
    with rc_context({"pdf.fonttype": 42, "pdf.compression": 6}):
        page_figure(views, result, language, whose).savefig(document, format="pdf", dpi=_PICTURE_DPI, metadata=words)
    return document.getvalue()


@quiet()
def build_pdf(
    source_datasets: Sequence[Dataset],
    pdf: bytes,
    result: StudyResult,
    uids: ReportUids,
    created: datetime,
    language: Language = Language.EN,
    *,
    names_patient: bool = False,
) -> Dataset:
    """Wrap the document.

    Args:
        source_datasets: headers of images of the study; patient and study are those of the first; all are listed as
            sources.
        pdf: as returned by :func:`render_pdf`.
        result: of the study, measured or not.
        uids: of the study.
        created: date and time of content.
        language: of the document.
        names_patient: whether the document says whose it is.

    Raises:
        ValueError: ``pdf`` is not a PDF document.
    """
    if not pdf.startswith(b"%PDF-"):
        raise ValueError("a PDF document begins with %PDF-")
    ds = capture(source_datasets[0], result, uids, created, EncapsulatedPDFStorage, uids.pdf_instance, names_patient)
    ds.SeriesInstanceUID = uids.pdf_series
    ds.SeriesNumber = SERIES_NUMBER
    ds.Modality = "DOC"
    measured = result.status == "measured"
    ds.SeriesDescription = "BMD: summary as PDF (not verified)" if measured else "BMD: not measured, reasons as PDF"
    ds.AcquisitionDateTime = None
    ds.SourceInstanceSequence = [_source(source) for source in source_datasets]
    ds.DocumentTitle = _title(result, language)
    ds.ConceptNameCodeSequence = []
    ds.VerificationFlag = "UNVERIFIED"
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    ds.EncapsulatedDocumentLength = len(pdf)
    ds.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    return ds


def _title(result: StudyResult, language: Language) -> str:
    if result.status == "measured":
        return say(phrase("Bone density from CT: summary, not verified"), language)
    return say(phrase("Bone density from CT: not measured, reasons"), language)


def _source(source: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = source.SOPClassUID
    item.ReferencedSOPInstanceUID = source.SOPInstanceUID
    return item
