"""The files of ``deploy/`` are what they say: settings that load, units that systemd understands."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from node.settings.tree import Destination, Settings, load_settings
from tests.deploy.example_settings import EXAMPLE, example_text

UNITS = EXAMPLE.parent / "systemd"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
DEBIAN_ORTHANC_UNIT = Path("/lib/systemd/system/orthanc.service")
#: Exposure level of ``systemd-analyze security`` times ten: below 20 it calls a unit "OK" or better.
MOST_EXPOSED = 20

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze of the Debian package systemd"
)


def test_the_example_has_every_setting_with_its_description() -> None:
    assert EXAMPLE.read_text(encoding="utf-8") == example_text(), "run: python tests/deploy/example_settings.py"


@pytest.mark.parametrize("script", ["try_image.sh", "try_systemd.sh"])
def test_the_trials_are_scripts_that_a_shell_understands(script: str) -> None:
    """They take minutes, root and packages that the tests do without: only their grammar is looked at."""
    subprocess.run(["/bin/sh", "-n", str(EXAMPLE.parent / script)], check=True, timeout=60)


def test_the_example_as_it_is_changes_nothing_but_the_state_directory() -> None:
    assert load_settings(EXAMPLE) == Settings(state_dir=Path("/var/lib/bmd-node"))


def test_everything_that_is_commented_out_can_be_set(tmp_path: Path) -> None:
    everything = tmp_path / "bmd-node.toml"
    everything.write_text(re.sub(r"(?m)^#(?=\S)", "", EXAMPLE.read_text(encoding="utf-8")), encoding="utf-8")
    settings = load_settings(everything)
    assert settings.database_url is not None
    assert settings.calibrate.site_equations is not None
    expected = Destination(name="pacs", ae_title="ORTHANC", host="127.0.0.1", port=4242, calling_ae_title="BMDNODE")
    assert settings.destinations == (expected,)


def _unit_with_a_program_that_exists(tmp_path: Path, name: str) -> Path:
    """The unit as it is shipped, but for the place where this machine has the program."""
    program = Path(sys.prefix) / "bin" / "bmd-node"
    assert program.exists()
    text = (UNITS / name).read_text(encoding="utf-8")
    shipped = "/opt/bmd-node/.venv/bin/bmd-node"
    assert text.count(shipped) == 1
    unit = tmp_path / name
    unit.write_text(text.replace(shipped, str(program)), encoding="utf-8")
    return unit


@needs_systemd
@pytest.mark.parametrize("name", SERVICES)
def test_systemd_understands_the_unit(tmp_path: Path, name: str) -> None:
    unit = _unit_with_a_program_that_exists(tmp_path, name)
    verify = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    # systemd says what it does not know and goes on: only silence about our file is a success
    assert name not in verify.stdout + verify.stderr
    assert verify.returncode == 0


@needs_systemd
@pytest.mark.parametrize("name", SERVICES)
def test_the_unit_is_hardened(tmp_path: Path, name: str) -> None:
    unit = _unit_with_a_program_that_exists(tmp_path, name)
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSED}", str(unit)]
    security = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert security.returncode == 0, security.stdout + security.stderr
    assert "Overall exposure level" in security.stdout


@needs_systemd
@pytest.mark.skipif(not DEBIAN_ORTHANC_UNIT.exists(), reason="needs the Debian package orthanc")
def test_systemd_understands_the_drop_in_for_orthanc(tmp_path: Path) -> None:
    shutil.copy(DEBIAN_ORTHANC_UNIT, tmp_path)
    drop_in = tmp_path / "orthanc.service.d" / "bmd-node.conf"
    drop_in.parent.mkdir()
    shutil.copy(UNITS / "orthanc.service.d.conf", drop_in)
    verify = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "orthanc.service")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "bmd-node.conf" not in verify.stdout + verify.stderr
    assert verify.returncode == 0
