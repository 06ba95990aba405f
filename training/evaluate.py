"""Measures a segmenter: ``python -m training.evaluate --data ../shared/data [--synthetic 200] [--pictures DIR]``.

Prints a table over the real CTs and over synthetic ones (half of them digital phantoms, half painted label maps, of seeds
that training never uses): the labelled levels, the distances of their centres from the reference, Dice and measured HU
against masks, and whether each level is right, wrong or withheld. Then the figures over all.
"""

from __future__ import annotations

import argparse
import json
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from node.model import Segmentation
from node.segment.embedded import EmbeddedSegmenter
from node.segment.grid import grid_around, resample_to_grid, sample_nearest
from node.segment.labelled import SpineLabels, body_labels
from training.anatomy import Anatomy, total_vertebrae
from training.cases import HELD_OUT_BODIES, held_out_cts, real_cts
from training.ct import Ct, read_labels
from training.label_maps import load_anatomies
from training.pictures import overlay
from training.scoring import Score, score
from training.synthetic import SyntheticCt, painted_ct, phantom_ct
from training.views import another_view

REFERENCES = Path(__file__).with_name("references.json")
PICTURE_SPACING_MM = 1.5


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Score of a synthetic CT, with the true landmarks."""

    score: Score
    truth: SyntheticCt


def main() -> None:
    """Entry point of the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="use these instead of the weights of the package")
    parser.add_argument("--outline-weights", type=Path, help="use these instead of the weights of the package")
    parser.add_argument("--cases", nargs="*", default=[], help="real CTs whose names start with one of these; default: all")
    parser.add_argument(
        "--views", type=int, default=0, help="number of altered views of every real CT (parts, thick slices, noise)"
    )
    parser.add_argument("--synthetic", type=int, default=0, help="number of synthetic CTs")
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first synthetic CT; different numbers are different patients"
    )
    parser.add_argument("--cache", type=Path, default=Path("runs/evaluation"), help="folder that keeps the synthetic CTs")
    parser.add_argument("--pictures", type=Path)
    options = parser.parse_args()
    segmenter = EmbeddedSegmenter(
        options.weights.read_bytes() if options.weights else None,
        options.outline_weights.read_bytes() if options.outline_weights else None,
    )
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)

    def measured(ct: Ct, heights: dict[int, float] | None, masks: npt.NDArray[np.uint8] | None) -> Score:
        row, result = score(segmenter, ct, heights, masks)
        print(row.line(), flush=True)
        if options.pictures:
            _picture(ct, result, options.pictures / f"{ct.name.split(' (')[0].replace(' ', '_')}.png")
        return row

    cases = tuple(options.cases)
    real = [*real_cts(options.data, cases), *held_out_cts(cases)]
    known = [(ct, *reference_of(options.data, ct)) for ct in real]
    print("Real CTs:", counts([measured(*case) for case in known]))
    rng = np.random.default_rng(options.first)
    # If the levels of a CT are unknown, so are those of its parts.
    referred = [case for case in known if case[1] is not None or case[2] is not None] * options.views
    rows = []
    for ct, heights, masks in referred:
        view, seen = another_view(ct, masks, rng)
        rows.append(measured(view, heights, seen))
    if rows:
        print("Other views of them:", counts(rows))
    kinds: tuple[list[Measured], list[Measured]] = ([], [])
    for truth in synthetic_cts(options.data, options.cache, options.first, options.synthetic):
        entry = Measured(measured(truth.ct, None, truth.labels), truth)
        kinds[0 if truth.ct.name.startswith("phantom") else 1].append(entry)
    for title, found in (("Phantoms", kinds[0]), ("Painted label maps", kinds[1]), ("All synthetic", kinds[0] + kinds[1])):
        if found:
            print(f"\n{title}\n{summary(found)}")


def synthetic_cts(data: Path, cache: Path, first: int, count: int) -> Iterator[SyntheticCt]:
    """Synthetic CTs, phantoms and painted label maps alternately, made once and kept in ``cache``."""
    cache.mkdir(parents=True, exist_ok=True)
    for seed in range(first, first + count):
        kept = cache / f"{seed:04}.pickle"
        if not kept.exists():
            made = synthetic_ct(data, cache, seed)
            kept.with_suffix(".part").write_bytes(pickle.dumps(made))
            kept.with_suffix(".part").rename(kept)
        truth: SyntheticCt = pickle.loads(kept.read_bytes())  # noqa: S301 - our own file
        yield truth


