"""Measures the embedded segmenter: ``python -m training.evaluate --data ../shared/data [--phantoms 20] [--pictures DIR]``.

Prints a table over the real CTs (and over random phantoms of seeds that were never trained on): which levels were named, how
far their centres lie from the reference, Dice against masks, and whether each name is right, wrong or withheld.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from node.model import Orientation, Segmentation, SeriesFacts, Volume
from node.phantom import make_phantom, random_parameters
from node.segment.embedded import EmbeddedSegmenter
from node.segment.grid import grid_around, resample_to_grid, sample_nearest
from node.segment.labelled import SpineLabels, body_labels
from training.anatomy import total_vertebrae
from training.cases import real_cts
from training.ct import Ct, read_labels
from training.phantoms import FIRST_TRAINING_SEED
from training.pictures import overlay

REFERENCES = Path(__file__).with_name("references.json")
#: A centre further than this from its reference is a wrong name.
RIGHT_WITHIN_MM = 10.0
PICTURE_SPACING_MM = 2.0
MEASURED = (20, 21, 22, 23)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        case: name.
        right, wrong, unchecked: named levels of L1 to L5 that agree with the reference, disagree, or have none.
        withheld: levels of the reference that were not named.
        worst_mm: largest distance of a centre from its reference (along z where only heights are known).
        dice: per level, where there are masks.
        seconds: time to segment.
        said: reasons, or the evidence of the names.
    """

    case: str
    right: int
    wrong: int
    unchecked: int
    withheld: int
    worst_mm: float
    dice: tuple[float, ...]
    seconds: float
    said: str


def main() -> None:
    """Entry point of the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="instead of those of the package")
    parser.add_argument("--outline-weights", type=Path, help="instead of those of the package")
    parser.add_argument("--cases", nargs="*", default=[], help="real CTs whose names start so; all by default")
    parser.add_argument("--phantoms", type=int, default=0)
    parser.add_argument("--pictures", type=Path)
    options = parser.parse_args()
    segmenter = EmbeddedSegmenter(
        options.weights.read_bytes() if options.weights else None,
        options.outline_weights.read_bytes() if options.outline_weights else None,
    )
    rows = []
    for ct in real_cts(options.data, tuple(options.cases)):
        row, result = _measured(segmenter, ct, *_reference_of(options.data, ct))
        rows.append(row)
        print(_line(row), flush=True)
        if options.pictures:
            options.pictures.mkdir(parents=True, exist_ok=True)
            _picture(ct, result, options.pictures / f"{ct.name}.png")
    if options.phantoms > FIRST_TRAINING_SEED:
        parser.error(f"phantoms from seed {FIRST_TRAINING_SEED} on were trained on")
    for seed in range(options.phantoms):
        parameters = random_parameters(seed)
        phantom = make_phantom(parameters)
        ct = Ct(f"phantom {seed}", phantom.hu, phantom.affine_lps_mm)
        rows.append(_measured(segmenter, ct, None, phantom.truth.labels)[0])
        print(_line(rows[-1]), flush=True)
    print(
        f"{len(rows)} volumes; levels: {sum(r.right for r in rows)} right, {sum(r.wrong for r in rows)} wrong, "
        f"{sum(r.withheld for r in rows)} withheld, {sum(r.unchecked for r in rows)} without a reference"
    )


def _reference_of(data: Path, ct: Ct) -> tuple[dict[int, float] | None, npt.NDArray[np.uint8] | None]:
    """Heights of the bodies (label to LPS z in mm), and a mask of bodies on the CT's grid, as far as there are any."""
    if ct.name == "verse014":
        whole, _ = read_labels(data / "ct" / "verse014" / "sub-verse014_seg-vert_msk.nii.gz")
        return None, _cut(whole.astype(np.uint8), ct)
    if ct.name == "lidc_0001":
        labels, affine = read_labels(data / "labels" / "lidc_0001_totalsegmentator_mask.nii.gz")
        if labels.shape == ct.hu.shape:
            vertebrae = total_vertebrae(labels)
            # The file runs in another order of rows than the DICOM images: bring it onto their grid by its positions.
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


def _measured(
    segmenter: EmbeddedSegmenter, ct: Ct, heights: dict[int, float] | None, masks: npt.NDArray[np.uint8] | None
) -> tuple[Row, Segmentation]:
    start = time.monotonic()
    result = segmenter.segment(_volume(ct), _quiet)
    seconds = time.monotonic() - start
    right = wrong = unchecked = 0
    worst, dice = 0.0, []
    expected = set(heights or ()) | ({int(v) for v in np.unique(masks)} & set(MEASURED) if masks is not None else set())
    for body in result.bodies:
        label = int(body.level)
        if masks is not None and (masks == label).any():
            own, true = result.labels == label, masks == label
            centre = np.argwhere(true).mean(axis=0) @ ct.affine_lps_mm[:3, :3].T + ct.affine_lps_mm[:3, 3]
            distance = float(np.linalg.norm(centre - body.centroid_lps_mm))
            dice.append(round(float(2 * (own & true).sum() / (own.sum() + true.sum())), 3))
        elif heights is not None:
            distance = abs(heights[label] - body.centroid_lps_mm[2]) if label in heights else float("inf")
        else:
            unchecked += 1
            continue
        worst = max(worst, distance)
        right += distance <= RIGHT_WITHIN_MM
        wrong += distance > RIGHT_WITHIN_MM
    withheld = len(expected - {int(body.level) for body in result.bodies})
    said = "; ".join(reason.detail for reason in result.reasons)
    if result.bodies:
        names = " ".join(f"{body.level.name} {body.centroid_lps_mm[2]:.0f}" for body in result.bodies)
        said = f"{names} ({result.bodies[0].evidence}) {said}"
    return Row(ct.name, right, wrong, unchecked, withheld, worst, tuple(dice), seconds, said), result


def _line(row: Row) -> str:
    dice = " ".join(f"{value:.2f}" for value in row.dice)
    return (
        f"{row.case:20} right {row.right} wrong {row.wrong} unchecked {row.unchecked} withheld {row.withheld} "
        f"worst {row.worst_mm:5.1f} mm  {row.seconds:5.1f} s  dice [{dice}]  {row.said}"
    )


def _volume(ct: Ct) -> Volume:
    spacing = np.linalg.norm(ct.affine_lps_mm[:3, :3], axis=0)
    facts = SeriesFacts(
        study_instance_uid="",
        series_instance_uid="",
        frame_of_reference_uid=None,
        manufacturer=None,
        manufacturer_model_name=None,
        kvp=None,
        convolution_kernel=None,
        slice_thickness_mm=None,
        spacing_mm=(float(spacing[2]), float(spacing[1]), float(spacing[0])),
        orientation=Orientation.AXIAL,
    )
    return Volume(ct.hu, ct.affine_lps_mm, facts, ())


def _picture(ct: Ct, result: Segmentation, path: Path) -> None:
    """The full-resolution labels, seen on a fine LPS grid."""
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


def _quiet(_: str) -> None:
    """The table is progress enough."""


if __name__ == "__main__":
    main()
