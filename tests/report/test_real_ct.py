"""The objects on a real CT of 5 mm slices (JPEG-LS), with boxes around body centres that were read by eye."""

from io import BytesIO
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest

from node.model import (
    MEASURED_LEVELS,
    Bmd,
    ContrastPhase,
    Level,
    LevelMeasurement,
    Orientation,
    Reason,
    SeriesFacts,
    Software,
    SourceFrame,
    StudyResult,
    VertebralBody,
    Volume,
)
from node.model.object_kinds import SegKind
from node.report import build_seg, build_sr, render_summary, uids_for
from tests.report.conftest import CREATED
from tests.report.tools import iod_errors

FOLDER = Path(__file__).parents[3] / "shared/data/ct/juno_wb"
CENTRES = {
    Level.L1: (-1.5, -133.5, -468.0),
    Level.L2: (-1.0, -141.0, -501.0),
    Level.L3: (-0.5, -147.0, -537.0),
    Level.L4: (0.0, -148.5, -574.0),
    Level.L5: (0.0, -144.0, -615.0),
}


@pytest.fixture(scope="module")
def juno():
    """Slices of the lumbar spine: volume, headers, labels, regions, result."""
    if not FOLDER.is_dir():
        pytest.skip(f"no real CT at {FOLDER}")
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in FOLDER.glob("*.dcm")]
    paths = {str(pydicom.dcmread(p, specific_tags=["SOPInstanceUID"]).SOPInstanceUID): p for p in FOLDER.glob("*.dcm")}
    headers = sorted(
        (ds for ds in headers if -680 < float(ds.ImagePositionPatient[2]) < -400),
        key=lambda ds: float(ds.ImagePositionPatient[2]),
    )
    hu = []
    for ds in headers:
        image = pydicom.dcmread(paths[str(ds.SOPInstanceUID)])
        hu.append(image.pixel_array * float(image.RescaleSlope) + float(image.RescaleIntercept))
    first, last = (np.array(headers[n].ImagePositionPatient, float) for n in (0, -1))
    spacing = [float(v) for v in headers[0].PixelSpacing]
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 0] = (last - first) / (len(headers) - 1)
    affine[:3, 1:3] = np.array([[0, spacing[1]], [spacing[0], 0], [0, 0]])
    affine[:3, 3] = first
    facts = SeriesFacts(
        headers[0].StudyInstanceUID,
        headers[0].SeriesInstanceUID,
        headers[0].FrameOfReferenceUID,
        "SIEMENS",
        "Biograph 64",
        120.0,
        "B35f",
        5.0,
        (spacing[1], spacing[0], 5.0),
        Orientation.AXIAL,
        contrast_phase=ContrastPhase.UNKNOWN,
    )
    frames = tuple(SourceFrame(paths[str(ds.SOPInstanceUID)], ds.SOPClassUID, ds.SOPInstanceUID) for ds in headers)
    volume = Volume(np.array(hu, dtype=np.int16), affine, facts, frames)

    labels = np.zeros(volume.hu.shape, np.uint8)
    regions = np.zeros_like(labels)
    for level, centre in CENTRES.items():
        k, row, column = np.round(np.linalg.inv(affine) @ [*centre, 1.0])[:3].astype(int)
        labels[k - 2 : k + 3, row - 15 : row + 16, column - 20 : column + 21] = int(level)
        if level in MEASURED_LEVELS:
            regions[k - 1 : k + 2, row - 6 : row + 7, column - 9 : column + 10] = int(level)
    levels = tuple(
        LevelMeasurement(
            level,
            CENTRES[level],
            float(volume.hu[regions == int(level)].mean()),
            float(volume.hu[regions == int(level)].std(ddof=1)),
            float((regions == int(level)).sum() * 5 * spacing[0] * spacing[1]),
            usable=True,
            findings=(),
        )
        for level in MEASURED_LEVELS
    )
    reason = Reason("no_equation", "no validated HU-to-BMD equation for the scanner SIEMENS Biograph 64: HU only")
    result = StudyResult(
        "measured",
        (reason,),
        facts,
        "the only axial series",
        (),
        tuple(VertebralBody(level, centre, 0.9, "read by eye") for level, centre in CENTRES.items()),
        levels,
        float(np.mean([level.hu_mean for level in levels])),
        Bmd(None, (), None, None, None, (reason,)),
        (),
        Software("0.1.0", "by hand"),
    )
    return volume, headers, labels, regions, result


def test_real_series_gives_valid_objects_that_lie_on_it(juno, tmp_path):
    volume, headers, labels, regions, result = juno
    uids = uids_for(volume.facts.study_instance_uid, "digest", "0.1.0", "settings")
    seg = build_seg(volume, headers, labels, regions, result, uids, CREATED)
    sr = build_sr(headers, seg, result, uids, CREATED)
    label_map = build_seg(volume, headers, labels, regions, result, uids, CREATED, SegKind.LABELMAP)
    for name, ds in (("seg", seg), ("sr", sr), ("labelmap", label_map)):
        ds.save_as(tmp_path / f"{name}.dcm", enforce_file_format=True)
        assert iod_errors(tmp_path / f"{name}.dcm") == []
    read = highdicom.seg.segread(BytesIO((tmp_path / "seg.dcm").read_bytes()))
    mask = read.get_volume(combine_segments=False)
    names = [item.SegmentLabel for item in read.SegmentSequence]
    assert len(names) == 9
    found = np.argwhere(mask.array[..., names.index("L3 vertebral body")]) @ mask.affine[:3, :3].T + mask.affine[:3, 3]
    expected = np.argwhere(labels == int(Level.L3)) @ volume.affine_lps_mm[:3, :3].T + volume.affine_lps_mm[:3, 3]
    np.testing.assert_allclose(found.min(axis=0), expected.min(axis=0), atol=0.01)
    np.testing.assert_allclose(found.max(axis=0), expected.max(axis=0), atol=0.01)
    assert len(found) == len(expected)
    assert sr.PatientName == headers[0].PatientName
    # L3 of the label map: its region, and the rest around it
    body = [item.SegmentNumber for item in label_map.SegmentSequence if item.SegmentLabel.startswith("L3 ")]
    assert int(np.isin(label_map.pixel_array, body).sum()) == len(expected)


def test_page_of_a_real_series(juno):
    volume, _, labels, regions, result = juno
    page = render_summary(volume, labels, regions, result)
    sagittal = page[130:814, 12:334].mean(axis=2)
    # bone, soft tissue and bowel gas: a picture, not one grey
    assert np.percentile(sagittal, 95) - np.percentile(sagittal, 5) > 80
