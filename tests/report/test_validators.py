"""Objects against parts that others wrote: dciodvfy, DicomSRValidator, dsrdump and dcmqi's readers."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its usual name

from node.report import build_seg, build_sr, build_summary_page, render_summary
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
)
from tests.report.conftest import enhanced as as_enhanced
from tests.report.tools import iod_errors, run_tool


def _write_all(folder, ct, result, uids) -> tuple[Path, Path]:
    seg = build_seg(ct.volume, ct.sources, *labels_of(ct, result), result, uids, CREATED)
    seg.save_as(folder / "seg.dcm", enforce_file_format=True)
    build_sr(ct.sources, seg, result, uids, CREATED).save_as(folder / "sr.dcm", enforce_file_format=True)
    return folder / "seg.dcm", folder / "sr.dcm"


def _write_page(folder, ct, result, uids) -> Path:
    page = render_summary(ct.volume, *labels_of(ct, result), result)
    build_summary_page(ct.sources, page, result, uids, CREATED).save_as(folder / "sc.dcm", enforce_file_format=True)
    return folder / "sc.dcm"


@pytest.mark.parametrize("kind", MEASURED_RESULTS)
def test_seg_and_sr_are_valid_objects(tmp_path, axial, uids, kind):
    for path in _write_all(tmp_path, axial, MEASURED_RESULTS[kind](axial), uids):
        assert iod_errors(path) == []


def test_seg_and_sr_of_an_enhanced_source_are_valid_objects(tmp_path, axial, uids):
    ct = as_enhanced(axial)
    for path in _write_all(tmp_path, ct, measured(ct), uids):
        assert iod_errors(path) == []


@pytest.mark.parametrize("make", [measured, hu_only, not_measured])
def test_the_page_is_a_valid_object(tmp_path, axial, uids, make):
    assert iod_errors(_write_page(tmp_path, axial, make(axial), uids)) == []


def test_the_report_is_short_as_text(tmp_path, axial, uids):
    _, sr = _write_all(tmp_path, axial, measured(axial), uids)
    output = run_tool("dsrdump", "+Pl", sr)
    assert "Comprehensive 3D SR Document" in output
    # dcmtk's warning that its checker knows no UTF-8 is no line of the report
    report = [line for line in output.splitlines() if not line.startswith("W: The VR checker")]
    assert len("\n".join(report).strip().splitlines()) <= 120
    lines = [line for line in output.splitlines() if "contains" in line]
    assert "Conclusion" in lines[1]


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
