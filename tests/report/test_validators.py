"""Objects against parts that others wrote: dciodvfy, DicomSRValidator, dsrdump and dcmqi's readers."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - its usual name
from pydicom.dataset import Dataset

from node.language.catalogue import Language
from node.model import StudyResult
from node.model.object_kinds import SegKind, SrKind
from node.report import build_pdf, build_seg, build_sr, build_summary_page, render_page, render_pdf, take_views
from tests.report.conftest import (
    CREATED,
    MEASURED_RESULTS,
    ORIENTATIONS,
    SyntheticCt,
    borderline,
    labels_of,
    measured,
    not_measured,
    one_level,
    predecessors,
    synthetic_ct,
    with_prior,
)
from tests.report.conftest import enhanced as as_enhanced
from tests.report.sr_validator import validate
from tests.report.tools import iod_errors, run_tool


def _write_all(folder, ct, result, uids) -> tuple[Path, Path]:
    seg = build_seg(ct.volume, ct.sources, *labels_of(ct, result), result, uids, CREATED)
    seg.save_as(folder / "seg.dcm", enforce_file_format=True)
    build_sr(ct.sources, seg, result, uids, CREATED).save_as(folder / "sr.dcm", enforce_file_format=True)
    return folder / "seg.dcm", folder / "sr.dcm"


@dataclass(frozen=True)
class Result:
    """A kind of result, and whether its report replaces others."""

    make: Callable[[SyntheticCt], StudyResult]
    replaces: bool


#: Every kind of result that has a report. Those that replace others stand beside an earlier study, too.
RESULTS = {
    "measured": Result(measured, replaces=False),
    "borderline": Result(borderline, replaces=False),
    **{
        f"superseding {name}": Result(lambda ct, make=make: with_prior(make(ct)), replaces=True)
        for name, make in MEASURED_RESULTS.items()
    },
}
#: dsrdump's lines for a normal result of four levels, and with an earlier study, two reports replaced and a finding.
LINES, LINES_AT_MOST = 111, 120


@dataclass(frozen=True)
class Report:
    """A report on disk."""

    name: str
    kind: SrKind
    language: Language
    path: Path


@pytest.fixture(scope="module")
def reports(tmp_path_factory, axial, uids) -> list[Report]:
    """Every kind of result in every SOP class and language."""
    folder = tmp_path_factory.mktemp("reports")
    written = []
    for name, kind_of_result in RESULTS.items():
        result = kind_of_result.make(axial)
        seg = build_seg(axial.volume, axial.sources, *labels_of(axial, result), result, uids, CREATED)
        replaced = predecessors() if kind_of_result.replaces else ()
        for kind, language in product(SrKind, Language):
            path = folder / f"{name} {kind} {language}.dcm".replace(" ", "-")
            sr = build_sr(axial.sources, seg, result, uids, CREATED, replaced, kind, language)
            sr.save_as(path, enforce_file_format=True)
            written.append(Report(name, kind, language, path))
    return written


@pytest.mark.parametrize("name", RESULTS)
def test_every_report_is_a_valid_object_and_short_as_text(reports, name):
    trees: dict[Language, list] = {language: [] for language in Language}
    for report in (report for report in reports if report.name == name):
        assert iod_errors(report.path) == [], report
        # dcmtk reads only what the value types and relationships of the class allow
        dump = run_tool("dsrdump", "+Pl", report.path)
        assert "E: " not in dump, report
        assert ("Predecessor Docs    : 2" in dump) is RESULTS[name].replaces
        # dcmtk's warning that its checker knows no UTF-8 is no line of the report
        report_text = "\n".join(line for line in dump.splitlines() if not line.startswith("W: The VR checker"))
        lines = report_text.strip().splitlines()
        assert len(lines) <= (LINES if name == "measured" else LINES_AT_MOST), report
        said = [line for line in lines if "<contains" in line]
        assert "Summary" in said[0] or "Conclusions" in said[0]
        assert "Conclusion" in said[1]
        sr = pydicom.dcmread(report.path)
        assert sr.SOPClassUID == sr.file_meta.MediaStorageSOPClassUID == report.kind.sop_class_uid
        assert _replaced(sr) == (["2.25.8150", "2.25.8151"] if RESULTS[name].replaces else [])
        if report.kind is not SrKind.BASIC_TEXT:
            trees[report.language].append([item.to_json() for item in sr.ContentSequence])
    for same in trees.values():
        assert same[0] == same[1] == same[2]
    assert trees[Language.EN][0] != trees[Language.DE][0]


def _replaced(sr: Dataset) -> list[str]:
    return [
        str(item.ReferencedSOPInstanceUID)
        for study in sr.get("PredecessorDocumentsSequence", [])
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    ]


def test_every_report_follows_its_templates(tmp_path, reports, axial, uids):
    """All of them at once, beside one that does not: of it the validator says the same with its whole list of codes."""
    result = one_level(axial)
    label_map = build_seg(axial.volume, axial.sources, *labels_of(axial, result), result, uids, CREATED, SegKind.LABELMAP)
    refers_to_label_map = tmp_path / "label-map.dcm"
    build_sr(axial.sources, label_map, result, uids, CREATED).save_as(refers_to_label_map, enforce_file_format=True)
    wrong = pydicom.dcmread(next(r.path for r in reports if r.name == "superseding one_level"))
    (procedure,) = [i for i in wrong.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "121058"]
    value = procedure.ConceptCodeSequence[0]
    # a modality is no procedure of context group 100
    value.CodeValue, value.CodingSchemeDesignator, value.CodeMeaning = "77477000", "SCT", "Computed tomography"
    wrong.save_as(tmp_path / "wrong.dcm", enforce_file_format=True)

    validated = validate([tmp_path / "wrong.dcm", refers_to_label_map, *(report.path for report in reports)])
    said = validated.of
    wrong_said = said.pop(tmp_path / "wrong.dcm")
    assert wrong_said == validated.with_every_code
    assert [line for line in _errors(wrong_said) if "context group 100" in line], wrong_said
    assert len(said) == len(RESULTS) * len(SrKind) * len(Language) + 1
    assert {path.name: _errors(words) for path, words in said.items() if _errors(words)} == {}
    for path, words in said.items():
        assert f"TID_{'2000' if SrKind.BASIC_TEXT in path.name else '1500'}" in words, path
        assert "Root Template Validation Complete" in words, path


def _errors(words: str) -> list[str]:
    return [line for line in words.splitlines() if "Error" in line]


@pytest.mark.parametrize("name", MEASURED_RESULTS)
def test_every_segmentation_is_a_valid_object(tmp_path, axial, uids, name):
    for ct, kind in product((axial, as_enhanced(axial)), SegKind):
        result = MEASURED_RESULTS[name](ct)
        seg = build_seg(ct.volume, ct.sources, *labels_of(ct, result), result, uids, CREATED, kind)
        seg.save_as(tmp_path / "seg.dcm", enforce_file_format=True)
        assert iod_errors(tmp_path / "seg.dcm") == [], (ct, kind)


def test_a_report_of_an_enhanced_source_is_a_valid_object(tmp_path, axial, uids):
    ct = as_enhanced(axial)
    assert iod_errors(_write_all(tmp_path, ct, measured(ct), uids)[1]) == []


@pytest.mark.parametrize("name", [*MEASURED_RESULTS, "not_measured"])
def test_every_page_is_a_valid_object(tmp_path, axial, uids, name):
    result = (MEASURED_RESULTS | {"not_measured": not_measured})[name](axial)
    views = take_views(axial.volume, *labels_of(axial, result), result)
    document = render_pdf(views, result)
    for language in Language:
        page = build_summary_page(axial.sources, render_page(views, result, language), result, uids, CREATED)
        # the title is what the object says in its language; what the document says is no matter of the validator
        pdf = build_pdf(axial.sources, document, result, uids, CREATED, language)
        for ds in (page, pdf):
            ds.save_as(tmp_path / "page.dcm", enforce_file_format=True)
            assert iod_errors(tmp_path / "page.dcm") == [], (ds.SOPClassUID.name, language)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_dcmqi_reads_the_same_masks(tmp_path, uids, orientation):
    ct = synthetic_ct(orientation)
    seg, _ = _write_all(tmp_path, ct, measured(ct), uids)
    output = run_tool("segimage2itkimage", "--inputDICOM", seg, "--outputDirectory", tmp_path, "-t", "nrrd")
    meta = json.loads((tmp_path / "meta.json").read_text())
    labels = [segment["SegmentLabel"] for group in meta["segmentAttributes"] for segment in group]
    assert len(labels) == 8, output
    from_index = ct.volume.affine_lps_mm
    for number, label in enumerate(labels, start=1):
        image = sitk.ReadImage(str(tmp_path / f"{number}.nrrd"))
        found = np.argwhere(sitk.GetArrayFromImage(image))[:, ::-1]
        scale = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
        positions = found @ scale.T + np.array(image.GetOrigin())
        volume = ct.labels if label.endswith("body") else ct.regions
        level = next(value for value in np.unique(volume) if value and label.startswith(f"L{value - 19} "))
        expected = np.argwhere(volume == level)
        # every voxel that dcmqi finds, back on our grid
        index = (positions - from_index[:3, 3]) @ np.linalg.inv(from_index[:3, :3]).T
        assert np.abs(index - index.round()).max() < 0.02
        assert set(map(tuple, index.round().astype(int))) == set(map(tuple, expected))


def test_dcmqi_reads_the_same_numbers(tmp_path, axial, uids):
    result = one_level(axial)
    _, sr = _write_all(tmp_path, axial, result, uids)
    output = run_tool("tid1500reader", "--inputDICOM", sr, "--outputMetadata", tmp_path / "sr.json")
    groups = json.loads((tmp_path / "sr.json").read_text())["Measurements"]
    assert len(groups) == 3, output
    for group, level in zip(groups, result.levels, strict=True):
        values = {item["quantity"]["CodeValue"]: float(item["value"]) for item in group["measurementItems"]}
        if level.hu_mean is None or level.hu_sd is None:
            assert values == {}
            continue
        bmd = dict(result.bmd.level_bmd_mg_cm3)[level.level]
        assert values == {
            "112031": round(level.hu_mean, 1),
            "112183": round(level.hu_sd, 1),
            "118565006": level.roi_volume_mm3,
            "VBMD": round(bmd, 1),
        }
        assert group["FindingSite"]["CodeMeaning"] == f"{level.level.name} vertebra"
