"""A site's file of equations is changed by one entry, and nothing else of it is lost."""

from __future__ import annotations

import datetime as dt
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from node.calibrate import Equation, add_entry, approve_entry, entry_text, load_registry
from node.cli.main import main
from node.common.errors import ConfigurationError

#: Written by a person: comments, blanks, a table in one line, no line end at the end.
SITE = """# equations of the hospital, kept by physics
# do not tidy up

[[equation]]   # the old one
id = "old"
manufacturer = ["SIEMENS",   "Siemens Healthineers"]
model = ["Biograph 64"]
kvp = 120
slope = 0.80   # by hand
intercept = -1.5
material = "HA"
source = 'protocol "Abdomen"'
status = "active"
approved_by = "B. Physicist"
approved_on = 2025-03-01

[[equation]]
id = "new"
manufacturer = ["SIEMENS"]
model = ["Biograph 64"]
kvp = 120
valid_from = 2026-01-10
slope = 0.81
intercept = -2.5
material = "HA"
status = "pending"   # waits
message = "1 scan only; 5 repeats are recommended."

# the fit of the new one
[equation.fit]
phantom = "QRM-BDC-3"
date = 2026-01-10
n = 3
r2 = 0.9999
slope_se = 0.001
intercept_se = 0.2
# the end"""
ON = dt.date(2026, 1, 12)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "equations.toml"
    path.write_bytes(SITE.encode())
    return path


def entry(name: str = "third", **changes: object) -> Equation:
    """A pending entry for another scanner."""
    values: dict[str, object] = {
        "id": name,
        "manufacturer": ("GE MEDICAL SYSTEMS",),
        "model": ("LightSpeed16",),
        "kvp": 120.0,
        "kernel_class": "soft",
        "slope": 0.79,
        "intercept": 3.25,
        "material": "HA",
        "source": 'own "phantom"',
        "status": "pending",
        "fit": {"phantom": "QRM", "date": dt.date(2026, 2, 1), "n": 9, "r2": 0.9999, "slope_se": 0.001, "intercept_se": 0.1},
    }
    return Equation.model_validate({**values, **changes})


def lines_changed(before: str, after: str) -> set[str]:
    return set(after.splitlines()) ^ set(before.splitlines())


def test_an_entry_as_toml_is_the_entry() -> None:
    assert Equation.model_validate(tomllib.loads(entry_text(entry()))["equation"][0]) == entry()


def test_a_new_entry_is_appended_and_the_rest_stays_byte_for_byte(site: Path) -> None:
    add_entry(site, entry())
    assert site.read_text().startswith(SITE)
    assert load_registry(site).site[-1] == entry()
    assert [e.id for e in load_registry(site).site] == ["old", "new", "third"]


def test_the_file_is_made_where_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "etc" / "equations.toml"
    add_entry(path, entry())
    assert load_registry(path).site == (entry(),)


def test_an_id_stands_once(site: Path) -> None:
    for name in ("new", "schwaiger2014-120"):
        with pytest.raises(ConfigurationError, match="already exists"):
            add_entry(site, entry(name))
    assert site.read_text() == SITE


def test_approving_changes_the_entry_and_no_other_line(site: Path) -> None:
    site.chmod(0o640)
    approved = approve_entry(site, "new", " A.  Physicist ", ON)
    assert (approved.status, approved.approved_by, approved.approved_on) == ("active", "A. Physicist", ON)
    assert lines_changed(SITE, site.read_text()) == {
        'status = "pending"   # waits',
        'status = "active"   # waits',
        'approved_by = "A. Physicist"',
        "approved_on = 2026-01-12",
    }
    assert load_registry(site).site[1] == approved
    assert site.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in site.parent.iterdir()] == [site.name], "no temporary file is left"


def test_line_ends_and_a_link_survive(tmp_path: Path, site: Path) -> None:
    site.write_bytes(SITE.replace("\n", "\r\n").encode())
    link = tmp_path / "link.toml"
    link.symlink_to(site)
    approve_entry(link, "new", "A. Physicist", ON)
    assert link.is_symlink()
    assert site.read_bytes().count(b"\r\n") >= SITE.count("\n")
    assert load_registry(link).site[1].status == "active"


@pytest.mark.parametrize(
    ("entry_id", "by", "on", "says"),
    [
        ("newer", "A. Physicist", ON, "no entry newer; pending entries: new"),
        ("old", "A. Physicist", ON, "old is active"),
        ("schwaiger2014-140", "A. Physicist", ON, "shipped"),
        ("new", "  ", ON, "name of the approver"),
        ("new", "A. Physicist", dt.date(2026, 1, 9), "was fitted on 2026-01-10"),
    ],
)
def test_what_is_not_approved(site: Path, entry_id: str, by: str, on: dt.date, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        approve_entry(site, entry_id, by, on)
    assert site.read_text() == SITE


def test_an_entry_that_is_off_is_not_approved(site: Path) -> None:
    site.write_text(SITE.replace('"pending"', '"off"'))
    with pytest.raises(ConfigurationError, match="new is off"):
        approve_entry(site, "new", "A. Physicist", ON)


def test_an_approval_that_makes_a_tie_is_refused(site: Path) -> None:
    add_entry(site, entry())
    add_entry(site, entry("again", slope=0.8))
    approve_entry(site, "third", "A. Physicist", dt.date(2026, 2, 2))
    before = site.read_bytes()
    with pytest.raises(ConfigurationError, match="third and again"):
        approve_entry(site, "again", "A. Physicist", dt.date(2026, 2, 2))
    assert site.read_bytes() == before


def test_a_file_that_is_wrong_already_is_left_alone(site: Path) -> None:
    site.write_text(SITE + "\nslop = 1\n")
    with pytest.raises(ConfigurationError, match="slop"):
        approve_entry(site, "new", "A. Physicist", ON)
    with pytest.raises(ConfigurationError, match="slop"):
        add_entry(site, entry())


def test_entries_in_one_array_are_left_to_a_person(site: Path) -> None:
    table = '{ id = "new", manufacturer = ["S"], model = ["B"], kvp = 120, slope = 0.8, intercept = 0, material = "HA"'
    site.write_text(f'equation = [{table}, source = "x", status = "pending" }}]\n')
    with pytest.raises(ConfigurationError, match="by hand"):
        approve_entry(site, "new", "A. Physicist", ON)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["calibrations", *map(str, arguments)])


def test_the_command_takes_the_file_of_the_settings(tmp_path: Path, site: Path) -> None:
    config = tmp_path / "bmd-node.toml"
    config.write_text(f'[calibrate]\nsite_equations = "{site}"\n')
    result = run("approve", "new", "--by", "A. Physicist", "--on", "2026-01-12", "--config", config)
    assert result.exit_code == 0, result.output
    assert "new is active, approved by A. Physicist on 2026-01-12" in result.output
    again = run("approve", "new", "--by", "A. Physicist", "--config", config)
    assert (again.exit_code, "new is active" in again.output) == (2, True)
    assert run("approve", "new", "--config", config).exit_code == 2
    config.write_text("")
    assert "site_equations" in run("approve", "new", "--by", "A. Physicist", "--config", config).output
