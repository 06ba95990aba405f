"""Every kind of report and segmentation can be read by others, and says the same."""

import json
from dataclasses import replace
from datetime import date
from io import BytesIO

import highdicom
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its usual name
from pydicom.dataset import Dataset

from node.language.catalogue import Language
from node.model import ContrastCorrection, ContrastPhase, Level
from node.model.object_kinds import SegKind, SrKind
from node.report import build_seg, build_sr
from tests.report.conftest import (
    CREATED,
    MEASURED_RESULTS,
    ORIENTATIONS,
    PRIOR,
    SyntheticCt,
    labels_of,
    one_level,
    synthetic_ct,
    with_prior,
)
from tests.report.conftest import enhanced as as_enhanced
from tests.report.tools import iod_errors, run_tool

TREES = (SrKind.COMPREHENSIVE_3D, SrKind.COMPREHENSIVE, SrKind.ENHANCED)


def _seg(ct, uids, result, kind=SegKind.BINARY):
    return build_seg(ct.volume, ct.sources, *labels_of(ct, result), result, uids, CREATED, kind)


def _written(ds) -> BytesIO:
    file = BytesIO()
    ds.save_as(file, enforce_file_format=True)
    file.seek(0)
    return file


def _items(ds: Dataset):
    for item in ds.get("ContentSequence", []):
        yield item
        yield from _items(item)


def _texts(ds: Dataset) -> list[str]:
    return [item.TextValue for item in _items(ds) if item.ValueType == "TEXT"]


def _said(ds: Dataset, name: str) -> list[str]:
    named = (i for i in _items(ds) if i.ValueType == "TEXT" and i.ConceptNameCodeSequence[0].CodeMeaning == name)
    return [item.TextValue for item in named]


def _numbers(ds: Dataset) -> list[float]:
    return [float(item.MeasuredValueSequence[0].NumericValue) for item in _items(ds) if item.ValueType == "NUM"]


def _level_values(ds: Dataset) -> list[list[float]]:
    groups = highdicom.sr.srread(_written(ds)).content.get_volumetric_roi_measurement_groups()
    return [[measured.value for measured in group.get_measurements()] for group in groups]


@pytest.mark.parametrize("kind", TREES)
def test_others_read_the_same_numbers_from_every_tree(tmp_path, axial, uids, kind):
    result = one_level(axial)
    sr = build_sr(axial.sources, _seg(axial, uids, result), result, uids, CREATED, kind=kind)
    values = [[], [125.0, 26.0, 4200.5, 97.5], [119.3, 22.9, 4200.5, 93.1]]
    assert _level_values(sr) == values
    sr.save_as(tmp_path / "sr.dcm", enforce_file_format=True)
    output = run_tool("tid1500reader", "--inputDICOM", tmp_path / "sr.dcm", "--outputMetadata", tmp_path / "sr.json")
    assert (tmp_path / "sr.json").exists(), output
    groups = json.loads((tmp_path / "sr.json").read_text())["Measurements"]
    assert [[float(item["value"]) for item in group["measurementItems"]] for group in groups] == values


@pytest.mark.parametrize("name", MEASURED_RESULTS)
def test_basic_text_says_every_number_and_text_of_the_others(axial, uids, name):
    result = with_prior(MEASURED_RESULTS[name](axial))
    seg = _seg(axial, uids, result)
    full = build_sr(axial.sources, seg, result, uids, CREATED)
    plain = build_sr(axial.sources, seg, result, uids, CREATED, kind=SrKind.BASIC_TEXT)
    assert {item.ValueType for item in _items(plain)} <= {"TEXT", "CODE", "UIDREF", "DATE", "IMAGE", "CONTAINER"}
    words = " ".join(_texts(plain)).replace(",", " ").replace(")", " ").split()
    read = {round(float(word), 1) for word in words if word.replace(".", "", 1).isdigit()}
    # ends of the interval are whole numbers in a sentence
    ends = {round(end, 1) for end in result.bmd.interval_mg_cm3 or ()}
    assert {round(number, 1) for number in _numbers(full)} - ends <= read
    assert {f"{end:.0f}" for end in ends} <= {f"{number:.0f}" for number in read}
    sentences = _said(plain, "Finding")
    assert [sentence[:3] for sentence in sentences] == [f"{level.level.name}:" for level in result.levels]
    findings = set(_said(full, "Finding on the level"))
    assert all(any(finding in sentence for sentence in sentences) for finding in findings)
    assert set(_texts(full)) - findings - set(_said(full, "Tracking Identifier")) <= set(_texts(plain))


