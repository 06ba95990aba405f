"""Tables as spreadsheets write them."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from node.common.errors import ConfigurationError, InputError
from node.research.plan_example import EXAMPLE
from node.research.plan_file import load_plan
from node.research.read_tables import find_studies, read_table


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def test_commas_semicolons_and_tabs(tmp_path: Path) -> None:
    english = read_table(write(tmp_path / "a.csv", 'id, bmd ,note\n007,81.8,"a, b"\n\n8,,\n'))
    assert english.columns == ("id", "bmd", "note")
    assert english.rows == (("007", "81.8", "a, b"), ("8", None, None))
    german = read_table(write(tmp_path / "b.csv", "id;bmd;wort\r\n007;81,8;ja, nein\r\n", "utf-8-sig"))
    assert german.rows == (("007", "81.8", "ja, nein"),)
    assert read_table(write(tmp_path / "c.tsv", "id\tbmd\n1\t2,5\n")).rows == (("1", "2,5"),)


def test_workbook_and_parquet(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    book = openpyxl.Workbook()
    for line in (("id", "bmd", "day", "yes", None), ("007", 81.8, dt.datetime(2020, 2, 1), True, None), ()):
        book.active.append(line)
    book.save(tmp_path / "a.xlsx")
    rows = (("007", 81.8, "2020-02-01", "yes"),)
    assert read_table(tmp_path / "a.xlsx").rows == rows
    table = pyarrow.table({"id": ["007"], "bmd": [81.8], "day": [dt.date(2020, 2, 1)], "yes": [True]})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet").rows == rows
    for name in ("b.xlsx", "b.parquet"):
        with pytest.raises(InputError, match="is no"):
            read_table(write(tmp_path / name, "text"))


@pytest.mark.parametrize(
    ("text", "encoding", "message"),
    [
        ("id,name\n1,Müller\n", "latin-1", "is not UTF-8"),
        ("", "utf-8", "is empty"),
        ("id,id\n1,2\n", "utf-8", "two columns are called id"),
        ("id,\n1,2\n", "utf-8", "column 2 has no name"),
        ("id,b\n1,2\n1\n", "utf-8", "entry 2: 1 cells, but there are 2 columns"),
        ('id,b\n1,"2\n', "utf-8", "is no CSV file"),
    ],
)
def test_what_is_wrong_with_a_file(text: str, encoding: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_table(write(tmp_path / "a.csv", text, encoding))


def test_a_folder_of_results(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no table of studies"):
        find_studies(tmp_path)
    first = write(tmp_path / "studies.csv", "id\n1\n")
    assert find_studies(tmp_path) == find_studies(first) == first
    write(tmp_path / "studies.parquet", "")
    with pytest.raises(InputError, match="several tables"):
        find_studies(tmp_path)
    with pytest.raises(InputError, match=r"must end with \.csv"):
        read_table(write(tmp_path / "a.ods", ""))


def test_the_example_is_a_plan(tmp_path: Path) -> None:
    plan = load_plan(write(tmp_path / "plan.toml", EXAMPLE))
    assert (plan.outcomes.column, len(plan.exclusions)) == ("loosening", 2)
    commented = "\n".join(line.removeprefix("# ") if line.startswith("# ") else line for line in EXAMPLE.splitlines()[2:])
    everything = load_plan(write(tmp_path / "all.toml", commented))
    assert everything.methods
    assert everything.repeats is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = 3", "title: must be a valid string"),
        ("[outcomes]\ncolum = 'x'", r"outcomes\.colum is not a setting of a plan: did you mean column\?"),
        ("title = 'x'", "nothing is asked for"),
        ("[outcomes]\ncolumn = 'x'\n[[exclusions]]\nreason = 'r'\ncolumn = 'c'", r"exclusions\.1: write one of keep"),
        ("[outcomes]\ncolumn = 'x'\ncases = ['no']", "both a case and a control"),
        ("[outcomes]\ncolumn = 'x'\n[matching]", "name columns in exact or within"),
        ("[outcomes", "is no TOML file"),
    ],
)
def test_mistakes_in_a_plan(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_plan(write(tmp_path / "plan.toml", text))
