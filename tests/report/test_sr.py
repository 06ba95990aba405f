"""The structured report says what the result says, first things first."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import highdicom
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from node.model import AcrCategory, Level, Reason, codes
from node.report import build_seg, build_sr
from tests.report.conftest import (
    CREATED,
    MEASURED_RESULTS,
    ORIENTATIONS,
    hu_only,
    labels_of,
    measured,
    not_measured,
    one_level,
    synthetic_ct,
    withheld,
)
from tests.report.conftest import enhanced as as_enhanced


def _build(ct, uids, result, created=CREATED):
    seg = build_seg(ct.volume, ct.sources, *labels_of(ct, result), result, uids, created)
    return seg, build_sr(ct.sources, seg, result, uids, created)


def _read(sr):
    file = BytesIO()
    sr.save_as(file, enforce_file_format=True)
    file.seek(0)
    return highdicom.sr.srread(file)


def _items(ds: Dataset):
    for item in ds.get("ContentSequence", []):
        yield item
        yield from _items(item)


def _name(item):
    return item.ConceptNameCodeSequence[0].CodeMeaning


def _numbers(ds):
    return [(_name(i), float(i.MeasuredValueSequence[0].NumericValue)) for i in _items(ds) if i.ValueType == "NUM"]


def _texts(ds, name):
    return [i.TextValue for i in _items(ds) if i.ValueType == "TEXT" and _name(i) == name]


def _summary(sr):
    return next(item for item in sr.ContentSequence if _name(item) == "Summary")


@pytest.mark.parametrize("orientation", ["axial", "enhanced"])
def test_levels_carry_their_numbers_and_segments(orientation, uids):
    ct = synthetic_ct("axial")
    ct = as_enhanced(ct) if orientation == "enhanced" else ct
    result = measured(ct)
    seg, sr = _build(ct, uids, result)
    groups = _read(sr).content.get_volumetric_roi_measurement_groups()
    assert len(groups) == 4
    for group, level in zip(groups, result.levels, strict=True):
        values = [(m.name.value, m.value, m.unit.value) for m in group.get_measurements()]
        assert values == [
            ("112031", round(level.hu_mean, 1), "[hnsf'U]"),
            ("112183", round(level.hu_sd, 1), "[hnsf'U]"),
            ("118565006", 4200.5, "mm3"),
            ("VBMD", round(0.78 * level.hu_mean, 1), "mg/cm3"),
        ]
        segment = seg.SegmentSequence[int(group.referenced_segment[0].referenced_segment_numbers[0]) - 1]
        assert segment.SegmentLabel == f"{level.level.name} measured trabecular region"
        assert group.tracking_uid == segment.TrackingUID == uids.region_tracking(level.level)
        assert group.referenced_segment[0].referenced_sop_instance_uid == seg.SOPInstanceUID
        assert group.finding_sites[0].value.meaning == f"{level.level.name} vertebra"
        assert [e.value.meaning for e in group.get_qualitative_evaluations()] == ["Yes"]


@pytest.mark.parametrize("orientation", [*ORIENTATIONS, "enhanced"])
def test_levels_point_at_their_centre_on_the_nearest_image(orientation, uids):
    ct = as_enhanced(synthetic_ct("axial")) if orientation == "enhanced" else synthetic_ct(orientation)
    result = measured(ct)
    _, sr = _build(ct, uids, result)
    points = [item for item in _items(sr) if item.ValueType == "SCOORD"]
    assert [_name(point) for point in points] == ["Center"] * 4
    uids_of_slices = [frame.sop_instance_uid for frame in ct.volume.frames]
    frame_numbers = [frame.frame_number for frame in ct.volume.frames]
    for point, level in zip(points, result.levels, strict=True):
        slice_, row, column = (np.linalg.inv(ct.volume.affine_lps_mm) @ [*level.centroid_lps_mm, 1.0])[:3]
        # SCOORD counts from the corner of the first pixel, the grid from its middle (PS3.3 C.18.6)
        assert point.GraphicData == pytest.approx([column + 0.5, row + 0.5], abs=0.02)
        (image,) = point.ContentSequence[0].ReferencedSOPSequence
        nearest = round(slice_)
        assert image.ReferencedSOPInstanceUID == uids_of_slices[nearest]
        if orientation == "enhanced":
            assert image.ReferencedFrameNumber == frame_numbers[nearest]


def test_document_is_unverified_and_preliminary(axial, uids):
    seg, sr = _build(axial, uids, measured(axial))
    assert (sr.CompletionFlag, sr.VerificationFlag, sr.PreliminaryFlag) == ("COMPLETE", "UNVERIFIED", "PRELIMINARY")
    assert sr.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"
    assert (sr.Manufacturer, sr.ManufacturerModelName, sr.SoftwareVersions) == ("bmd-node project", "bmd-node", "0.1.0")
    assert sr.SeriesInstanceUID not in (seg.SeriesInstanceUID, axial.volume.facts.series_instance_uid)
    assert sr.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert [i.CodingSchemeDesignator for i in sr.CodingSchemeIdentificationSequence] == ["99BMDNODE"]
    evidence = {
        item.ReferencedSOPInstanceUID
        for study in sr.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert evidence == {seg.SOPInstanceUID, *(f.sop_instance_uid for f in axial.volume.frames)}


def test_summary_comes_before_all_measurements_and_starts_with_the_conclusion(axial, uids):
    _, sr = _build(axial, uids, measured(axial))
    contained = [_name(item) for item in sr.ContentSequence if item.RelationshipType == "CONTAINS"]
    assert contained == ["Summary", "Image Library", "Imaging Measurements"]
    first = next(item for item in _summary(sr).ContentSequence if item.RelationshipType == "CONTAINS")
    assert first.TextValue.startswith("Low bone mass range, ACR (80 to 120 mg/cm3): mean trabecular BMD 97.1 mg/cm3")


def test_summary_carries_mean_interval_category_and_calibration(axial, uids):
    _, sr = _build(axial, uids, measured(axial))
    summary = _summary(sr)
    assert _numbers(summary) == [
        ("Mean trabecular BMD of the levels used", 97.1),
        ("Slope of calibration equation", 0.78),
        ("Intercept of calibration equation", 0.0),
        ("Lower end of interval of trabecular BMD", 88.0),
        ("Upper end of interval of trabecular BMD", 106.0),
        ("Attenuation Coefficient", 124.4),
    ]
    (category,) = [i.ConceptCodeSequence[0].CodeValue for i in _items(summary) if _name(i).startswith("ACR category")]
    assert category == "ACR-LOW"
    assert _texts(summary, "Levels used for the mean") == ["L1 to L4"]
    assert "PMC7964446" in _texts(summary, "Equation Citation")[0]
    assert _texts(summary, "Reference material of calibration") == ["K2HPO4"]
    assert _texts(summary, "Identifier of calibration equation") == ["schwaiger2014-120"]


def test_a_borderline_category_is_coded_and_said(axial, uids):
    def coded(result):
        _, sr = _build(axial, uids, result)
        summary = _summary(sr)
        values = [i.ConceptCodeSequence[0].CodeMeaning for i in _items(summary) if _name(i).startswith("Interval reaches")]
        return values, _texts(summary, "Conclusion")[0], _numbers(summary)

    result = measured(axial)
    assert coded(result)[0] == []
    bmd = replace(result.bmd, bmd_mg_cm3=79.96, interval_mg_cm3=(73.2, 86.7), category=AcrCategory.OSTEOPOROSIS)
    values, words, numbers = coded(replace(result, bmd=replace(bmd, thresholds_crossed_mg_cm3=(80.0,))))
    assert values == ["Yes"]
    assert words.startswith("Osteoporosis range (borderline)")
    assert ("Mean trabecular BMD of the levels used", 79.96) in numbers
    # an end that would round onto the threshold keeps its side
    near = replace(result.bmd, interval_mg_cm3=(79.96, 106.1), thresholds_crossed_mg_cm3=(80.0,))
    assert ("Lower end of interval of trabecular BMD", 79.96) in coded(replace(result, bmd=near))[2]


def test_published_limits_of_attenuation_stand_where_there_is_no_equation(axial, uids):
    _, sr = _build(axial, uids, hu_only(axial))
    (sentence,) = _texts(_summary(sr), "Attenuation beside published limits")
    assert "Pickhardt 2013" in sentence
    assert "not an ACR category" in sentence
    _, sr = _build(axial, uids, measured(axial))
    assert _texts(sr, "Attenuation beside published limits") == []


def test_a_normal_report_says_that_it_rules_nothing_out(axial, uids):
    _, sr = _build(axial, uids, MEASURED_RESULTS["normal"](axial))
    assert "A normal result does not rule out low BMD." in _texts(_summary(sr), "Conclusion")[0]


def test_without_an_equation_there_is_no_bmd_and_the_reason_stands(axial, uids):
    _, sr = _build(axial, uids, hu_only(axial))
    assert {name for name, _ in _numbers(sr)} == {
        "Attenuation Coefficient",
        "Standard Deviation of Attenuation Coefficient",
        "Volume",
    }
    assert not any(_name(item).startswith("ACR") for item in _items(sr))
    assert "no validated HU-to-BMD equation" in _texts(sr, "Reason why there is no BMD or no category")[0]


def test_a_doubt_of_the_study_is_no_reason_for_a_missing_bmd(axial, uids):
    result = hu_only(axial)
    doubt = Reason("thick_slices", "slices of 5 mm, thicker than 3 mm")
    _, sr = _build(axial, uids, replace(result, reasons=(doubt, *result.reasons)))
    assert _texts(sr, "Caveat") == [doubt.detail]
    assert _texts(sr, "Reason why there is no BMD or no category") == [result.bmd.reasons[0].detail]


def test_a_withheld_category_is_not_given(axial, uids):
    _, sr = _build(axial, uids, withheld(axial))
    assert not any(_name(item).startswith("ACR") for item in _items(sr))
    assert ("Mean trabecular BMD of the levels used", 97.1) in _numbers(_summary(sr))
    assert len(_texts(sr, "Reason why there is no BMD or no category")) == 2
    assert _texts(sr, "Contrast Phase") == ["portal venous contrast phase"]


def test_excluded_levels_keep_their_findings_and_an_empty_one_has_no_number(axial, uids):
    result = one_level(axial)
    _, sr = _build(axial, uids, result)
    groups = _read(sr).content.get_volumetric_roi_measurement_groups()
    assert [g.get_qualitative_evaluations()[0].value.meaning for g in groups] == ["No", "Yes", "No"]
    assert groups[0].get_measurements() == []
    assert groups[0].tracking_uid == uids.body_tracking(Level.L1)
    assert _texts(sr, "Finding on the level") == [
        "the region is empty after erosion by 10 mm",
        "wedge shape: front 34 % lower than back",
    ]
    assert _texts(sr, "Levels used for the mean") == ["L2 only"]


@pytest.mark.parametrize("make", MEASURED_RESULTS.values())
def test_no_measured_value_is_ever_zero(axial, uids, make):
    _, sr = _build(axial, uids, make(axial))
    assert [name for name, value in _numbers(sr) if value == 0 and name != "Intercept of calibration equation"] == []


def test_image_library_names_the_image_at_the_middle_level(axial, uids):
    result = measured(axial)
    _, sr = _build(axial, uids, result)
    library = next(item for item in sr.ContentSequence if _name(item) == "Image Library")
    (named,) = [i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in _items(library) if i.ValueType == "IMAGE"]
    z = {ds.SOPInstanceUID: float(ds.ImagePositionPatient[2]) for ds in axial.sources}
    assert abs(z[named] - result.levels[2].centroid_lps_mm[2]) <= 1.5


def test_the_observer_and_every_group_name_the_algorithm_once(axial, uids):
    _, sr = _build(axial, uids, measured(axial))
    observer = {_name(item): item for item in sr.ContentSequence if item.RelationshipType == "HAS OBS CONTEXT"}
    assert list(observer) == [
        "Observer Type",
        *(f"Device Observer {part}" for part in ("UID", "Manufacturer", "Model Name")),
    ]
    assert uids.device == observer["Device Observer UID"].UID
    assert _texts(sr, "Algorithm Version") == ["0.1.0"] * 5
    groups = [_summary(sr), *(item for item in _items(sr) if _name(item) == "Measurement Group")]
    assert [_texts(group, "Algorithm Name") for group in groups] == [["bmd-node, embedded 1"]] * 5


def test_the_docs_name_every_code_of_the_node():
    defined = [value for value in vars(codes).values() if isinstance(value, Code)] + list(codes.CATEGORY.values())
    own = {code for code in defined if code.scheme_designator == codes.coding_scheme().CodingSchemeDesignator}
    assert len({code.value for code in own}) == len(own) > 0
    text = (Path(__file__).parents[2] / "docs/objects.md").read_text(encoding="utf-8")
    assert [code.value for code in own if f"| `{code.value}` | {code.meaning} |" not in text] == []


def test_a_study_that_was_not_measured_has_no_report(axial, uids):
    seg, _ = _build(axial, uids, measured(axial))
    with pytest.raises(ValueError, match="measured"):
        build_sr(axial.sources, seg, not_measured(axial), uids, CREATED)
    with pytest.raises(ValueError, match="measured"):
        build_sr(axial.sources, seg, replace(measured(axial), facts=None), uids, CREATED)
