"""What a run keeps to be reported again: the same report and page come from it as from the images."""

import json
from copy import deepcopy
from io import BytesIO

import numpy as np
import pytest

from node.report import (
    arrays_of_views,
    build_seg,
    build_sr,
    build_summary_page,
    kept_headers,
    read_kept_headers,
    render_page,
    take_views,
    views_of_arrays,
)
from tests.report.conftest import CREATED, enhanced, labels_of, measured, one_level, synthetic_ct


def _spoilt(sources):
    """Headers as a PACS may hold them: values that are none, another alphabet, values missing."""
    spoilt = deepcopy(sources)
    for ds in spoilt:
        ds.SpecificCharacterSet, ds.PatientName = "ISO_IR 144", "Люкceмбypг=x=y=z"
        ds.PatientID, ds.StudyDate, ds.PatientAge = "47\\11\n", "yesterday", "old"
        ds.PatientWeight, ds.DeviceSerialNumber = "70.123456789012", None
        ds.LossyImageCompression, ds.LossyImageCompressionRatio = "01", [2.5, 4]
        del ds.ReferringPhysicianName, ds.StudyTime
    return spoilt


def _bytes(ds) -> bytes:
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["axial", "oblique", "enhanced", "spoilt"])
def test_report_and_page_object_are_the_same_from_kept_headers(uids, kind):
    ct = synthetic_ct("oblique" if kind == "oblique" else "axial")
    if kind == "enhanced":
        ct = enhanced(ct)
    sources = _spoilt(ct.sources) if kind == "spoilt" else ct.sources
    result = measured(ct)
    seg = build_seg(ct.volume, sources, *labels_of(ct, result), result, uids, CREATED)
    text = kept_headers(sources, result.facts, uids.frame_of_reference)
    kept = read_kept_headers(text)
    reports = [build_sr(headers, seg, result, uids, CREATED) for headers in (kept, sources)]
    assert _bytes(reports[0]) == _bytes(reports[1])
    page = np.zeros((4, 6, 3), dtype=np.uint8)
    pages = [build_summary_page(headers, page, result, uids, CREATED) for headers in (kept, sources)]
    assert _bytes(pages[0]) == _bytes(pages[1])
    assert not any(ds.get("PixelData") for ds in kept)
    assert len(json.loads(text)) == len(sources)


def test_a_page_drawn_from_kept_pictures_looks_as_before_whatever_its_numbers(axial, tmp_path):
    result = one_level(axial)
    views = take_views(axial.volume, *labels_of(axial, result), result)
    assert views is not None
    np.savez_compressed(tmp_path / "views.npz", **arrays_of_views(views))
    with np.load(tmp_path / "views.npz") as arrays:
        kept = views_of_arrays(arrays)
    assert [outline.level for outline in kept.sagittal.bodies] == [outline.level for outline in views.sagittal.bodies]
    differs = np.abs(render_page(kept, result).astype(int) - render_page(views, result).astype(int)).max(axis=2)
    assert np.percentile(differs, 99.9) <= 4
