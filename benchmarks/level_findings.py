"""Sensitivity and specificity of the level findings: ``python -m benchmarks.level_findings --out docs/level-findings.md``.

Phantoms of seeds that were not used to set thresholds go through the node's segmenter and measurement, or, with
``--true-masks``, through the measurement alone. A level counts as found if it has the finding that is expected for its
patient's kind. Every other measured level with that finding is a false alarm, whatever the patient.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.finding_cases import FIRST_UNSEEN_SEED, Case, Kind, case
from benchmarks.volumes import volume_of
from node.measure import judge_levels, measure_levels
from node.model import Level, VertebralBody
from node.phantom import Phantom, make_phantom
from node.segment.embedded import EmbeddedSegmenter
from node.settings.tree import MeasureSettings, QualitySettings

#: Findings that are expected at the affected levels of each kind of patient.
EXPECTED: dict[Kind, tuple[str, ...]] = {
    Kind.NOTHING: (),
    Kind.FRACTURE: ("fracture",),
    Kind.DEGENERATION: ("endplate_sclerosis", "collapsed_disc", "osteophytes"),
    Kind.CEMENT: ("cement",),
    Kind.ISLAND: ("focal_lesion",),
    Kind.LYTIC: ("focal_lesion",),
    Kind.SCREWS: ("metal",),
    Kind.CAGE: ("metal",),
    Kind.OUTLIER: ("outlier",),
}
CODES = tuple(dict.fromkeys(code for codes in EXPECTED.values() for code in codes))
#: Findings that are also correct for a kind, at any level: metal causes streaks, sclerosis is a dense focus.
RIGHTLY_ALONG: dict[Kind, tuple[str, ...]] = {
    Kind.SCREWS: ("outlier",),
    Kind.CAGE: ("outlier", "collapsed_disc"),
    Kind.CEMENT: ("outlier", "metal"),
    Kind.ISLAND: ("outlier",),
    Kind.LYTIC: ("outlier",),
    Kind.FRACTURE: ("outlier",),
    Kind.DEGENERATION: ("outlier", "focal_lesion"),
    # a body that is far denser or less dense throughout is reported as a lesion: the image cannot tell why it is
    Kind.OUTLIER: ("focal_lesion",),
}


@dataclass(frozen=True, slots=True)
class Seen:
    """One level of one patient.

    Attributes:
        affected: whether it has what the patient's kind says.
        measured: whether the node labelled and measured it.
        codes: its findings.
        hu_error: mean HU of its region minus the truth; ``None`` if it is not usable.
    """

    kind: str
    seed: int
    level: str
    affected: bool
    measured: bool
    codes: tuple[str, ...]
    hu_error: float | None


def look_at(one: Case, seed: int, segmenter: EmbeddedSegmenter | None) -> list[Seen]:
    """Segment and measure one patient."""
    phantom = make_phantom(one.parameters)
    if segmenter is None:
        labels, bodies = phantom.truth.labels, _true_bodies(phantom)
    else:
        segmentation = segmenter.segment(volume_of(phantom, phantom.hu), lambda _text: None)
        labels, bodies = segmentation.labels, segmentation.bodies
    image = (phantom.hu, labels, phantom.affine_lps_mm, bodies)
    wanted = MeasureSettings()
    judged = judge_levels(*image, measure_levels(*image, wanted), QualitySettings(), wanted.metal_hu)
    found = {level.level: level for level in judged.levels}
    seen = []
    for level in (Level.L1, Level.L2, Level.L3, Level.L4):
        measured = found.get(level)
        error = None
        if measured is not None and measured.usable and measured.hu_mean is not None:
            error = measured.hu_mean - phantom.truth.level(level).hu
        codes = () if measured is None else tuple(finding.code for finding in measured.findings)
        seen.append(Seen(one.kind.value, seed, level.name, level in one.levels, measured is not None, codes, error))
    return seen


def _true_bodies(phantom: Phantom) -> tuple[VertebralBody, ...]:
    return tuple(
        VertebralBody(truth.level, truth.centroid_lps_mm, 1.0, "truth")
        for truth in phantom.truth.levels
        if truth.visible_fraction == 1.0
    )


def main() -> None:
    """Run or resume the benchmark, and write its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="Markdown file of the table")
    parser.add_argument("--patients", type=int, default=40, help="number of patients of each kind")
    parser.add_argument("--first-seed", type=int, default=FIRST_UNSEEN_SEED)
    parser.add_argument("--true-masks", action="store_true", help="use the true masks and levels instead of the segmenter's")
    parser.add_argument("--kinds", nargs="*", type=Kind, default=list(Kind))
    options = parser.parse_args()
    checkpoint = options.out.with_suffix(".jsonl")
    done = {(seen.kind, seen.seed) for seen in _read(checkpoint)}
    segmenter = None if options.true_masks else EmbeddedSegmenter()
    wanted = [
        (kind, seed) for seed in range(options.first_seed, options.first_seed + options.patients) for kind in options.kinds
    ]
    for number, (kind, seed) in enumerate(wanted, 1):
        if (kind.value, seed) in done:
            continue
        print(f"{number} of {len(wanted)}: {kind} {seed}", file=sys.stderr)
        lines = [json.dumps(asdict(seen)) for seen in look_at(case(kind, seed), seed, segmenter)]
        with checkpoint.open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    masks = "the truth's masks and names" if options.true_masks else "the node's own segmenter"
    seeds = f"{options.first_seed} to {options.first_seed + options.patients - 1}"
    head = (
        "# Findings of the levels on phantoms\n\n"
        "Made by `python -m benchmarks.level_findings --out docs/level-findings.md`: "
        f"{options.patients} patients of each kind,\nseeds {seeds}, with {masks}. No limit was set with these seeds.\n"
        "`benchmarks/finding_cases.py` says how patients are drawn, [findings.md](findings.md) what the findings mean.\n"
        "A phantom shows shapes that somebody thought of: this is no measure of how findings do on patients.\n\n"
    )
    options.out.write_text(head + table(list(_read(checkpoint))), encoding="utf-8")


