"""What the node has acknowledged, and what it says it has made, is still there when the power is cut."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.endurance import power_cut
from tests.receive.listener_process import ct_series, write_series

_WORK = """
import os, sys
from pathlib import Path
from node.common.files import make_folder, whole_file
from node.receive import import_folder
from node.settings.tree import ListenerSettings, Settings
from benchmarks.endurance import power_cut
folder, root = Path(sys.argv[1]), Path(os.environ["UNSYNCED_ROOT"])
settings = Settings(state_dir=root, listener=ListenerSettings(min_free_disk_mb=0))
import_folder(folder / "ct", settings)
make_folder(root / "results" / "one")
with whole_file(root / "results" / "one" / "result.json") as file:
    file.write(b"{}")
(root / "results" / "one" / "unsynced").write_text("gone")
power_cut.cut(root, Path(os.environ["UNSYNCED_KEPT"]))
"""
_COUNT = """
import sys
from pathlib import Path
from node.receive import ReceivedStudies
from node.settings.tree import Settings, StudySettings
import datetime as dt
settings = Settings(state_dir=Path(sys.argv[1]))
quiet = ReceivedStudies.open(settings).quiet_studies(dt.datetime.now(dt.UTC), StudySettings(stable_after_s=0))
print(*[one.n_instances for one in quiet])
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed (Debian package gcc)")
def test_what_was_acknowledged_survives_a_power_cut(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", ct_series(3))
    environment = os.environ | power_cut.layer(tmp_path)
    subprocess.run([sys.executable, "-c", _WORK, str(tmp_path)], env=environment, check=True, timeout=200)
    state = tmp_path / "site" / "state"
    assert sorted(path.name for path in (state / "results" / "one").iterdir()) == ["result.json"]
    assert len(list((state / "received").rglob("*.dcm"))) == 3
    counted = subprocess.run(
        [sys.executable, "-c", _COUNT, str(state)], capture_output=True, text=True, check=True, timeout=200
    )
    assert counted.stdout.split() == ["3"]
