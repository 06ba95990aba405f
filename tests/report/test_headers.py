"""Source headers as they come: other alphabets, nothing at all, and values that no value may be."""

import struct
import warnings
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from functools import cache
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from node.model.object_kinds import SrKind
from node.report import (
    build_pdf,
    build_seg,
    build_sr,
    build_summary_page,
    kept_headers,
    read_kept_headers,
    render_page,
    render_pdf,
    take_views,
)
from tests.report.conftest import CREATED, measured, synthetic_ct
from tests.report.tools import iod_errors

NAMES = {
    "japanese": (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "korean": (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    "chinese, GB18030": ("GB18030", "Wang^XiaoDong=王^小东"),
    "chinese, UTF-8": ("ISO_IR 192", "Wang^XiaoDong=王^小东"),
    "greek": ("ISO_IR 126", "Διονυσιος"),
    "arabic": ("ISO_IR 127", "قباني^لنزار"),
    "german": ("ISO_IR 100", "Äneas^Rüdiger"),
}

#: As the bytes stand in a file: Specific Character Set, patient's name, and what is to be read.
ENCODED = {
    # with code extensions, as the examples of PS3.5 annexes H, I and K have them
    "japanese": (
        b"\\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    "japanese, half width": (
        b"ISO 2022 IR 13\\ISO 2022 IR 87",
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    "korean": (
        b"\\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    "chinese, GB 2312": (
        b"\\ISO 2022 IR 58",
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
        "Zhang^XiaoDong=张^小东",
    ),
    # the second byte of these is a backslash and a caret
    "chinese, GB18030": (b"GB18030", "Wang^X=乗^乛".encode("gb18030"), "Wang^X=乗^乛"),
    "chinese, GBK": (b"GBK", "Wang^X=乗^乛".encode("gbk"), "Wang^X=乗^乛"),
    "greek as an extension": (
        b"\\ISO 2022 IR 100\\ISO 2022 IR 126",
        b"Dionysios=\x1b-F" + "Διονυσιος".encode("iso8859-7"),
        "Dionysios=Διονυσιος",
    ),
    "Latin 9 as an extension": (
        b"\\ISO 2022 IR 100\\ISO 2022 IR 203",
        b"M\x1b-A\xfcller^A=\x1b-b\xbcuvre",
        "Müller^A=Œuvre",
    ),
    "ideographic alone": (b"ISO_IR 192", "=山田^太郎".encode(), "=山田^太郎"),
    "phonetic alone": (b"ISO_IR 192", "==やまだ^たろう".encode(), "==やまだ^たろう"),
    **{
        f"ISO_IR {number}": (f"ISO_IR {number}".encode(), name.encode(codec), name)
        for number, codec, name in (
            (6, "ascii", "Adams^John Robert Quincy^^Rev.^B.A. M.Div."),
            (13, "shift_jis", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
            (100, "iso8859-1", "Äneas^Rüdiger"),
            (101, "iso8859-2", "Wałęsa^Lech"),
            (109, "iso8859-3", "Ħal^Ġorġ"),
            (110, "iso8859-4", "Kļaviņš^Jānis"),
            (126, "iso8859-7", "Διονυσιος"),
            (127, "iso8859-6", "قباني^لنزار"),
            (138, "iso8859-8", "שרון^דבורה"),
            (144, "iso8859-5", "Люкceмбypг"),
            (148, "iso8859-9", "Çavuşoğlu^İnci"),
            (166, "tis-620", "นามสกุล^ชื่อ"),
            (203, "iso8859-15", "Œuvre^Žižka €"),
            (192, "utf-8", "Wang^XiaoDong=王^小东=Буй^Ủy"),
        )
    },
}
#: What a name should never be, and what is left of it.
HOSTILE = {
    "nothing": (b"ISO_IR 100", b"", ""),
    "blanks": (b"ISO_IR 100", b"    ", ""),
    "control characters": (b"ISO_IR 100", bytes(range(0x20)) + b"A^B\x7f\x85", "A^B"),
    "backslashes": (b"ISO_IR 100", b"A\\B^C\\\\D", "A B^C  D"),
    "carets": (b"ISO_IR 100", b"^" * 5000, "^^^^"),
    "equals signs": (b"ISO_IR 100", b"=" * 5000, ""),
    "10 kB": (b"ISO_IR 100", b"A" * 10240, "A" * 64),
    "10 kB in three bytes each": (b"ISO_IR 192", "王".encode() * 3414, "王" * 64),
    "ends with nulls": (b"ISO_IR 100", b"A^B\0\0", "A^B"),
    "no character set, Latin 1": (None, "Müller^Jörg".encode("latin-1"), "Müller^Jörg"),
    "misspelt character set": (b"ISO-IR 100", "Müller^Jörg".encode("latin-1"), "Müller^Jörg"),
    "no such character set": (b"ISO_IR 999", "Müller^Jörg".encode("latin-1"), "Müller^Jörg"),
    "UTF-8 with code extensions": (b"ISO_IR 192\\ISO 2022 IR 87", "Müller^Jörg=山田".encode(), "Müller^Jörg=山田"),
    "code extension that is not declared": (b"ISO 2022 IR 87", b"Yamada=\x1b$B;3ED\x1b(B", "Yamada=山田"),
    # what cannot be decoded is not guessed
    "Latin 1 declared as UTF-8": (b"ISO_IR 192", "Müller^Jörg".encode("latin-1"), "M\ufffdller^J\ufffdrg"),
    "half a surrogate": (b"ISO_IR 192", b"\xed\xa0\x80^B", "\ufffd\ufffd\ufffd^B"),
    "broken GB18030": (b"GB18030", b"\x81\xff\xff^\x80", "\ufffd\ufffd\ufffd^\ufffd"),
    "escape sequence that stops": (b"\\ISO 2022 IR 87", b"Yamada=\x1b$", "Yamada= $"),
}


def _header(character_set: bytes | None, name: bytes) -> Dataset:
    """A header with these very bytes in it (implicit VR, little endian)."""
    elements = [] if character_set is None else [(0x0008, 0x0005, character_set)]
    encoded = b""
    for group, element, value in [*elements, (0x0010, 0x0010, name)]:
        padded = value + b" " * (len(value) % 2)
        encoded += struct.pack("<HHL", group, element, len(padded)) + padded
    return pydicom.dcmread(BytesIO(encoded), force=True)


def _as_received(source: Dataset) -> Dataset:
    """Through bytes and back: what a receiver has, with nothing decoded yet."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, source)
    buffer.seek(0)
    return pydicom.dcmread(BytesIO(buffer.getvalue()), force=True, specific_tags=None)


def _objects(ct, uids):
    """Segmentation, report, page and document; what is drawn on the last two holds nothing of the header."""
    result = measured(ct)
    seg = build_seg(ct.volume, ct.sources, ct.labels, ct.regions, result, uids, CREATED)
    picture, document = _drawn()
    return {
        "seg": seg,
        "sr": build_sr(ct.sources, seg, result, uids, CREATED),
        "page": build_summary_page(ct.sources, picture, result, uids, CREATED),
        "pdf": build_pdf(ct.sources, document, result, uids, CREATED),
    }


@cache
def _drawn():
    result = measured(synthetic_ct("axial"))
    views = take_views(None, None, None, result)
    return render_page(views, result), render_pdf(views, result)


def _written(objects, folder):
    for kind, ds in objects.items():
        path = folder / f"{kind}.dcm"
        ds.save_as(path, enforce_file_format=True)
        yield path


@pytest.mark.parametrize("script", NAMES)
def test_names_survive_in_every_object(tmp_path, axial, uids, script):
    character_set, name = NAMES[script]
    sources = deepcopy(axial.sources)
    for ds in sources:
        ds.SpecificCharacterSet, ds.PatientName = character_set, name
    ct = replace(axial, sources=[_as_received(ds) for ds in sources])
    for path in _written(_objects(ct, uids), tmp_path):
        read = pydicom.dcmread(path)
        assert str(read.PatientName) == name
        assert read.SpecificCharacterSet == "ISO_IR 192"
        assert iod_errors(path) == []


@pytest.mark.parametrize("case", [*ENCODED, *HOSTILE])
def test_a_name_is_what_its_character_set_says(tmp_path, documents, case):
    """Through kept headers and a report: unchanged where it was valid, and the report is valid in any case."""
    source, write_report = documents
    character_set, encoded, name = (ENCODED | HOSTILE)[case]
    received = _header(character_set, encoded)
    for element in source:
        if element.tag not in received and element.keyword != "SpecificCharacterSet":
            received[element.tag] = element
    report = write_report(received, tmp_path / "sr.dcm")
    assert str(report.PatientName) == name
    assert report.SpecificCharacterSet == "ISO_IR 192"
    errors = iod_errors(tmp_path / "sr.dcm")
    if len(name.encode()) > 64 >= len(name):
        # dciodvfy counts bytes, where PS3.5 6.2 counts the characters of a name
        errors = [line for line in errors if "<王" not in line and "contains invalid data values" not in line]
    assert errors == []


@pytest.fixture(scope="module")
def documents(axial, uids):
    """A source header, and how a report is made of one like it as of the headers that a run keeps."""
    result = measured(axial)
    seg = build_seg(axial.volume, axial.sources, axial.labels, axial.regions, result, uids, CREATED)

    def write_report(source: Dataset, path: Path) -> Dataset:
        kept = read_kept_headers(kept_headers([source], axial.volume.facts, uids.frame_of_reference))
        build_sr(kept, seg, result, uids, CREATED, kind=SrKind.BASIC_TEXT).save_as(path, enforce_file_format=True)
        return pydicom.dcmread(path)

    return axial.sources[0], write_report


def test_an_identifier_is_never_cut_off(tmp_path, documents):
    source, write_report = documents
    received = _as_received(source)
    received.AccessionNumber, received.PatientID = "2024-000123456789-RAD", "7" * 80
    report = write_report(received, tmp_path / "sr.dcm")
    assert (report.AccessionNumber, report.PatientID) == ("2024-000123456789-RAD", "7" * 80)
    # more than an explicit VR can hold
    received.PatientID = "7" * 70000
    assert write_report(received, tmp_path / "sr.dcm").PatientID == ""


@pytest.mark.parametrize("there", [False, True])
def test_missing_and_empty_attributes_come_out_empty(tmp_path, axial, uids, there):
    sources = deepcopy(axial.sources)
    keywords = (
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber", "StudyDate", "StudyTime",
        "ReferringPhysicianName", "SpecificCharacterSet", "PositionReferenceIndicator", "SliceThickness", "Manufacturer",
    )  # fmt: skip
    for ds in sources:
        for keyword in keywords:
            if there:
                ds[keyword].value = None
            else:
                del ds[keyword]
    for path in _written(_objects(replace(axial, sources=sources), uids), tmp_path):
        read = pydicom.dcmread(path)
        assert [read[k].value for k in ("PatientID", "PatientBirthDate", "StudyID", "AccessionNumber")] == [""] * 4
        assert iod_errors(path) == []


def test_hostile_values_are_made_harmless(tmp_path, axial, uids):
    sources = deepcopy(axial.sources)
    for ds in sources:
        ds.PatientName = "A" * 40 + "^B^C^D^E^F^G=x=y=z\x1b"
        ds.PatientID = "47\\11\n"
        ds.PatientBirthDate, ds.StudyDate, ds.StudyTime = "19400000", "yesterday", "250000"
        ds.PatientSex, ds.PatientAge = "undefined", "old"
        ds.StudyDescription = "<script>alert(1)</script>" * 4
        ds.AccessionNumber = None
    ct = replace(axial, sources=[_as_received(ds) for ds in sources])
    for path in _written(_objects(ct, uids), tmp_path):
        read = pydicom.dcmread(path)
        assert read.PatientID == "47 11"
        assert (read.PatientBirthDate, read.StudyDate, read.StudyTime, read.PatientSex) == ("", "", "", "")
        assert len(str(read.PatientName).split("=")) == 3
        assert "PatientAge" not in read
        assert iod_errors(path) == []


def test_building_says_nothing_of_the_patient(recwarn, caplog, axial, uids):
    sources = deepcopy(axial.sources)
    for ds in sources:
        ds.PatientName = "Sturm"
    recwarn.clear()
    with caplog.at_level("DEBUG"):
        _objects(replace(axial, sources=sources), uids)
    assert "Sturm" not in caplog.text
    assert not [w for w in recwarn if "Sturm" in str(w.message)]


def test_threads_leave_the_libraries_as_they_were(axial, uids):
    before = (config.settings.reading_validation_mode, config.settings.writing_validation_mode, list(warnings.filters))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: _objects(axial, uids), range(6)))
    after = (config.settings.reading_validation_mode, config.settings.writing_validation_mode, list(warnings.filters))
    assert after == before


def test_sources_stay_as_they_were(axial, uids):
    before = [str(ds) for ds in axial.sources]
    _objects(axial, uids)
    assert [str(ds) for ds in axial.sources] == before
