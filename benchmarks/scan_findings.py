"""Sensitivity and specificity of contrast phase and scan findings: ``python -m benchmarks.scan_findings``.

Phantoms of seeds that were not used to set limits are read with their true masks, the first of them also with those of the
node's segmenter. What is done is kept beside the table, so that a run that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.scan_cases import FIRST_UNSEEN_SEED, Given, image_of, scan_case
from benchmarks.volumes import volume_of
from node.measure import judge_scan
from node.model import MEASURED_LEVELS
from node.phantom import make_phantom
from node.segment.embedded import EmbeddedSegmenter
from node.settings.tree import QualitySettings

_HEAD = """# Contrast phase and scan findings on phantoms

Made by `python -m benchmarks.scan_findings --out docs/scan-findings.md`: {count} phantoms, seeds {first} to {last}, none of
which was used to set a limit (`benchmarks/scan_cases.py` says how they are drawn). {unread} more show no level of L1 to L4
and are not read. The headers say nothing of contrast. What the findings mean is in [findings.md](findings.md).
"""


@dataclass(frozen=True, slots=True)
class Read:
    """What was read of one scan.

    Attributes:
        masks: ``true`` or ``segmenter``.
        readable: whether a level of L1 to L4 is labelled; nothing else is known if not.
        truth: what the scan was drawn with, in HU; ``cut_off`` is 1 if the patient is.
        readings: what was read, in HU.
        phase: concluded phase.
        present: whether contrast was seen.
        codes: findings.
        air_off_found: whether the finding ``air`` was made where the scale is off; ``None`` if no air could be read.
    """

    seed: int
    masks: str
    given: str
    readable: bool
    truth: dict[str, float]
    readings: dict[str, float | None]
    phase: str
    present: bool | None
    codes: tuple[str, ...]
    air_off_found: bool | None = None


def read_case(seed: int, segmenter: EmbeddedSegmenter | None) -> Read:
    """Make one scan and read it."""
    case = scan_case(seed)
    phantom = make_phantom(case.parameters)
    volume = volume_of(phantom, image_of(phantom, case, case.air_hu))
    labels = phantom.truth.labels if segmenter is None else segmenter.segment(volume, lambda _text: None).labels
    masks = "true" if segmenter is None else "segmenter"
    contrast = case.parameters.contrast
    truth = {
        "air_hu": case.air_hu,
        "noise_sd_hu": case.parameters.noise_sd_hu,
        "aorta_hu": contrast.aorta_hu,
        "vena_cava_hu": contrast.vena_cava_hu,
        "kidney_hu": contrast.kidney_hu,
        "canal_hu": contrast.dural_sac_hu,
        "cut_off": float(case.cut_off),
    }
    if not np.isin(labels, MEASURED_LEVELS).any():
        return Read(seed, masks, case.given.value, False, truth, {}, "", None, ())
    scan = judge_scan(volume, labels, None, QualitySettings())
    codes = tuple(finding.code for finding in scan.findings)
    readings = asdict(scan.readings)
    off = judge_scan(volume_of(phantom, image_of(phantom, case, case.off_air_hu)), labels, None, QualitySettings())
    off_found = None if off.readings.air_hu is None else "air" in [finding.code for finding in off.findings]
    contrast_seen, phase = scan.contrast.present, scan.contrast.phase.value
    return Read(seed, masks, case.given.value, True, truth, readings, phase, contrast_seen, codes, off_found)


def main() -> None:
    """Run the benchmark, or go on with it, and write its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/scan-findings.md"), help="Markdown file of the tables")
    parser.add_argument("--scans", type=int, default=50, help="number of scans with true masks")
    parser.add_argument("--segmented", type=int, default=10, help="how many of them also with the segmenter's masks")
    parser.add_argument("--first-seed", type=int, default=FIRST_UNSEEN_SEED)
    parser.add_argument("--keep", action="store_true", help="keep the checkpoint next to the tables")
    options = parser.parse_args()
    checkpoint = options.out.with_suffix(".part.jsonl")
    done = {(read.seed, read.masks) for read in _read(checkpoint)}
    wanted = [(seed, "true") for seed in range(options.first_seed, options.first_seed + options.scans)]
    wanted += [(seed, "segmenter") for seed in range(options.first_seed, options.first_seed + options.segmented)]
    segmenter = EmbeddedSegmenter() if options.segmented else None
    for number, (seed, masks) in enumerate(wanted, 1):
        if (seed, masks) in done:
            continue
        read = read_case(seed, segmenter if masks == "segmenter" else None)
        with checkpoint.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(read)) + "\n")
        print(f"{number} of {len(wanted)}: seed {seed}, {masks} masks, {read.given}: {read.phase}", file=sys.stderr)
    options.out.write_text(report(list(_read(checkpoint))), encoding="utf-8")
    if not options.keep:
        checkpoint.unlink()


