"""PixelMed's DicomSRValidator over many reports in one Java virtual machine.

The command of Debian's ``pixelmed-apps`` takes one file, and spends most of its time before it looks at it: it compiles 8 MB
of style sheets. The class behind it takes one file after another. And for nearly every content item it reads its list of
context groups again (142 times for a report of four levels). So the list that it finds here holds all groups, but of their
codes only those that occur in the reports: a code that no report has can match in none. The first report is validated with
its whole list, too, so that a test can compare.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

JAR = Path("/usr/share/java/pixelmed.jar")
#: Java 17 and later limit XPath expressions; the validator's compiled templates exceed that.
NO_XPATH_LIMITS = tuple(f"-Djdk.xml.xpath{what}Limit=0" for what in ("TotalOp", "ExprOp", "ExprGrp"))
# a collector of one thread and a heap that need not grow: half the time of the defaults on two cores
_JAVA_OPTIONS = (*NO_XPATH_LIMITS, "-XX:+UseSerialGC", "-Xms768m", "-Xmx768m")
_GROUPS = "com/pixelmed/validate/DicomContextGroupsSource.xml"


@dataclass(frozen=True)
class Said:
    """The validator's words.

    Attributes:
        of: each report.
        with_every_code: of the first report, with the validator's own list of context groups: what its command says.
    """

    of: dict[Path, str]
    with_every_code: str


def validate(paths: Sequence[Path]) -> Said:
    """Validate reports; skips, and says so, where the validator or its bridge to Python is not installed."""
    if not JAR.exists():
        pytest.skip("DicomSRValidator is not installed (Debian: pixelmed-apps)")
    if find_spec("jpype") is None:
        pytest.skip("JPype, which calls DicomSRValidator, is not installed")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "groups.xml").write_text(_groups_of(paths), encoding="utf-8")
        command = [sys.executable, "-m", "tests.report.sr_validator", folder, *map(str, paths)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    first, *said = json.loads(done.stdout)
    return Said(dict(zip(paths, said, strict=True)), first)


def _groups_of(paths: Sequence[Path]) -> str:
    wanted = {code for path in paths for code in _codes(pydicom.dcmread(path))}
    with zipfile.ZipFile(JAR) as jar:
        lines = jar.read(_GROUPS).decode("utf-8").splitlines()
    kept = [line for line in lines if "<contextgroupcode " not in line or _values(line) & wanted]
    return "\n".join(kept)


def _values(line: str) -> set[str]:
    found = set(re.findall(r'\bcv="([^"]*)"', line))
    assert found, f"a code without a value: {line}"
    return found


def _codes(ds: Dataset) -> Iterator[str]:
    for element in ds:
        if element.VR == "SQ":
            for item in element.value:
                yield from _codes(item)
        elif element.keyword in ("CodeValue", "LongCodeValue", "URNCodeValue"):
            yield str(element.value)


def _main(folder: str, paths: Sequence[str]) -> None:
    import jpype  # here, in a process of its own: it holds the virtual machine

    jpype.startJVM(*_JAVA_OPTIONS, classpath=[folder, str(JAR)], convertStrings=True)
    validator = jpype.JClass("com.pixelmed.validate.DicomSRValidator")()
    said = [str(validator.validate(paths[0]))]
    # what stands before the archive in the class path is read instead of what stands in it
    groups = Path(folder) / _GROUPS
    groups.parent.mkdir(parents=True)
    (Path(folder) / "groups.xml").rename(groups)
    said += [str(validator.validate(path)) for path in paths]
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2:])