def synthetic_ct(data: Path, cache: Path, number: int) -> SyntheticCt:
    """A synthetic CT by its number: a phantom if it is even, else a painted label map."""
    return phantom_ct(number // 2) if number % 2 == 0 else painted_ct(_cached_anatomies(data, cache), number // 2)


def _cached_anatomies(data: Path, cache: Path) -> list[Anatomy]:
    """The anatomies, made once per folder (this takes minutes)."""
    kept = cache / "anatomies.pickle"
    if not kept.exists():
        kept.write_bytes(pickle.dumps(load_anatomies(data)))
    anatomies: list[Anatomy] = pickle.loads(kept.read_bytes())  # noqa: S301 - our own file
    return anatomies


def counts(rows: list[Score]) -> str:
    """Counts of levels over some volumes."""
    return (
        f"{len(rows)} volumes; levels: {sum(r.right for r in rows)} right, {sum(r.wrong for r in rows)} wrong, "
        f"{sum(r.withheld for r in rows)} withheld, {sum(r.unchecked for r in rows)} without a reference"
    )


def summary(found: list[Measured]) -> str:
    """Figures over synthetic volumes: levels, withheld volumes, Dice, HU."""
    rows = [entry.score for entry in found]
    wrong = [entry for entry in found if entry.score.wrong]
    unseeable = [entry for entry in wrong if entry.truth.cannot_be_seen]
    countable = [entry for entry in found if entry.truth.can_be_counted and entry.score.right + entry.score.withheld]
    lost = [entry for entry in countable if not entry.score.right]
    single = sum(entry.score.withheld for entry in countable)
    levels = sum(entry.score.right + entry.score.withheld for entry in countable)
    dice = np.array([value for row in rows for value in row.dice])
    errors = np.abs([value for row in rows for value in row.hu_error])
    lines = [
        counts(rows),
        f"volumes with a wrong name: {len(wrong)}, of which {len(unseeable)} of people built otherwise whose second "
        "landmark is out of view",
        f"built as usual with a landmark in view: {len(countable)}; all levels withheld: {len(lost)} "
        f"({100 * len(lost) / max(len(countable), 1):.1f} %); single levels withheld: {single} of {levels}",
        "withheld: " + ", ".join(entry.score.case for entry in lost),
        "wrong: " + ", ".join(entry.score.case for entry in wrong),
    ]
    if dice.size:
        lines.append(
            f"Dice of {dice.size} bodies: median {np.median(dice):.3f}, 5th percentile {np.percentile(dice, 5):.3f}"
        )
    if errors.size:
        lines.append(
            f"HU of {errors.size} measured regions, drawn against true mask: median {np.median(errors):.1f}, "
            f"95th percentile {np.percentile(errors, 95):.1f}"
        )
    return "\n".join(lines)


def reference_of(data: Path, ct: Ct) -> tuple[dict[int, float] | None, npt.NDArray[np.uint8] | None]:
    """Heights of the bodies (label to LPS z in mm), and a mask of bodies on the CT's grid, if available."""
    if ct.name == "verse014":
        whole, _ = read_labels(data / "ct" / "verse014" / "sub-verse014_seg-vert_msk.nii.gz")
        return None, _cut(whole.astype(np.uint8), ct)
    if ct.name == "totalsegmentator_abdomen":
        return None, read_labels(HELD_OUT_BODIES)[0].astype(np.uint8)
    if ct.name == "lidc_0001":
        labels, affine = read_labels(data / "labels" / "lidc_0001_totalsegmentator_mask.nii.gz")
        if labels.shape == ct.hu.shape:
            vertebrae = total_vertebrae(labels)
            # The file has another order of rows than the DICOM images: resample it onto their grid by position.
            index = np.round(np.linalg.inv(affine) @ ct.affine_lps_mm).astype(int)
            signs = [slice(None, None, int(np.sign(index[i, i]))) for i in range(3)]
            return None, _cut(np.ascontiguousarray(vertebrae[tuple(signs)]), ct)
    known = json.loads(REFERENCES.read_text()).get(ct.name)
    return ({20 + int(name[1:]) - 1: float(z) for name, z in known.items()} if known is not None else None), None


def _cut(vertebrae: npt.NDArray[np.uint8], ct: Ct) -> npt.NDArray[np.uint8]:
    """Bodies of whole vertebrae on a CT's own grid."""
    bodies, grid = body_labels(SpineLabels(vertebrae, ct.affine_lps_mm, whole_vertebrae=True))
    shape = (ct.hu.shape[0], ct.hu.shape[1], ct.hu.shape[2])
    return sample_nearest(bodies, np.linalg.inv(grid.affine_lps_mm()) @ ct.affine_lps_mm, shape)


def _picture(ct: Ct, result: Segmentation, path: Path) -> None:
    """Draw the full-resolution labels on a fine LPS grid."""
    grid = grid_around(ct.affine_lps_mm, ct.hu.shape, PICTURE_SPACING_MM)
    hu = resample_to_grid(ct.hu, ct.affine_lps_mm, grid)
    regions = np.zeros(grid.shape, dtype=np.int32)
    best = np.zeros(grid.shape, dtype=np.float32)
    centres = []
    inverse = np.linalg.inv(grid.affine_lps_mm())
    for body in result.bodies:
        share = resample_to_grid(
            np.where(result.labels == int(body.level), 1000, -1024).astype(np.int16), ct.affine_lps_mm, grid
        )
        own = (share > 0) & (share > best)
        regions[own] = int(body.level)
        best[own] = share[own]
        centres.append((inverse @ [*body.centroid_lps_mm, 1.0])[:3])
    names = ", ".join(f"{body.level.name} ({body.confidence:.2f})" for body in result.bodies)
    title = f"{ct.name}: {names} {'; '.join(r.detail for r in result.reasons)}"
    overlay(hu, regions, np.array(centres).reshape(-1, 3), title, path)


if __name__ == "__main__":
    main()
