"""The same input makes the same objects in every process: byte for byte, but for the dates of their making."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from node.object_kinds import SegKind, SrKind
from node.report_files import OBJECT_FILES, sr_file
from tests.deliver.built_results import write_result
from tests.same_objects import without_dates

ROOT = Path(__file__).resolve().parents[2]


def test_every_object_is_the_same_in_another_process_on_another_day(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    made = [path.name for path in write_result(here)]
    assert set(made) == set(OBJECT_FILES) - {sr_file(SrKind.BASIC_TEXT, SegKind.LABELMAP)}, "it refers to no segmentation"
    command = [sys.executable, "-m", "tests.deliver.built_results", there, "2025-11-12T13:14:15"]
    subprocess.run(command, check=True, cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": "7"}, timeout=200)
    for name in made:
        assert (here / name).read_bytes() != (there / name).read_bytes(), "the dates differ"
        assert without_dates(here / name) == without_dates(there / name), name