def test_every_kind_is_an_object_of_its_own(axial, uids):
    result = one_level(axial)
    segs = [_seg(axial, uids, result, kind) for kind in SegKind]
    made = [*segs, *(build_sr(axial.sources, seg, result, uids, CREATED, kind=kind) for seg in segs for kind in SrKind)]
    by_uid = {ds.SOPInstanceUID: ds for ds in made}
    # Basic Text refers to no segmentation, so that there is one of it alone
    assert len(by_uid) == len(made) - 1
    assert len({str(ds) for ds in made}) == len(by_uid)
    assert len({ds.DimensionOrganizationSequence[0].DimensionOrganizationUID for ds in segs}) == 2


def test_sentences_are_in_the_language_that_the_report_names(tmp_path, axial, uids):
    result = one_level(axial)
    seg = _seg(axial, uids, result)
    for kind in SrKind:
        sr = build_sr(axial.sources, seg, result, uids, CREATED, kind=kind, language=Language.DE)
        language = sr.ContentSequence[0]
        assert language.ConceptNameCodeSequence[0].CodeValue == "121049"
        assert language.ConceptCodeSequence[0].CodeValue == "de-DE"
        (conclusion,) = _said(sr, "Conclusion")
        assert conclusion.startswith("Wirbelkörperfraktur L3. Bereich niedriger Knochenmasse")
        assert "97,5 mg/cm3" in conclusion
        assert _said(sr, "Levels used for the mean") == ["nur L2"]
        sr.save_as(tmp_path / "sr.dcm", enforce_file_format=True)
        assert "ärztlich nicht geprüft" in run_tool("dsrdump", "+Pl", tmp_path / "sr.dcm")
    (sentence,) = [text for text in _said(sr, "Finding") if text.startswith("L2")]
    assert "mittlerer CT-Wert 125,0 HU (SD 26,0 HU), gemessenes Volumen 4200,5 mm3" in sentence
    assert "geht in den Mittelwert ein" in sentence


@pytest.mark.parametrize("kind", SrKind)
def test_the_previous_result_stands_with_its_study(axial, uids, kind):
    result = with_prior(one_level(axial))
    sr = build_sr(axial.sources, _seg(axial, uids, result), result, uids, CREATED, kind=kind)
    (item,) = [i for i in _items(sr) if i.ConceptNameCodeSequence[0].CodeMeaning == "Previous Finding"]
    assert item.TextValue.startswith("Prior study, 12 months earlier: 94.2 mg/cm3, now 97.5 over L2 only; change +3.3")
    study, day, *numbers = item.ContentSequence
    assert (study.UID, str(day.Date)) == ("2.25.77", "20230102")
    assert _numbers(item) == ([] if kind is SrKind.BASIC_TEXT else [94.2])
    assert len(numbers) == len(_numbers(item))
    before = replace(PRIOR, bmd_mg_cm3=None, prior_bmd_mg_cm3=None)
    sr = build_sr(axial.sources, _seg(axial, uids, result), replace(result, prior=before), uids, CREATED, kind=kind)
    (item,) = [i for i in _items(sr) if i.ConceptNameCodeSequence[0].CodeMeaning == "Previous Finding"]
    assert _numbers(item) == ([] if kind is SrKind.BASIC_TEXT else [120.8])


def test_what_a_site_takes_off_for_contrast_is_part_of_the_provenance(axial, uids):
    result = one_level(axial)
    taken_off = ContrastCorrection(ContrastPhase.ARTERIAL, 5.25, 3.0, "own scans", "Dr. A", date(2024, 1, 1))
    result = replace(result, bmd=replace(result.bmd, contrast_correction=taken_off))
    sr = build_sr(axial.sources, _seg(axial, uids, result), result, uids, CREATED)
    (item,) = [i for i in _items(sr) if i.ConceptNameCodeSequence[0].CodeValue == "CAL-CONTRAST"]
    assert (item.RelationshipType, float(item.MeasuredValueSequence[0].NumericValue)) == ("INFERRED FROM", 5.25)


