"""Scores of one segmented CT: levels right, wrong or withheld, distances, Dice, and the effect on measured HU."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from node.measure import measure_levels
from node.model import Level, Orientation, Segmentation, SeriesFacts, VertebralBody, Volume
from node.segment import Segmenter
from node.settings.tree import MeasureSettings
from training.ct import Ct
from training.synthetic import whole_levels

#: A centre further than this from its reference is a wrong level.
RIGHT_WITHIN_MM = 10.0
NAMED = range(int(Level.L1), int(Level.L5) + 1)


@dataclass(frozen=True, slots=True)
class Score:
    """One line of the table.

    Attributes:
        case: name.
        right, wrong, unchecked: labelled levels of L1 to L5 that agree with the reference, disagree, or have none.
        withheld: levels of the reference, completely in view, that were not labelled.
        worst_mm: largest distance of a centre from its reference (along z if only heights are known).
        dice: per correct level, if there are masks.
        hu_error: per correct measured level, if there are masks: mean HU of the measured region from the segmented mask
            minus that from the true one.
        seconds: time to segment.
        said: reasons, or the evidence of the levels.
    """

    case: str
    right: int
    wrong: int
    unchecked: int
    withheld: int
    worst_mm: float
    dice: tuple[float, ...]
    hu_error: tuple[float, ...]
    seconds: float
    said: str

    def line(self) -> str:
        """The score as a line of the table."""
        dice = " ".join(f"{value:.2f}" for value in self.dice)
        hu = " ".join(f"{value:+.0f}" for value in self.hu_error)
        return (
            f"{self.case:34} right {self.right} wrong {self.wrong} unchecked {self.unchecked} withheld {self.withheld} "
            f"worst {self.worst_mm:5.1f} mm  {self.seconds:5.1f} s  dice [{dice}]  HU [{hu}]  {self.said}"
        )


def score(
    segmenter: Segmenter, ct: Ct, heights: dict[int, float] | None, masks: npt.NDArray[np.uint8] | None
) -> tuple[Score, Segmentation]:
    """Segment a CT and compare it with the truth.

    Args:
        segmenter: any.
        ct: the CT.
        heights: LPS z in mm of the bodies by label (L1 = 20 ...), if no masks are known.
        masks: true bodies on the CT's grid.
    """
    volume = volume_of(ct)
    start = time.monotonic()
    result = segmenter.segment(volume, lambda _: None)
    seconds = time.monotonic() - start
    right = wrong = unchecked = 0
    worst, dice, truly_named = 0.0, [], []
    expected = set(heights or ()) | ({v for v in whole_levels(masks) if v in NAMED} if masks is not None else set())
    for body in result.bodies:
        label = int(body.level)
        if label not in NAMED:
            continue
        if masks is not None:
            own, true = result.labels == label, masks == label
            distance = _distance_mm(ct, true, body)
            if distance <= RIGHT_WITHIN_MM:
                dice.append(round(float(2 * (own & true).sum() / (own.sum() + true.sum())), 3))
                truly_named.append(body)
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
    errors = _hu_errors(volume, result, masks, truly_named) if masks is not None else ()
    return Score(ct.name, right, wrong, unchecked, withheld, worst, tuple(dice), errors, seconds, said), result


def _distance_mm(ct: Ct, true: npt.NDArray[np.bool_], body: VertebralBody) -> float:
    if not true.any():
        return float("inf")
    centre = np.argwhere(true).mean(axis=0) @ ct.affine_lps_mm[:3, :3].T + ct.affine_lps_mm[:3, 3]
    return float(np.linalg.norm(centre - body.centroid_lps_mm))


def _hu_errors(
    volume: Volume, result: Segmentation, masks: npt.NDArray[np.uint8], bodies: list[VertebralBody]
) -> tuple[float, ...]:
    affine = volume.affine_lps_mm
    drawn = measure_levels(volume.hu, result.labels, affine, bodies, MeasureSettings()).levels
    true = measure_levels(volume.hu, masks, affine, bodies, MeasureSettings()).levels
    pairs = [(a.hu_mean, b.hu_mean) for a, b in zip(drawn, true, strict=True) if a.usable and b.usable]
    return tuple(a - b for a, b in pairs if a is not None and b is not None)


def volume_of(ct: Ct) -> Volume:
    """A CT as a volume of the pipeline, with an empty header."""
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
