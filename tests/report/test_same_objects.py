"""The same input makes the same objects in every process: byte for byte, but for the dates of their making."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from node.language.catalogue import Language
from node.model.object_kinds import SegKind, SrKind
from node.study.objects import OBJECT_FILES, sr_file
from tests.deliver.built_results import write_every_language
from tests.same_objects import without_dates

ROOT = Path(__file__).resolve().parents[2]


def test_every_object_is_the_same_in_another_process_on_another_day(tmp_path: Path) -> None:
    """Each SOP class of report, kind of segmentation, page and PDF, in each language."""
    here, there = tmp_path / "here", tmp_path / "there"
    made = [path.relative_to(here) for path in write_every_language(here)]
    without_segmentation = sr_file(SrKind.BASIC_TEXT, SegKind.LABELMAP)
    assert {str(path) for path in made} == {
        f"{language}/{name}" for language in Language for name in OBJECT_FILES if name != without_segmentation
    }
    command = [sys.executable, "-m", "tests.deliver.built_results", there, "2025-11-12T13:14:15"]
    subprocess.run(command, check=True, cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": "7"}, timeout=200)
    for name in made:
        assert (here / name).read_bytes() != (there / name).read_bytes(), "the dates differ"
        assert without_dates(here / name) == without_dates(there / name), name
    for name in OBJECT_FILES:
        if name.startswith(("sr", "summary")) and name != without_segmentation:
            assert without_dates(here / Language.EN / name) != without_dates(here / Language.DE / name), name
