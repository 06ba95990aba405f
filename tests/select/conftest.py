"""Fixtures for the tests of node.select."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from node.settings.tree import SelectSettings

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.fixture
def settings() -> SelectSettings:
    return SelectSettings()


@pytest.fixture
def real_ct() -> Callable[[str], Path]:
    """Folder of a real CT; skips if the data are missing."""

    def folder(name: str) -> Path:
        path = SHARED / "ct" / name
        if not path.is_dir():
            pytest.skip(f"the real CT {name} is not there: {path}")
        return path

    return folder