def _read(checkpoint: Path) -> Iterator[Seen]:
    if checkpoint.exists():
        for line in checkpoint.read_text(encoding="utf-8").splitlines():
            fields = json.loads(line)
            yield Seen(**{**fields, "codes": tuple(fields["codes"])})


def table(seen: list[Seen]) -> str:
    """The figures as Markdown."""
    lines = [
        "| kind | finding | affected levels | found | sensitivity | other levels | false alarms | specificity | not named |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    measured = [one for one in seen if one.measured]
    for kind, codes in EXPECTED.items():
        for code in codes:
            affected = [one for one in measured if one.kind == kind and one.affected]
            others = [one for one in measured if not _may_have(one, code)]
            found = sum(code in one.codes for one in affected)
            alarms = sum(code in one.codes for one in others)
            lost = sum(one.kind == kind and one.affected and not one.measured for one in seen)
            lines.append(
                f"| {kind} | `{code}` | {len(affected)} | {found} | {_percent(found, len(affected))} | {len(others)} "
                f"| {alarms} | {_percent(len(others) - alarms, len(others))} | {lost} |"
            )
    lines += ["", "| kind | usable levels | HU error, median | 95th percentile of its size |", "| --- | --- | --- | --- |"]
    for kind in Kind:
        errors = [one.hu_error for one in seen if one.kind == kind and one.hu_error is not None]
        if errors:
            lines.append(f"| {kind} | {len(errors)} | {np.median(errors):.1f} | {np.percentile(np.abs(errors), 95):.1f} |")
    return "\n".join(lines) + "\n"


def _may_have(one: Seen, code: str) -> bool:
    kind = Kind(one.kind)
    return (one.affected and code in EXPECTED[kind]) or code in RIGHTLY_ALONG.get(kind, ())


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


if __name__ == "__main__":
    main()
