"""The accuracy table: phantoms with known densities through the node's own pipeline, as bias and limits of agreement.

``python -m benchmarks.accuracy --out docs/accuracy.md`` makes the phantoms of :mod:`benchmarks.design`, writes each as
DICOM, takes it through select, segment, measure and calibrate, and writes the table and a figure. Finished phantoms are kept
in a file, so that an interrupted run can be resumed. ``--quick`` uses only a few phantoms.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

import benchmarks.design
import node
from benchmarks.accuracy_plot import draw
from benchmarks.design import SCREWED, SITE_EQUATIONS, Case, design
from node.model import MEASURED_LEVELS, Orientation
from node.phantom import make_phantom, write_series
from node.settings.tree import CalibrateSettings, SegmentSettings, Settings
from node.study.pipeline import Pipeline, StudyInput

_COUNT, _QUICK_COUNT = 96, 12
#: Target: bias of phantoms without noise, and with the most noise, in mg/cm3.
WANTED_NOISE_FREE_MG_CM3, WANTED_NOISY_MG_CM3 = 1.0, 3.0
#: Limits of agreement: mean difference +- 1.96 SD (Bland and Altman, Lancet 1986;327:307-310).
_LIMITS = 1.96

_HEAD = """# Accuracy

{count} digital phantoms with known densities, each written as DICOM and passed through the node's own stages (select,
segment, measure, calibrate): a balanced, nearly orthogonal subset of all combinations of the factors below
(`benchmarks/design.py`). Size, spinal curvature and fat of the patients vary too, and the levels of a phantom differ in
density. 120 kVp uses the shipped equation, 140 kVp an invented one in a site file.

Generated on {today} with bmd-node {version}, segmenter {segmenter}, code {code}, by
`python -m benchmarks.accuracy --out docs/accuracy.md`.

A phantom shows the error that the node adds to an equation: outlines, erosion, kernel, slices, noise. It says nothing about
how well an equation fits a scanner, or about bone unlike the phantom's. Texture is an inhomogeneity of the tissue itself, in
waves of 3 to 14 mm: the measured region then differs from the whole body by chance, however well it is read.

{verdicts}

![Difference versus truth]({picture})

The difference is the node's mean BMD minus the true mean density of the levels that it used; bias is the mean difference,
the limits of agreement are bias ± 1.96 SD over the phantoms (Bland and Altman, Lancet 1986;327:307-310), all in mg/cm³.
Withheld: phantoms without BMD. Excluded: levels of L1 to L4 that were not used. Inside: share of the phantoms whose interval
contains the truth; it should be nearly all, since the interval also covers what phantoms lack: other sessions and scanners.
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of the node for one phantom.

    Attributes:
        truth_mg_cm3: mean density of the levels that the node used; ``None`` like ``bmd_mg_cm3`` if it gave no BMD.
        interval_mg_cm3: interval reported by the node.
        level_errors_mg_cm3: BMD minus density of every used level, by level.
        excluded: levels of L1 to L4 that were not used, with the codes of their findings.
        reasons: codes of the reasons of the study.
        seconds: time of the pipeline.
    """

    case: Case
    bmd_mg_cm3: float | None
    truth_mg_cm3: float | None
    interval_mg_cm3: tuple[float, float] | None
    level_errors_mg_cm3: dict[str, float]
    excluded: dict[str, tuple[str, ...]]
    reasons: tuple[str, ...]
    seconds: float

    @property
    def error_mg_cm3(self) -> float | None:
        """BMD minus truth."""
        if self.bmd_mg_cm3 is None or self.truth_mg_cm3 is None:
            return None
        return self.bmd_mg_cm3 - self.truth_mg_cm3

    @property
    def inside(self) -> bool | None:
        """Whether the truth lies in the interval."""
        if self.interval_mg_cm3 is None or self.truth_mg_cm3 is None:
            return None
        return self.interval_mg_cm3[0] <= self.truth_mg_cm3 <= self.interval_mg_cm3[1]


@contextmanager
def pipeline_with_test_equation() -> Iterator[Pipeline]:
    """The node's pipeline as shipped, with one invented equation for 140 kVp in a site file; one thread."""
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site.toml"
        site.write_text(SITE_EQUATIONS, encoding="utf-8")
        settings = Settings(calibrate=CalibrateSettings(site_equations=site), segment=SegmentSettings(threads=1))
        yield Pipeline(settings, lambda _: None)


