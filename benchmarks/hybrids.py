"""Findings on real CTs with painted pathology: ``python -m benchmarks.hybrids``.

Writes its table into ``docs/level-findings.md``, below that of the phantoms. :mod:`benchmarks.painting` paints. With the
outlines of the healthy CT (the default) the findings alone are tested; with ``--segment`` every painted CT is segmented
anew. A level counts as told if it has a finding that names what was painted, and as silent if it counts and nothing is said.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

import nibabel
import numpy as np

from benchmarks.painting import Canvas, cement, lesion, screws, wedge
from node.measure import judge_levels, measure_levels
from node.model import MEASURED_LEVELS, Level, LevelFindingCode, Measurement, Orientation, SeriesFacts, VertebralBody, Volume
from node.segment.embedded import EmbeddedSegmenter
from node.select import load_volume, select_series
from node.settings.tree import MeasureSettings, QualitySettings, SelectSettings

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "ct"
ABDOMEN = Path(sys.prefix) / "source" / "tests" / "reference_files" / "example_ct.nii.gz"
DOCS = Path(__file__).resolve().parents[1] / "docs" / "level-findings.md"
BASES = ("juno_wb", "alexion_sagittal", "abdomen")
#: What is around the spine: landmarks for the names, and no more than is needed, mm.
_AROUND_MM = 110.0
_START, _END = "<!-- hybrids -->", "<!-- /hybrids -->"


class Painted(StrEnum):
    """What is painted."""

    SCREWS = "screws"
    CEMENT = "cement"
    LYTIC = "lytic"
    DENSE = "dense"
    WEDGE = "wedge"


#: Findings that tell what was painted.
TELLS: dict[Painted, tuple[LevelFindingCode, ...]] = {
    Painted.SCREWS: (LevelFindingCode.METAL,),
    Painted.CEMENT: (LevelFindingCode.CEMENT,),
    Painted.LYTIC: (LevelFindingCode.FOCAL_LESION,),
    Painted.DENSE: (LevelFindingCode.FOCAL_LESION,),
    Painted.WEDGE: (LevelFindingCode.FRACTURE, LevelFindingCode.FORM_NOT_JUDGED),
}
#: Findings that are also right at a painted level, or follow from it.
ALONG = (LevelFindingCode.OUTLIER, LevelFindingCode.REGION_TOO_SMALL, LevelFindingCode.METAL, LevelFindingCode.STREAKS)


@dataclass(frozen=True, eq=False)
class Base:
    """A real CT, cut to what is around the spine, with the slices' thickness if they are axial."""

    canvas: Canvas
    bodies: tuple[VertebralBody, ...]
    slice_thickness_mm: float | None


@dataclass(frozen=True, slots=True)
class Seen:
    """One painted level, or one healthy level beside it.

    Attributes:
        amount: share of the inside, or of the height, 0 to 1; 0 for what has none.
        painted: whether this is the painted level.
        usable: whether it counts.
        new: its findings that the healthy CT does not have at this level.
    """

    base: str
    kind: str
    number: int
    amount: float
    level: str
    painted: bool
    usable: bool
    new: tuple[str, ...]


def load_base(name: str, segmenter: EmbeddedSegmenter) -> Base:
    """Read and segment a real CT.

    Raises:
        FileNotFoundError: it is not on this machine.
    """
    volume = _volume(name)
    found = segmenter.segment(volume, lambda _text: None)
    box = _around(found.labels, volume)
    affine = volume.affine_lps_mm.copy()
    affine[:3, 3] += affine[:3, :3] @ np.array([part.start for part in box])
    canvas = Canvas(np.ascontiguousarray(volume.hu[box]), np.ascontiguousarray(found.labels[box]), affine)
    axial = volume.facts.orientation is Orientation.AXIAL
    return Base(canvas, found.bodies, volume.facts.slice_thickness_mm if axial else None)


def _volume(name: str) -> Volume:
    if name == "abdomen":
        image = nibabel.load(ABDOMEN)
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
        affine[:3, :3] = affine[:3, 2::-1]
        hu = np.ascontiguousarray(np.asarray(image.dataobj).astype(np.int16).transpose(2, 1, 0))
        a, b, c = np.linalg.norm(affine[:3, :3], axis=0)
        spacing = (float(c), float(b), float(a))
        return Volume(hu, affine, SeriesFacts("", "", None, None, None, None, None, None, spacing, Orientation.AXIAL), ())
    paths = tuple(sorted(path for path in (DATA / name).rglob("*") if path.is_file()))
    if not paths:
        raise FileNotFoundError(f"shared/data/ct/{name}")
    return load_volume(select_series(paths, SelectSettings()).candidates[0])


def _around(labels: np.ndarray, volume: Volume) -> tuple[slice, ...]:
    index = np.argwhere(labels)
    margin = np.ceil(_AROUND_MM / np.array(volume.axis_spacing_mm)).astype(int)
    low = np.maximum(index.min(axis=0) - margin, 0)
    high = np.minimum(index.max(axis=0) + margin + 1, labels.shape)
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