def _read(checkpoint: Path) -> Iterator[Read]:
    if checkpoint.exists():
        for line in checkpoint.read_text(encoding="utf-8").splitlines():
            fields = json.loads(line)
            yield Read(**{**fields, "codes": tuple(fields["codes"])})


def report(reads: Sequence[Read]) -> str:
    """The tables as Markdown."""
    seeds = sorted({read.seed for read in reads})
    readable = len({read.seed for read in reads if read.readable})
    lines = [_HEAD.format(count=readable, first=seeds[0], last=seeds[-1], unread=len(seeds) - readable)]
    for masks, words in (("true", "True masks"), ("segmenter", "Masks of the node's segmenter")):
        part = [read for read in reads if read.masks == masks and read.readable]
        if part:
            lines += [f"## {words}: {len(part)} scans", "", *_phases(part), "", *_findings(part), "", *_errors(part), ""]
    return "\n".join(lines)


def _phases(reads: Sequence[Read]) -> Iterator[str]:
    """Truth against conclusion; late contrast has no phase of its own and should be seen as contrast."""
    columns = ("none", "arterial", "portal_venous", "unknown, contrast seen", "not told")
    yield f"| contrast of the phantom | {' | '.join(columns)} |"
    yield f"| --- |{' --- |' * len(columns)}"
    for given in (Given.NONE, Given.MYELOGRAPHY, Given.ARTERIAL, Given.PORTAL_VENOUS, Given.LATE):
        counts = Counter(_concluded(read) for read in reads if read.given == given)
        name = f"{given.value} (no contrast in the vessels)" if given is Given.MYELOGRAPHY else given.value
        yield f"| {name} | {' | '.join(str(counts[column]) for column in columns)} |"


def _concluded(read: Read) -> str:
    if read.phase != "unknown":
        return read.phase
    return "unknown, contrast seen" if read.present else "not told"


def _findings(reads: Sequence[Read]) -> Iterator[str]:
    """Sensitivity and specificity; "not told" counts as not found."""
    enhanced = (Given.ARTERIAL, Given.PORTAL_VENOUS, Given.LATE)
    limits = QualitySettings()
    rows: tuple[tuple[str, Callable[[Read], bool], Callable[[Read], bool]], ...] = (
        ("contrast in the vessels", lambda r: r.given in enhanced, lambda r: r.present is True),
        ("arterial phase", lambda r: r.given == Given.ARTERIAL, lambda r: r.phase == "arterial"),
        ("portal venous phase", lambda r: r.given == Given.PORTAL_VENOUS, lambda r: r.phase == "portal_venous"),
        ("no contrast", lambda r: r.given not in enhanced, lambda r: r.phase == "none"),
        ("`myelography`", lambda r: r.given == Given.MYELOGRAPHY, lambda r: "myelography" in r.codes),
        ("`noise`", lambda r: r.truth["noise_sd_hu"] > limits.noise_limit_hu, lambda r: "noise" in r.codes),
        ("`patient_truncated`", lambda r: r.truth["cut_off"] > 0, lambda r: "patient_truncated" in r.codes),
    )
    yield "| what | scans with it | found | sensitivity | scans without | false alarms | specificity |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for name, has, finds in rows:
        affected, others = [r for r in reads if has(r)], [r for r in reads if not has(r)]
        yield _row(name, sum(map(finds, affected)), len(affected), sum(map(finds, others)), len(others))
    # every scan is seen with a good scale and with one that is off
    off = [r.air_off_found for r in reads if r.air_off_found is not None]
    good = ["air" in r.codes for r in reads if r.readings["air_hu"] is not None]
    yield _row("`air`, where air is in view", sum(off), len(off), sum(good), len(good))


def _row(name: str, found: int, affected: int, alarms: int, others: int) -> str:
    sensitivity, specificity = _percent(found, affected), _percent(others - alarms, others)
    return f"| {name} | {affected} | {found} | {sensitivity} | {others} | {alarms} | {specificity} |"


def _errors(reads: Sequence[Read]) -> Iterator[str]:
    yield "| reading | read in | error, median (HU) | 95th percentile of its size |"
    yield "| --- | --- | --- | --- |"
    for name in ("air_hu", "noise_sd_hu", "aorta_hu", "vena_cava_hu", "kidney_hu", "canal_hu"):
        pairs = [(value, read.truth[name]) for read in reads if (value := read.readings[name]) is not None]
        errors = [value - truth for value, truth in pairs]
        figures = f"{np.median(errors):+.1f} | {np.percentile(np.abs(errors), 95):.1f}" if errors else "- | -"
        yield f"| `{name}` | {len(errors)} of {len(reads)} | {figures} |"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "-"


if __name__ == "__main__":
    main()