def run_case(pipeline: Pipeline, case: Case) -> Outcome:
    """Make a phantom, write it as DICOM, and run the pipeline up to BMD."""
    phantom = make_phantom(case.parameters())
    with tempfile.TemporaryDirectory() as folder:
        paths = write_series(phantom, Path(folder) / "ct")
        study = StudyInput(tuple(paths), Path(folder) / "work")
        study.folder.mkdir()
        start = time.perf_counter()
        segmented = pipeline.segment(study, pipeline.select(study))
        measured = pipeline.measure(study, segmented)
        bmd = pipeline.calibrate(segmented, measured)
        seconds = time.perf_counter() - start
    density = {level.level: level.density_mg_cm3 for level in phantom.truth.levels}
    used = {level.level for level in measured.levels if level.usable}
    excluded = {
        level.level.name: tuple(finding.code for finding in level.findings) for level in measured.levels if not level.usable
    }
    named = {level.level for level in measured.levels}
    excluded |= {level.name: ("not_found",) for level in MEASURED_LEVELS if level not in named}
    errors = {level.name: value - density[level] for level, value in bmd.level_bmd_mg_cm3 if level in used}
    truth = float(np.mean([density[level] for level in used])) if used and bmd.bmd_mg_cm3 is not None else None
    codes = tuple(reason.code for reason in (*segmented.reasons, *measured.findings, *bmd.reasons))
    return Outcome(case, bmd.bmd_mg_cm3, truth, bmd.interval_mg_cm3, errors, excluded, codes, seconds)


def run_all(cases: Sequence[Case], checkpoint: Path) -> list[Outcome]:
    """Run the cases that are not in the checkpoint yet, and add each one when it is finished."""
    code = _digest_of_the_code()
    done = {outcome.case: outcome for outcome in _read(checkpoint, code)}
    with pipeline_with_test_equation() as pipeline:
        for n, case in enumerate(cases, start=1):
            if case in done:
                continue
            outcome = done[case] = run_case(pipeline, case)
            with checkpoint.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"code": code, **dataclasses.asdict(outcome)}) + "\n")
            error = "withheld" if outcome.error_mg_cm3 is None else f"{outcome.error_mg_cm3:+.2f} mg/cm3"
            click.echo(f"{n}/{len(cases)}: {error} in {outcome.seconds:.0f} s", err=True)
    return [done[case] for case in cases]


def _read(checkpoint: Path, code: str) -> Iterator[Outcome]:
    """Outcomes of exactly this code. An incomplete last line is ignored, and its case runs again."""
    for line in checkpoint.read_text(encoding="utf-8").splitlines() if checkpoint.exists() else ():
        try:
            fields = json.loads(line)
        except json.JSONDecodeError:
            continue
        if fields.pop("code") != code:
            continue
        case = Case(**fields.pop("case"))
        case = dataclasses.replace(case, orientation=Orientation(case.orientation))
        interval = fields.pop("interval_mg_cm3")
        fields["excluded"] = {level: tuple(codes) for level, codes in fields["excluded"].items()}
        fields["reasons"] = tuple(fields["reasons"])
        yield Outcome(case=case, interval_mg_cm3=None if interval is None else (interval[0], interval[1]), **fields)


