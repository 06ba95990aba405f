"""Source headers as they come: other alphabets, nothing at all, and values that no value may be."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from io import BytesIO

import pydicom
import pytest
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from node.report import build_seg, build_sr, build_summary_page, render_summary
from tests.report.conftest import CREATED, measured
from tests.report.tools import iod_errors

NAMES = {
    "japanese": (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "korean": (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    "chinese": ("GB18030", "Wang^XiaoDong=王^小东"),
    "greek": ("ISO_IR 126", "Διονυσιος"),
    "arabic": ("ISO_IR 127", "قباني^لنزار"),
    "german": ("ISO_IR 100", "Äneas^Rüdiger"),
    "russian": ("ISO_IR 144", "Люкceмбypг"),
}


def _as_received(source: Dataset) -> Dataset:
    """Through bytes and back: what a receiver has, with nothing decoded yet."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, source)
    buffer.seek(0)
    return pydicom.dcmread(BytesIO(buffer.getvalue()), force=True, specific_tags=None)


def _objects(ct, uids):
    result = measured(ct)
    seg = build_seg(ct.volume, ct.sources, ct.labels, ct.regions, result, uids, CREATED)
    page = build_summary_page(ct.sources, render_summary(None, None, None, result), result, uids, CREATED)
    return {"seg": seg, "sr": build_sr(ct.sources, seg, result, uids, CREATED), "page": page}


def _written(objects, folder):
    for kind, ds in objects.items():
        path = folder / f"{kind}.dcm"
        ds.save_as(path, enforce_file_format=True)
        yield path


@pytest.mark.parametrize("script", NAMES)
def test_names_survive_in_every_alphabet(tmp_path, axial, uids, script):
    character_set, name = NAMES[script]
    sources = deepcopy(axial.sources)
    for ds in sources:
        ds.SpecificCharacterSet, ds.PatientName = character_set, name
    ct = replace(axial, sources=[_as_received(ds) for ds in sources])
    for path in _written(_objects(ct, uids), tmp_path):
        read = pydicom.dcmread(path)
        assert str(read.PatientName) == name
        assert read.SpecificCharacterSet == "ISO_IR 192"


def test_missing_attributes_come_out_empty(tmp_path, axial, uids):
    sources = deepcopy(axial.sources)
    keywords = (
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber", "StudyDate", "StudyTime",
        "ReferringPhysicianName", "SpecificCharacterSet", "PositionReferenceIndicator", "SliceThickness", "Manufacturer",
    )  # fmt: skip
    for ds in sources:
        for keyword in keywords:
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
