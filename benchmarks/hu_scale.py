"""The scale of real CTs: ``python -m benchmarks.hu_scale``.

Reads air, fat and muscle of every CT in ``../shared/data`` and of TotalSegmentator's source, unmodified, as the node does,
and lists how far each is from the limits of the finding ``hu_scale`` (:mod:`node.measure.hu_scale`,
:mod:`node.select.value_table`). Exit status 1 if the finding is raised on any of them: a real series would lose its BMD.
Vertebrae need no level names here, so chests and crops are read, too. With a checkpoint it resumes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from node.measure.hu_scale import off_scale
from node.measure.scan import read_scan
from node.model import HuArray, LabelArray, Level, Orientation, SeriesFacts, Volume
from node.segment.embedded import EmbeddedSegmenter
from node.segment.grid import sample_nearest
from node.select import load_volume, read_nifti, select_series
from node.select.value_table import ValueTable
from node.settings.tree import SelectSettings

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "ct"
SOURCE = Path(sys.prefix) / "source" / "tests" / "reference_files"
#: As many of the lowest bodies are used.
_BODIES = 6


@dataclass(frozen=True, slots=True)
class Scale:
    """What was read of one series.

    Attributes:
        air_hu, fat_hu, muscle_hu: readings; ``None`` where there is none.
        found: what the finding says; ``None`` if it is not raised.
    """

    case: str
    air_hu: float | None
    fat_hu: float | None
    muscle_hu: float | None
    found: str | None


def volumes(data: Path) -> Iterator[tuple[str, Volume]]:
    """Every real series that can be read, as the node would measure it."""
    for path in sorted(data.glob("*.nii.gz")):
        yield path.name.removesuffix(".nii.gz"), _of_nifti(path)
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        nifti = sorted(folder.glob("*ct*.nii.gz")) or sorted(
            path for path in folder.glob("*.nii.gz") if not path.name.endswith(("msk.nii.gz", "seg.nii.gz"))
        )
        if nifti:
            yield folder.name, _of_nifti(nifti[0])
            continue
        paths = tuple(sorted(path for path in folder.rglob("*") if path.is_file()))
        for number, candidate in enumerate(select_series(paths, SelectSettings()).candidates):
            yield folder.name + (f" ({number + 1})" if number else ""), load_volume(candidate)
    for name, path in (("abdomen", SOURCE / "example_ct.nii.gz"), ("chest", SOURCE / "aorta_report" / "example_ct.nii.gz")):
        if path.exists():
            yield f"TotalSegmentator, {name}", _of_nifti(path)


def _of_nifti(path: Path) -> Volume:
    hu, affine = read_nifti(path)
    table = ValueTable()
    for plane in hu:
        table.add(plane.astype(np.float32), np.zeros(plane.shape, dtype=np.bool_), float(np.iinfo(np.int16).max))
    a, b, c = (float(n) for n in np.linalg.norm(affine[:3, :3], axis=0))
    facts = SeriesFacts("", "", None, None, None, None, None, None, (c, b, a), Orientation.AXIAL)
    return Volume(hu, affine, facts, (), table.doubt())


def read_scale(name: str, volume: Volume, segmenter: EmbeddedSegmenter) -> Scale:
    """Readings of a series around its vertebral bodies, whatever their levels are."""
    labels = _bodies(volume.hu, volume.affine_lps_mm, segmenter)
    readings = read_scan(volume.hu, labels, volume.affine_lps_mm).readings
    found = off_scale(readings, volume.scale_doubt)
    return Scale(name, readings.air_hu, readings.fat_hu, readings.muscle_hu, None if found is None else str(found.detail))


def _bodies(hu: HuArray, affine: np.ndarray, segmenter: EmbeddedSegmenter) -> LabelArray:
    """The lowest bodies, numbered like lumbar levels, on the grid of the volume."""
    found = segmenter.find(hu, affine, lambda _text: None)
    numbered = np.zeros(found.instances.shape, dtype=np.uint8)
    for offset, body in enumerate(found.chain[-_BODIES:]):
        numbered[found.instances == body.number] = int(Level.L1) - 1 + offset
    shape = (hu.shape[0], hu.shape[1], hu.shape[2])
    return sample_nearest(numbered, np.linalg.inv(found.prediction.grid.affine_lps_mm()) @ affine, shape)


def table(rows: list[Scale]) -> str:
    """The readings as Markdown, HU."""
    lines = ["| series | air | fat | muscle | `hu_scale` |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        values = ("-" if value is None else f"{value:.0f}" for value in (row.air_hu, row.fat_hu, row.muscle_hu))
        lines.append(f"| {row.case} | {' | '.join(values)} | {row.found or 'no'} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Entry point of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--checkpoint", type=Path, default=Path("/tmp/hu_scale.jsonl"), help="what is done already")  # noqa: S108
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    kept: Path = options.checkpoint
    rows = [Scale(**json.loads(line)) for line in kept.read_text().splitlines()] if kept.exists() else []
    done = {row.case for row in rows}
    segmenter = EmbeddedSegmenter()
    for name, volume in volumes(options.data):
        if name in done:
            continue
        row = read_scale(name, volume, segmenter)
        rows.append(row)
        with kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row)) + "\n")
        print(row, file=sys.stderr, flush=True)
    print(table(rows))
    sys.exit(any(row.found for row in rows))


if __name__ == "__main__":
    main()
