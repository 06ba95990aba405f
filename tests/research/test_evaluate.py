"""``bmd-node evaluate`` on the made cohort: its files, and its page in a browser."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tomlkit
from click.testing import CliRunner

from node.cli.main import main
from node.cohort.table import Table
from tests.browser import SCREENSHOTS, keep_picture, needs_browser, open_page
from tests.cohort.made_cohort import PLAN, outcomes, results


def write(table: Table, path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table.columns)
        writer.writerows(["" if cell is None else cell for cell in row] for row in table.rows)


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("given")
    write(results(), folder / "studies.csv")
    write(outcomes(), folder / "outcomes.csv")
    (folder / "plan.toml").write_text(tomlkit.dumps(PLAN))
    return folder


@pytest.fixture(scope="module")
def report(given: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    arguments = ["evaluate", str(given), "--outcomes", str(given / "outcomes.csv"), "--plan", str(given / "plan.toml")]
    done = CliRunner().invoke(main, [*arguments, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "too good for new patients" in done.stderr
    return out


def test_every_figure_and_table_is_a_file(report: Path) -> None:
    names = {path.name for path in report.iterdir()}
    assert names >= {"report.html", "flow.png", "box.png", "roc.png", "method_1.png", "repeats.png", "statistics.csv"}
    for path in report.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
    found = {row["name"]: row for row in rows(report / "statistics.csv")}
    assert float(found["AUC"]["value"]) == pytest.approx(407 / 529)
    assert found["sensitivity at threshold 81.8"]["method"] == "Wilson; 13 of 23"
    assert found["specificity at threshold 81.8"]["method"] == "Wilson; 21 of 23"
    assert len(rows(report / "pairs.csv")) == 46
    assert {row["reason"] for row in rows(report / "left_out.csv")} >= {"other scanner", "not measured"}
    first = next(csv.reader((report / "table2.csv").read_text().splitlines()[1:]))
    assert first[1:4] == ["86.5 ± 29.5", "118.2 ± 32.9", "0.001"]


def test_the_page_names_nobody(report: Path) -> None:
    page = (report / "report.html").read_text()
    page = re.sub(r"base64,[^\"]*|<code>[^<]*", "", page)
    keys = [row["key"] for row in (*rows(report / "pairs.csv"), *rows(report / "left_out.csv"))]
    assert len(keys) == 59
    assert not [key for key in keys if key in page]


@needs_browser
def test_the_page_in_a_browser(report: Path) -> None:
    SCREENSHOTS.mkdir(exist_ok=True)
    with open_page("", "", 1000, 1200) as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((report / "report.html").as_uri())
        assert all(url.startswith(("file:", "data:")) for url in asked), "the page needs nothing from a network"
        assert page.locator("#table2 tbody tr").first.inner_text().split("\t")[1:4] == [
            "86.5 ± 29.5",
            "118.2 ± 32.9",
            "0.001",
        ]
        assert "56.5 % (36.8 to 74.4), 13 of 23" in page.locator("#thresholds").inner_text()
        note = page.locator("p.note", has_text="The article prints").inner_text()
        assert "sensitivity 56.5 %, specificity 91.3 %" in note
        for picture in ("flow", "box", "roc", "method_1"):
            width = page.locator(f"#figure-{picture}").evaluate("image => image.complete && image.naturalWidth")
            assert width > 400, picture
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        keep_picture(page, "evaluation")


def test_wrong_use_is_one_line(given: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text("[outcomes]\ncolumn = 'loosened'\n")
    arguments = ["evaluate", str(given), "--outcomes", str(given / "outcomes.csv"), "--plan", str(plan)]
    done = CliRunner().invoke(main, [*arguments, "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "outcomes.csv has no column loosened; its columns are" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_missing_library_is_named(given: Path, tmp_path: Path) -> None:
    """In a process of its own, where the library cannot be imported."""
    code = "import sys; sys.modules['sklearn'] = None; from node.cli.main import main; main()"
    arguments = ["evaluate", str(given), "--plan", str(given / "plan.toml"), "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "sklearn is not installed: install what cohorts need with pip install 'bmd-node[research]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_prints_an_example() -> None:
    done = CliRunner().invoke(main, ["evaluate", "--example"])
    assert done.exit_code == 0
    assert "[outcomes]" in done.stdout
