"""Write an evaluation: one page with its figures inside, PNG and CSV files beside it."""

from __future__ import annotations

import base64
import csv
import datetime as dt
import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from importlib.metadata import version
from pathlib import Path

import jinja2
from markupsafe import Markup

from node import __version__
from node.cohort.assemble import Cohort
from node.cohort.evaluation import Evaluation
from node.common.errors import ConfigurationError
from node.common.files import whole_file
from node.research.figures import figures_of
from node.research.shown import flow_lines, tables_of
from node.research.statistics_table import Statistic, statistics_of

REPORT_FILE = "report.html"
_LIBRARIES = ("numpy", "scipy", "statsmodels", "scikit-learn")


@dataclass(frozen=True, slots=True)
class Source:
    """A file that the evaluation rests on, with its digest: whoever has the report can tell whether it is the same file."""

    what: str
    name: str
    sha256: str


def source(what: str, path: Path) -> Source:
    """Describe a file."""
    return Source(what, path.name, hashlib.sha256(path.read_bytes()).hexdigest())


def write_report(found: Evaluation, sources: Sequence[Source], plan_text: str, out: Path) -> tuple[Path, ...]:
    """Write the report into a folder. Files of an earlier report there are replaced.

    Args:
        found: what to write.
        sources: for the page.
        plan_text: the plan, as the user wrote it.
        out: folder; created if it does not exist.

    Returns:
        The files, the page first.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    tables, figures = tables_of(found), tuple(figures_of(found))
    files = {f"{name}.png": png for name, _, png in figures}
    files |= {f"{table.name}.csv": _csv([table.header, *table.rows]) for table in tables}
    files["statistics.csv"] = _statistics(statistics_of(found))
    if found.cohort is not None:
        files |= _people(found.cohort)
    page = _page().render(
        title=found.plan.title,
        warnings=found.warnings,
        tables=tables,
        figures=[(name, caption, base64.b64encode(png).decode()) for name, caption, png in figures],
        flow=flow_lines(found),
        sources=sources,
        plan=plan_text,
        made=dt.datetime.now().astimezone().isoformat(timespec="seconds"),
        version=__version__,
        libraries=[f"{name} {version(name)}" for name in _LIBRARIES],
    )
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in (files | {REPORT_FILE: page.encode()}).items():
            with whole_file(out / name) as file:
                file.write(content)
    except OSError as error:
        raise ConfigurationError(f"--out {out} cannot be written: {error.strerror}") from error
    return (out / REPORT_FILE, *(out / name for name in files))


def _page() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("node.research"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["indented"] = _indented
    return environment.get_template("report.html")


def _indented(text: str) -> Markup | str:
    """Text whose indent the browser keeps."""
    plain = text.lstrip(" ")
    return Markup("&ensp;") * (len(text) - len(plain)) + plain


def _people(cohort: Cohort) -> dict[str, bytes]:
    """Who was matched with whom, and who left: keys of the user's tables, which are not on the page."""
    rows: list[Sequence[object]] = [("pair", "group", "key")]
    if cohort.matching is not None:
        for n, match in enumerate(cohort.matching.matches, start=1):
            rows.append((n, "case", cohort.eligible[match.case].key))
            rows += [(n, "control", cohort.eligible[control].key) for control in match.controls]
    files = {"pairs.csv": _csv(rows)} if cohort.matching is not None else {}
    left = [(one.key, one.group, one.reason) for one in cohort.left_out]
    return files | {"left_out.csv": _csv([("key", "group", "reason"), *left])}


def _statistics(rows: Iterable[Statistic]) -> bytes:
    return _csv([tuple(field.name for field in fields(Statistic)), *(astuple(row) for row in rows)])


def _csv(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows(["" if cell is None else cell for cell in row] for row in rows)
    return text.getvalue().encode()
