"""``bmd-node process`` on several studies with real processes: killed, it goes on, and measures nothing twice."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import generate_uid

from tests.receive.listener_process import eventually


def start(folder: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "node.cli", "process", str(folder), "--out", str(out), *options],
        env={name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def studies(small_phantom: Path, folder: Path, count: int) -> list[str]:
    """One phantom as several patients."""
    uids = []
    for n in range(count):
        study, series = generate_uid(), generate_uid()
        uids.append(str(study))
        (folder / str(n)).mkdir(parents=True)
        for image in small_phantom.glob("*.dcm"):
            ds = pydicom.dcmread(image)
            ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.AccessionNumber = study, series, f"ACC-{n}"
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            ds.save_as(folder / str(n) / image.name)
    return uids


def children(pid: int) -> list[int]:
    """Processes of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.timeout(600)
def test_killed_it_goes_on(small_phantom: Path, tmp_path: Path) -> None:
    uids = studies(small_phantom, tmp_path / "in", 2)
    out = tmp_path / "out"
    first = start(tmp_path / "in", out, "--workers", "1")
    done = [out / uid / "batch.json" for uid in uids]
    eventually(lambda: any(path.exists() for path in done) or first.poll() is not None, "the first study", 250.0)
    helpers = children(first.pid)
    first.send_signal(signal.SIGKILL)
    _, said = first.communicate(timeout=60)
    before = {path: path.stat().st_mtime_ns for path in done if path.exists()}
    assert len(before) == 1, said
    eventually(lambda: all(is_gone(pid) for pid in helpers), "no process is left behind", 60.0)
    second = start(tmp_path / "in", out, "--workers", "2")
    printed, said = second.communicate(timeout=250)
    assert second.returncode == 0, said
    assert "1 of 2 studies are measured already" in said
    assert "Traceback" not in said
    assert all(path.stat().st_mtime_ns == when for path, when in before.items()), "nothing twice"
    rows = list(csv.DictReader((out / "studies.csv").read_text().splitlines()))
    assert {row["study_instance_uid"]: row["status"] for row in rows} == dict.fromkeys(uids, "measured")
    assert {row["accession_number"] for row in rows} == {"ACC-0", "ACC-1"}
    # one phantom is one value, whoever it is
    assert len({(row["hu_mean"], row["bmd_mg_cm3"]) for row in rows}) == 1
    assert printed.count("measured: ") == 2
    assert not list(out.glob(".measuring-*"))
