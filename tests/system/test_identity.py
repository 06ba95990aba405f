"""``bmd-node process`` on folders whose images do not agree on their patient: what the objects say, and what they refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

OTHER = {"PatientID": "OTHER", "PatientName": "SOMEBODY^ELSE", "PatientBirthDate": "19410505"}


def written(source: Path, folder: Path, change: Callable[[int, Dataset], object]) -> Path:
    """The images from the lowest to the highest, changed."""
    folder.mkdir()
    images = sorted(map(pydicom.dcmread, source.glob("*.dcm")), key=lambda ds: float(ds.ImagePositionPatient[2]))
    for n, ds in enumerate(images):
        change(n, ds)
        ds.save_as(folder / f"{n:04}.dcm")
    return folder


def process(folders: Sequence[Path], out: Path) -> tuple[int, dict[str, object]]:
    command = [sys.executable, "-m", "node.cli", "process", *map(str, folders), "--out", str(out), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert "Traceback" not in done.stderr
    for value in OTHER.values():
        assert value not in done.stderr + done.stdout
    return done.returncode, json.loads(done.stdout)


def set_all(ds: Dataset, **values: str) -> None:
    for keyword, value in values.items():
        setattr(ds, keyword, value)


def test_two_patients_in_one_series_are_refused(small_phantom: Path, tmp_path: Path) -> None:
    folder = written(small_phantom, tmp_path / "ct", lambda n, ds: set_all(ds, **OTHER) if n == 0 else None)
    code, result = process([folder], tmp_path / "out")
    assert (code, result["status"]) == (3, "not_measured")
    [reason] = [one for one in result["reasons"] if one["code"] == "identity_differs"]
    assert "Patient ID, Patient's Name, Patient's Birth Date" in reason["detail"]
    assert not list((tmp_path / "out").glob("*.dcm"))


def test_objects_state_what_the_images_agree_on(small_phantom: Path, tmp_path: Path) -> None:
    def change(n: int, ds: Dataset) -> None:
        set_all(ds, PatientID="4711", PatientName="Doe^Jane", PatientBirthDate="19560101", AccessionNumber="A1")
        if n == 0:  # the first of the volume
            set_all(
                ds, PatientID="", PatientName="DOE, JANE", PatientBirthDate="19000101", AccessionNumber="A2", StudyID="X"
            )

    folder = written(small_phantom, tmp_path / "ct", change)
    study_id = pydicom.dcmread(folder / "0001.dcm").StudyID
    code, result = process([folder], tmp_path / "out")
    assert code == 0
    codes = [one["code"] for one in result["remarks"]]
    assert codes == ["identity_written_differently", "filler_birth_date", "headers_differ"]
    for name in ("seg.dcm", "sr.dcm", "summary.dcm"):
        ds = pydicom.dcmread(tmp_path / "out" / name)
        assert (ds.PatientID, ds.PatientName, ds.PatientBirthDate) == ("4711", "Doe^Jane", "19560101"), name
        assert (ds.AccessionNumber or "", ds.StudyID) == ("", study_id), name


def test_an_age_that_was_filled_in_is_said_and_makes_no_child(small_phantom: Path, tmp_path: Path) -> None:
    def change(_n: int, ds: Dataset) -> None:
        ds.PatientBirthDate, ds.PatientAge = ds.StudyDate, "000Y"

    code, result = process([written(small_phantom, tmp_path / "ct", change)], tmp_path / "out")
    assert code == 0
    assert result["category"] is not None
    details = [one["detail"] for one in result["reasons"] if one["code"] == "population"]
    assert len(details) == 1
    assert "age not known" in details[0]
