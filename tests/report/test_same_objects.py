"""The same input makes the same objects in every process: byte for byte, but for the dates of their making."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from node.report_files import OBJECT_FILES
from tests.same_objects import without_dates

ROOT = Path(__file__).resolve().parents[2]


def test_every_object_is_the_same_in_another_process_on_another_day(tmp_path: Path) -> None:
    for seed, created in (("1", "2024-05-06T07:08:09"), ("2", "2025-11-12T13:14:15")):
        (tmp_path / seed).mkdir()
        command = [sys.executable, "-m", "tests.deliver.built_results", tmp_path / seed, created]
        subprocess.run(command, check=True, cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": seed}, timeout=200)
    made = sorted(path.name for path in (tmp_path / "1").iterdir())
    assert len(made) >= 10
    assert set(made) <= set(OBJECT_FILES)
    for name in made:
        one, two = tmp_path / "1" / name, tmp_path / "2" / name
        assert one.read_bytes() != two.read_bytes(), "the dates differ"
        assert without_dates(one) == without_dates(two), name
