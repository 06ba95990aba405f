"""What radiologists read holds no path, no class and no decoder."""

from __future__ import annotations

import re

import pytest

from node.language.phrase import Phrase, as_phrase, joined, phrase
from node.model import Reason
from node.model.for_people import for_people, left_out_for_people, reasons_for_people
from node.model.series import SeriesLeftOut

FOR_LOGS = re.compile(r"(^|\s)/|Error|Exception|pydicom|pylibjpeg|gdcm|openjpeg|\.py\b|C:\\")


@pytest.mark.parametrize(
    "said",
    [
        phrase("{path} cannot be read as DICOM ({cause})", path="/var/lib/bmd/0001.dcm", cause="InvalidDicomError"),
        phrase("{path} cannot be decoded: {why}", path="/srv/x.dcm", why="pylibjpeg-openjpeg raised RuntimeError: 0x7f00aa"),
        phrase("{path} contains {held} pixels, its header says {shape}", path="C:\\in\\1.dcm", held="1", shape="512 x 512"),
        phrase(
            "{n} of {total} images: {why}",
            n=1,
            total=30,
            why=phrase("{path} cannot be decoded: {why}", path="/a/b", why="gdcm: bad stream"),
        ),
        as_phrase("/tmp/scan.nii.gz cannot be read as NIfTI: ImageFileError"),  # noqa: S108
        as_phrase("[Errno 5] Input/output error: '/mnt/pacs/1.dcm'"),
        joined(("L1", phrase("{path} lost its rescale after it was selected", path="/x/y.dcm")), ": "),
    ],
)
def test_nothing_for_logs_is_left(said: Phrase) -> None:
    told = for_people(said)
    assert not FOR_LOGS.search(told), told
    assert told


@pytest.mark.parametrize(
    "said",
    [
        phrase("disc-space narrowing at {disc}: {height:.0f} mm", disc="L1/L2", height=4.0),
        phrase("below {limit:.0f} mg/cm3", limit=80.0),
        phrase("derived, and not a plain reformat of the scan: Image Type {named}", named="DERIVED\\SECONDARY\\MPR"),
        phrase("kernel {kernel}", kernel="B30f/2"),
    ],
)
def test_other_sentences_are_unchanged(said: Phrase) -> None:
    told = for_people(said)
    assert told == said
    assert told.template == said.template


def test_reasons_and_series_are_said_for_people() -> None:
    fault = phrase("{path} is incomplete: {fault}", path="/in/1.dcm", fault="10 bytes are missing")
    (reason,) = reasons_for_people([Reason("not_readable", fault), Reason("not_readable", fault)])
    assert reason.detail == "an image is incomplete: 10 bytes are missing"
    (series,) = left_out_for_people([SeriesLeftOut("1.2", "unreadable", fault)])
    assert series.detail == reason.detail