def _digest_of_the_code() -> str:
    """SHA-256 of the node's sources, its weights and the design, so that outcomes of other code are not mixed in."""
    digest = hashlib.sha256(Path(benchmarks.design.__file__).read_bytes())
    for path in sorted(p for p in Path(node.__file__).parent.rglob("*") if p.is_file()):
        if path.suffix in (".py", ".toml") or path.parent.name == "weights":
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def rows(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, str, list[Outcome]]]:
    """Groups of the table: factor, level, outcomes."""
    yield "all", "", list(outcomes)
    factors = (
        ("noise SD, HU", "noise_sd_hu"),
        ("density, mg/cm³", "density_mg_cm3"),
        ("tube voltage, kVp", "kvp"),
        ("slice distance, mm", "slice_distance_mm"),
        ("kernel", "kernel"),
        ("slices", "orientation"),
        ("screws L3 to L5", "screws"),
        ("texture SD, HU", "texture_sd_hu"),
    )
    for words, field in factors:
        for value in sorted({getattr(o.case, field) for o in outcomes}):
            shown = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value).removesuffix(".0")
            yield words, shown, [o for o in outcomes if getattr(o.case, field) == value]
    pairs = (("noise SD, HU; kernel", "kernel"), ("noise SD, HU; texture SD, HU", "texture_sd_hu"))
    for words, field in pairs:
        for noise, value in sorted({(o.case.noise_sd_hu, getattr(o.case, field)) for o in outcomes}):
            same = [o for o in outcomes if (o.case.noise_sd_hu, getattr(o.case, field)) == (noise, value)]
            yield words, f"{noise:g}; {str(value).removesuffix('.0')}", same


def agreement(outcomes: Iterable[Outcome]) -> tuple[float, float, float] | None:
    """Bias and lower and upper limit of agreement in mg/cm3; ``None`` with fewer than two values."""
    errors = [o.error_mg_cm3 for o in outcomes if o.error_mg_cm3 is not None]
    if len(errors) < 2:
        return None
    bias, spread = float(np.mean(errors)), _LIMITS * float(np.std(errors, ddof=1))
    return bias, bias - spread, bias + spread


def report(outcomes: Sequence[Outcome], picture: str, today: dt.date, segmenter: str) -> str:
    """The document."""
    given = [o for o in outcomes if o.error_mg_cm3 is not None]
    lines = [
        _HEAD.format(
            count=len(outcomes),
            today=today.isoformat(),
            version=node.__version__,
            segmenter=segmenter,
            code=_digest_of_the_code(),
            verdicts="\n".join((*_verdicts(outcomes), *_screwed(outcomes))),
            picture=picture,
        ),
        "| factor | level | phantoms | withheld | excluded levels | bias | 95 % limits | largest | inside |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(_row(*group) for group in rows(outcomes)),
        "",
        "| level | used | bias | 95 % limits |",
        "| --- | ---: | ---: | ---: |",
        *(_level_row(level, given) for level in ("L1", "L2", "L3", "L4")),
        "",
        "The five largest differences:",
        "",
        *(f"* {_describe(o)}" for o in sorted(given, key=lambda o: -abs(o.error_mg_cm3 or 0.0))[:5]),
    ]
    withheld = [o for o in outcomes if o.error_mg_cm3 is None]
    if withheld:
        lines += ["", "Withheld:", "", *(f"* {_describe(o)}" for o in withheld)]
    return "\n".join(lines) + "\n"


def _verdicts(outcomes: Sequence[Outcome]) -> Iterator[str]:
    loudest = max(o.case.noise_sd_hu for o in outcomes)
    for words, noise, wanted in (
        ("without noise", 0.0, WANTED_NOISE_FREE_MG_CM3),
        (f"at a noise SD of {loudest:g} HU", loudest, WANTED_NOISY_MG_CM3),
    ):
        found = agreement(o for o in outcomes if o.case.noise_sd_hu == noise)
        if found is not None:
            met = "met" if abs(found[0]) <= wanted else "**missed**"
            yield (
                f"* Bias {words}: {found[0]:+.2f} mg/cm³ (limits {found[1]:+.1f} to {found[2]:+.1f}); wanted: at most "
                f"{wanted:g}: {met}."
            )


