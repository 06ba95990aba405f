"""The segmentation lies on its source, in every orientation, and holds what it should."""

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO

import highdicom
import numpy as np
import pydicom
import pytest

from node.model import Level
from node.report import build_seg
from tests.report.conftest import BODIES, CREATED, ORIENTATIONS, labels_of, measured, one_level, synthetic_ct
from tests.report.conftest import enhanced as as_enhanced


def _build(ct, uids, result=None, created=CREATED):
    result = result or measured(ct)
    return build_seg(ct.volume, ct.sources, *labels_of(ct, result), result, uids, created)


def _written(ds) -> BytesIO:
    file = BytesIO()
    ds.save_as(file, enforce_file_format=True)
    file.seek(0)
    return file


def _masks(ct) -> Iterator[tuple[str, np.ndarray]]:
    for level in BODIES:
        yield f"{level.name} vertebral body", ct.labels == int(level)
        yield f"{level.name} measured trabecular region", ct.regions == int(level)


def _positions(index: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Positions of voxels in mm, sorted, to be compared as sets."""
    positions = np.round(index @ affine[:3, :3].T + affine[:3, 3], 2) + 0.0
    return positions[np.lexsort(positions.T)]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("multi_frame", [False, True], ids=["single", "enhanced"])
def test_every_voxel_lies_where_it_was_measured(orientation, multi_frame, uids):
    ct = synthetic_ct(orientation)
    source = as_enhanced(ct) if multi_frame else ct
    seg = highdicom.seg.segread(_written(_build(source, uids)))
    assert seg.FrameOfReferenceUID == ct.volume.facts.frame_of_reference_uid
    volume = seg.get_volume(combine_segments=False)
    names = [item.SegmentLabel for item in seg.SegmentSequence]
    for name, mask in _masks(ct):
        found = np.argwhere(volume.array[..., names.index(name)])
        np.testing.assert_allclose(
            _positions(found, volume.affine), _positions(np.argwhere(mask), ct.volume.affine_lps_mm), atol=0.02
        )


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_frame_is_pixel_for_pixel_its_source_image(orientation, uids):
    ct = synthetic_ct(orientation)
    seg = pydicom.dcmread(_written(_build(ct, uids)))
    masks = dict(_masks(ct))
    slice_of = {frame.sop_instance_uid: k for k, frame in enumerate(ct.volume.frames)}
    seen = 0
    for frame, groups in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        k = slice_of[groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        mask = masks[seg.SegmentSequence[number - 1].SegmentLabel]
        np.testing.assert_array_equal(frame.astype(bool), mask[k])
        position = groups.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(np.array(position, float), np.array(ct.sources[k].ImagePositionPatient, float), atol=1e-4)
        seen += 1
    # no frame is empty, and none is missing
    assert seen == sum(mask.any(axis=(1, 2)).sum() for mask in masks.values())


def test_enhanced_frames_refer_to_their_frame_numbers(axial, uids):
    source = as_enhanced(axial)
    seg = pydicom.dcmread(_written(_build(source, uids)))
    slice_of = {frame.frame_number: k for k, frame in enumerate(source.volume.frames)}
    masks = dict(_masks(axial))
    for frame, groups in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        reference = groups.DerivationImageSequence[0].SourceImageSequence[0]
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        k = slice_of[int(reference.ReferencedFrameNumber)]
        np.testing.assert_array_equal(frame.astype(bool), masks[seg.SegmentSequence[number - 1].SegmentLabel][k])


def test_segments_are_described(axial, uids):
    seg = _build(axial, uids)
    assert seg.SegmentationType == "BINARY"
    assert (seg.Manufacturer, seg.ManufacturerModelName) == ("bmd-node project", "bmd-node")
    assert seg.SeriesNumber >= 9000
    first, second = seg.SegmentSequence[:2]
    assert [item.SegmentLabel for item in seg.SegmentSequence] == [name for name, _ in _masks(axial)]
    assert first.SegmentedPropertyTypeCodeSequence[0].CodeValue == "66794005"
    assert first.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "91723000"
    assert second.AnatomicRegionSequence[0].CodeValue == "66794005"
    assert second.TrackingUID == uids.region_tracking(Level.L1)
    assert first.TrackingUID == uids.body_tracking(Level.L1)
    algorithm = first.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmVersion, "embedded 1" in algorithm.AlgorithmName) == ("0.1.0", True)
    schemes = {item.CodingSchemeDesignator for item in seg.CodingSchemeIdentificationSequence}
    assert second.SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator in schemes


def test_colours_of_segments_differ_visibly(axial, uids):
    seg = _build(axial, uids)
    scale = np.array([100 / 65535, 255 / 65535, 255 / 65535])
    lab = [np.array(item.RecommendedDisplayCIELabValue) * scale for item in seg.SegmentSequence]
    distances = [np.linalg.norm(a - b) for n, a in enumerate(lab) for b in lab[:n]]
    assert min(distances) > 15  # delta E; about 2 is just visible


def test_referenced_series_lists_the_images_that_show_a_body(axial, uids):
    seg = _build(axial, uids)
    (series,) = seg.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == axial.volume.facts.series_instance_uid
    listed = {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence}
    filled = axial.labels.any(axis=(1, 2))
    assert listed == {frame.sop_instance_uid for frame, shown in zip(axial.volume.frames, filled, strict=True) if shown}


def test_a_level_without_region_has_its_body_only(axial, uids):
    seg = _build(axial, uids, one_level(axial))
    labels = [item.SegmentLabel for item in seg.SegmentSequence]
    assert labels == [
        "L1 vertebral body",
        "L2 vertebral body",
        "L2 measured trabecular region",
        "L3 vertebral body",
        "L3 measured trabecular region",
    ]


def test_same_input_gives_the_same_bytes_but_for_dates(axial, uids):
    one, two = _written(_build(axial, uids)).getvalue(), _written(_build(axial, uids)).getvalue()
    assert one == two
    later = _written(_build(axial, uids, created=CREATED.replace(year=2031))).getvalue()
    assert later != one
    assert later.replace(b"20310506", b"20240506") == one


def test_headers_in_another_order_are_refused(axial, uids):
    shuffled = replace(axial, sources=axial.sources[::-1])
    with pytest.raises(ValueError, match="order"):
        _build(shuffled, uids)


def test_labels_on_another_grid_are_refused(axial, uids):
    result = measured(axial)
    with pytest.raises(ValueError, match="shape"):
        build_seg(axial.volume, axial.sources, axial.labels[1:], axial.regions, result, uids, CREATED)


def test_last_digits_of_the_orientation_may_differ_between_images(uids):
    ct = synthetic_ct("oblique")
    for n, ds in enumerate(ct.sources):
        values = [float(v) for v in ds.ImageOrientationPatient]
        ds.ImageOrientationPatient = [*values[:5], round(values[5] + (n % 2) * 1e-6, 6)]
    assert _build(ct, uids).NumberOfFrames > 0


def test_without_a_frame_of_reference_one_is_derived(axial, uids):
    bare = synthetic_ct("axial")
    for ds in bare.sources:
        del ds.FrameOfReferenceUID
    facts = replace(bare.volume.facts, frame_of_reference_uid=None)
    bare = replace(bare, volume=replace(bare.volume, facts=facts))
    assert _build(bare, uids).FrameOfReferenceUID == uids.frame_of_reference