@pytest.mark.parametrize(
    ("orientation", "multi_frame"), [*((orientation, False) for orientation in ORIENTATIONS), ("oblique", True)]
)
def test_every_voxel_of_a_label_map_lies_where_it_was_measured(orientation, multi_frame, uids):
    ct = synthetic_ct(orientation)
    source = as_enhanced(ct) if multi_frame else ct
    seg = highdicom.seg.segread(_written(_seg(source, uids, MEASURED_RESULTS["measured"](source), SegKind.LABELMAP)))
    found = seg.get_volume(combine_segments=True)
    index = np.argwhere(found.array)
    positions = index @ found.affine[:3, :3].T + found.affine[:3, 3]
    affine = ct.volume.affine_lps_mm
    on_grid = (positions - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    assert np.abs(on_grid - on_grid.round()).max() < 0.02
    again = np.zeros(ct.labels.shape, np.uint8)
    again[tuple(on_grid.round().astype(int).T)] = found.array[tuple(index.T)]
    np.testing.assert_array_equal(again, _expected_numbers(ct))


def _expected_numbers(ct: SyntheticCt) -> np.ndarray:
    """Bodies are odd, their regions even and over them."""
    numbers = np.zeros_like(ct.labels)
    for n, level in enumerate((Level.L1, Level.L2, Level.L3, Level.L4)):
        numbers[ct.labels == int(level)] = 2 * n + 1
        numbers[ct.regions == int(level)] = 2 * n + 2
    return numbers


def test_dcmqi_reads_the_same_label_map(tmp_path, axial, uids):
    path = tmp_path / "seg.dcm"
    _seg(axial, uids, MEASURED_RESULTS["measured"](axial), SegKind.LABELMAP).save_as(path, enforce_file_format=True)
    output = run_tool("segimage2itkimage", "--inputDICOM", path, "--outputDirectory", tmp_path, "-t", "nrrd")
    assert (tmp_path / "1.nrrd").exists(), output
    image = sitk.ReadImage(str(tmp_path / "1.nrrd"))
    first = (np.array(image.GetOrigin()) - axial.volume.affine_lps_mm[:3, 3]) / axial.volume.axis_spacing_mm[0]
    slices = round(float(first[2])) + np.arange(image.GetDepth())
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), _expected_numbers(axial)[slices])


def test_a_label_map_is_valid_and_names_what_each_segment_holds(tmp_path, axial, uids):
    result = one_level(axial)
    seg = _seg(axial, uids, result, SegKind.LABELMAP)
    seg.save_as(tmp_path / "seg.dcm", enforce_file_format=True)
    assert iod_errors(tmp_path / "seg.dcm") == []
    assert (seg.SegmentationType, seg.SOPClassUID) == ("LABELMAP", "1.2.840.10008.5.1.4.1.1.66.7")
    held = {item.SegmentLabel: item.get("TrackingUID") for item in seg.SegmentSequence}
    assert held == {
        "Background": None,
        "L1 vertebral body": uids.body_tracking(Level.L1),
        "L2 vertebral body around measured region": uids.rest_tracking(Level.L2),
        "L2 measured trabecular region": uids.region_tracking(Level.L2),
        "L3 vertebral body around measured region": uids.rest_tracking(Level.L3),
        "L3 measured trabecular region": uids.region_tracking(Level.L3),
    }
    colours = [tuple(item.RecommendedDisplayCIELabValue) for item in seg.SegmentSequence]
    assert len(set(colours)) == len(colours)


def test_a_report_can_refer_to_the_label_map(tmp_path, axial, uids):
    result = one_level(axial)
    seg = _seg(axial, uids, result, SegKind.LABELMAP)
    sr = build_sr(axial.sources, seg, result, uids, CREATED)
    groups = highdicom.sr.srread(_written(sr)).content.get_volumetric_roi_measurement_groups()
    for group in groups:
        reference = group.referenced_segment[0]
        assert reference.referenced_sop_instance_uid == seg.SOPInstanceUID
        segment = seg.SegmentSequence[int(reference.referenced_segment_numbers[0])]
        assert segment.TrackingUID == group.tracking_uid
    sr.save_as(tmp_path / "sr.dcm", enforce_file_format=True)
    # the one thing that dciodvfy does not know yet: that a label map is a segmentation with numbered segments
    unknown = "Shall not be present for Referenced SOP Class that is not segmentation - attribute <ReferencedSegmentNumber>"
    assert [line for line in iod_errors(tmp_path / "sr.dcm") if unknown not in line] == []
    output = run_tool("tid1500reader", "--inputDICOM", tmp_path / "sr.dcm", "--outputMetadata", tmp_path / "sr.json")
    assert (tmp_path / "sr.json").exists(), output