def _screwed(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """How many of the levels with screws were used."""
    screwed = [(o, level) for o in outcomes if o.case.screws for level in SCREWED if level in MEASURED_LEVELS]
    if screwed:
        lost = sum(level.name in o.excluded for o, level in screwed)
        yield f"* Levels with screws that were not used: {lost} of {len(screwed)}; the region also avoids metal."


def _row(factor: str, level: str, outcomes: Sequence[Outcome]) -> str:
    found = agreement(outcomes)
    errors = [o.error_mg_cm3 for o in outcomes if o.error_mg_cm3 is not None]
    inside = [o.inside for o in outcomes if o.inside is not None]
    cells = [
        factor,
        level,
        str(len(outcomes)),
        str(len(outcomes) - len(errors)),
        str(sum(len(o.excluded) for o in outcomes)),
    ]
    if found is None:
        cells += ["-"] * 4
    else:
        largest = max(errors, key=abs)
        share = f"{100 * sum(inside) / len(inside):.0f} %"
        cells += [f"{found[0]:+.2f}", f"{found[1]:+.1f} to {found[2]:+.1f}", f"{largest:+.1f}", share]
    return f"| {' | '.join(cells)} |"


def _level_row(level: str, outcomes: Sequence[Outcome]) -> str:
    errors = [o.level_errors_mg_cm3[level] for o in outcomes if level in o.level_errors_mg_cm3]
    if len(errors) < 2:
        return f"| {level} | {len(errors)} | - | - |"
    bias, spread = float(np.mean(errors)), _LIMITS * float(np.std(errors, ddof=1))
    return f"| {level} | {len(errors)} | {bias:+.2f} | {bias - spread:+.1f} to {bias + spread:+.1f} |"


def _describe(outcome: Outcome) -> str:
    case = outcome.case
    error = "no BMD" if outcome.error_mg_cm3 is None else f"{outcome.error_mg_cm3:+.1f} mg/cm³"
    parts = [
        f"{case.density_mg_cm3:g} mg/cm³",
        f"{case.kvp:g} kVp",
        f"{case.orientation.value} {case.slice_distance_mm:g} mm",
        f"{case.kernel} kernel",
        f"noise {case.noise_sd_hu:g} HU",
        f"texture {case.texture_sd_hu:g} HU",
        *(["screws"] if case.screws else []),
        *(f"{level} excluded ({', '.join(codes)})" for level, codes in sorted(outcome.excluded.items())),
        *outcome.reasons,
    ]
    return f"{error}: {', '.join(parts)}"


@click.command()
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="Markdown file; the figure is written next to it.",
)
@click.option("--quick", is_flag=True, help=f"{_QUICK_COUNT} phantoms instead of {_COUNT}.")
@click.option(
    "--checkpoint",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File of finished phantoms; default: next to --out, removed at the end.",
)
def main(out: Path, quick: bool, checkpoint: Path | None) -> None:
    """Write the accuracy table."""
    cases = design(_QUICK_COUNT if quick else _COUNT)
    kept = checkpoint or out.with_suffix(".part.jsonl")
    out.parent.mkdir(parents=True, exist_ok=True)
    outcomes = run_all(cases, kept)
    with pipeline_with_test_equation() as pipeline:
        segmenter = pipeline.software.segmenter
    picture = out.with_suffix(".png")
    draw([(o.case, o.truth_mg_cm3, o.error_mg_cm3) for o in outcomes], agreement(outcomes), picture)
    out.write_text(report(outcomes, picture.name, dt.datetime.now(tz=dt.UTC).date(), segmenter), encoding="utf-8")
    if checkpoint is None:
        kept.unlink(missing_ok=True)
    click.echo(f"table in {out}, picture in {picture}", err=True)


if __name__ == "__main__":
    main()
