"""Validators and readers that others wrote, run as a person would run them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.report.sr_validator import NO_XPATH_LIMITS


def run_tool(tool: str, *arguments: object) -> str:
    """Output of a tool; skips, and says so, where it is not installed."""
    path = shutil.which(tool, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if path is None:
        pytest.skip(f"{tool} is not installed")
    environment = os.environ | {"JAVA_TOOL_OPTIONS": " ".join(NO_XPATH_LIMITS)}
    done = subprocess.run(
        [path, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        env=environment,
        timeout=240,
    )
    return done.stdout + done.stderr


def iod_errors(path: Path) -> list[str]:
    """Error lines of dciodvfy."""
    output = run_tool("dciodvfy", path)
    assert output.splitlines(), "dciodvfy names the IOD it finds"
    return [line for line in output.splitlines() if line.startswith("Error")]