def paint(kind: Painted, number: int, base: Base) -> tuple[Canvas, Level, float]:
    """A painted CT, the painted level and the amount; equal arguments give equal CTs."""
    rng = np.random.default_rng((number, list(Painted).index(kind)))
    names = [body.level for body in base.bodies if body.level in MEASURED_LEVELS]
    level = names[int(rng.integers(len(names)))]
    canvas = base.canvas
    if kind is Painted.WEDGE:
        amount = round(float(rng.uniform(0.25, 0.6)), 2)
        return wedge(canvas, level, amount), level, amount
    if kind is Painted.SCREWS:
        return replace(canvas, hu=screws(canvas, level, float(rng.uniform(2.5, 3.5)), 3000.0)), level, 0.0
    if kind is Painted.CEMENT:
        radius, hu = float(rng.uniform(7, 10)), float(rng.uniform(1200, 2400))
        return replace(canvas, hu=cement(canvas, level, radius, hu, rng)), level, 0.0
    amount = round(float(rng.uniform(0.25, 1.0)), 2)
    hu = float(rng.uniform(-20, 40)) if kind is Painted.LYTIC else float(rng.uniform(450, 800))
    return replace(canvas, hu=lesion(canvas, level, amount, hu, rng)), level, amount


def judged(canvas: Canvas, bodies: tuple[VertebralBody, ...], slice_thickness_mm: float | None) -> Measurement:
    """Measure and judge with the node's own settings."""
    image = (canvas.hu, canvas.labels, canvas.affine_lps_mm, bodies)
    wanted = MeasureSettings()
    return judge_levels(*image, measure_levels(*image, wanted), QualitySettings(), wanted.metal_hu, slice_thickness_mm)


def look_at(name: str, base: Base, kind: Painted, number: int, segmenter: EmbeddedSegmenter | None) -> list[Seen]:
    """One painted CT: its levels, and what is new at each."""
    canvas, level, amount = paint(kind, number, base)
    bodies = base.bodies
    if segmenter is not None:
        spacing = canvas.spacing_mm
        facts = SeriesFacts("", "", None, None, None, None, None, None, tuple(spacing[::-1]), Orientation.AXIAL)
        found = segmenter.segment(Volume(canvas.hu, canvas.affine_lps_mm, facts, ()), lambda _text: None)
        canvas, bodies = replace(canvas, labels=found.labels), found.bodies
    before = {one.level: one for one in judged(base.canvas, base.bodies, base.slice_thickness_mm).levels}
    seen = []
    for one in judged(canvas, bodies, base.slice_thickness_mm).levels:
        known = {finding.code for finding in before[one.level].findings} if one.level in before else set()
        new = tuple(dict.fromkeys(str(finding.code) for finding in one.findings if finding.code not in known))
        seen.append(Seen(name, kind.value, number, amount, one.level.name, one.level is level, one.usable, new))
    return seen


def table(seen: list[Seen]) -> str:
    """The figures as Markdown."""
    lines = [
        "| painted | levels | told | sensitivity | excluded | counts without a word | other levels | false alarms |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for kind in Painted:
        painted = [one for one in seen if one.kind == kind and one.painted]
        others = [one for one in seen if one.kind == kind and not one.painted]
        if not painted:
            continue
        told = sum(bool(set(one.new) & set(TELLS[kind])) for one in painted)
        silent = sum(one.usable and not one.new for one in painted)
        alarms = sum(bool(set(one.new) - set(ALONG)) for one in others)
        lines.append(
            f"| {kind} | {len(painted)} | {told} | {100 * told / len(painted):.0f} % | "
            f"{sum(not one.usable for one in painted)} | {silent} | {len(others)} | {alarms} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run or resume, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=20, help="painted CTs of each kind")
    parser.add_argument("--segment", action="store_true", help="segment every painted CT anew")
    parser.add_argument("--checkpoint", type=Path, default=Path("/tmp/hybrids.jsonl"), help="what is done already")  # noqa: S108
    parser.add_argument("--out", type=Path, default=DOCS)
    options = parser.parse_args()
    segmenter = EmbeddedSegmenter()
    bases = {name: load_base(name, segmenter) for name in BASES}
    done = {(one.kind, one.number) for one in _read(options.checkpoint)}
    for number in range(options.number):
        for kind in Painted:
            if (kind.value, number) in done:
                continue
            name = BASES[number % len(BASES)]
            seen = look_at(name, bases[name], kind, number, segmenter if options.segment else None)
            with options.checkpoint.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(asdict(one)) + "\n" for one in seen)
            print(kind.value, number, [(one.level, one.amount, one.new) for one in seen if one.painted], file=sys.stderr)
    text = options.out.read_text(encoding="utf-8") if options.out.exists() else f"{_START}\n{_END}\n"
    head, _, rest = text.partition(_START)
    tail = rest.partition(_END)[2]
    options.out.write_text(f"{head}{_START}\n\n{table(list(_read(options.checkpoint)))}\n{_END}{tail}", encoding="utf-8")


def _read(checkpoint: Path) -> Iterator[Seen]:
    if checkpoint.exists():
        for line in checkpoint.read_text(encoding="utf-8").splitlines():
            fields = json.loads(line)
            yield Seen(**{**fields, "new": tuple(fields["new"])})


if __name__ == "__main__":
    main()
