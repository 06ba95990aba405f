"""Vertebral level labelling: levels for a chain of vertebral bodies, or the reason why they are not certain.

There are two independent landmarks: the sacrum (the first body above it is L5) and the ribs (the lowest body with ribs is
T12). If both are in view they must agree on five lumbar vertebrae. With one landmark the confidence is lower, and lowest
with the ribs alone: without the sacrum a transitional vertebra with a missing or additional rib looks like a normal one. The
network also rates each body as thoracic or lumbar; this can only reject a labelling.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.language.phrase import Phrase, joined, phrase
from node.model import Level
from node.segment.inference import Prediction
from node.segment.instances import Body
from node.segment.network import Tissue
from node.segment.reach import (
    NOT_CERTAIN,
    Count,
    Naming,
    complete,
    cut_by_edge,
    cut_off,
    nothing,
    nothing_above,
    nothing_below,
)
from node.segment.ribs import UNSURE_MISFIT, Flanks, find_flanks
from node.segment.spacing import DoubtfulStep, doubtful_steps

BoolArray = npt.NDArray[np.bool_]

#: A smaller sacrum is not one, or only its tip or edge: the upper two segments of a small adult are larger.
LEAST_SACRUM_CM3 = 20.0
#: Largest distance in mm between the surfaces of the lowest body and the sacrum: the L5/S1 disc is at most about 15 mm high.
MOST_SACRUM_GAP_MM = 16.0
#: With more sacrum than this above the middle of the lowest body, in cm3, that body may be S1: the wings next to the upper
#: half of S1 have 12 to 100 cm3 (real CTs, phantoms, painted people); next to the upper half of L5 there is none.
MOST_SACRUM_BESIDE_CM3 = 8.0
#: From this value on a single body counts as thoracic.
THORACIC_FROM = 0.5
#: The border between lumbar and thoracic bodies must be this much more likely than one body higher or lower (natural
#: logarithm of the ratio; 0.4 is 3 to 2). Values are kept away from 0 and 1, where the network is overconfident.
LEAST_MARGIN = 0.4
SHARE_RANGE = (0.02, 0.98)
#: Log odds of five lumbar vertebrae against one more or less, if no rib could be seen: nine of ten people have five.
USUAL_COUNT, USUAL_LOG_ODDS = 5, 2.0
#: A rib that is short, or may be the neighbour's, counts only at a body at least this thoracic.
SURELY_THORACIC = 0.9
#: Up to this value a body clearly looks lumbar.
SURELY_LUMBAR = 0.1
#: A body with a certain rib counts as at least this thoracic.
WITH_RIB = 0.9
#: If the rib of T12 should be in view but only that of T11 was found, T12 is a sixth lumbar vertebra unless this thoracic.
RIBLESS_T12 = 0.8
#: The shape of the top body is ignored if the edge of the scan leaves less than this share of its neighbour's volume.
LEAST_OF_TOP = 0.3
#: Confidence of a level: from both landmarks; from the sacrum alone; from the ribs alone.
BOTH_WITNESSES, SACRUM_ALONE, RIBS_ALONE = 0.95, 0.75, 0.6
#: Ribs alone: the body with the last rib must be at least this thoracic, the bodies below at most this.
LEAST_T12, MOST_L1 = 0.4, 0.3
#: Ribs alone: number of lumbar bodies that must be at least partly in view; a single one at the edge is not labelled.
LEAST_LUMBAR = 2

NO_LUMBAR_SPINE = "no_lumbar_spine"


def name_bodies(prediction: Prediction, instances: npt.NDArray[np.int32], chain: list[Body], inside: BoolArray) -> Naming:
    """Label the levels of a chain of bodies.

    Args:
        prediction: the network's output.
        instances: instance map on the same grid.
        chain: bodies from the head downward.
        inside: which voxels are inside the scanned volume.

    Returns:
        T12 to L5 as far as they are complete; without any level, one reason that says what was seen.
    """
    sacrum = _sacrum(prediction)
    flanks = find_flanks(prediction, chain, inside)
    upward = [_Seen(body, beside) for body, beside in zip(chain, flanks, strict=True)][::-1]
    remainder = _is_remainder(upward, instances, inside)
    if remainder:
        upward.pop()
    lumbar = [seen for seen in upward if seen.thoracic < THORACIC_FROM]
    if not chain or (not lumbar and sacrum is None):
        if not chain:
            return nothing(NO_LUMBAR_SPINE, phrase("no vertebral body and no sacrum in view."))
        said = phrase("{n} vertebral bodies, none of them lumbar, and no sacrum in view.", n=len(chain))
        return nothing(NO_LUMBAR_SPINE, said)
    if sacrum is None:
        return _count_from_last_rib(instances, upward, prediction.grid.spacing_mm, inside)
    doubt = _sacrum_doubt(prediction, instances, chain, sacrum)
    if doubt:
        return nothing(NOT_CERTAIN, doubt)
    naming = _count_from_sacrum(instances, upward, prediction.grid.spacing_mm, inside)
    top = naming.named[0].level if naming.named else Level.T12
    if remainder and len(upward) < USUAL_COUNT and top == Level.L5 - len(upward) + 1:
        return Naming(naming.named, (*naming.reasons, cut_by_edge(Level(top - 1))))
    return naming


@dataclass(frozen=True, slots=True)
class _Seen:
    """A body with its flanks."""

    body: Body
    flanks: Flanks

    @property
    def bears_rib(self) -> bool:
        """A rib that is certain by itself, or because its body looks thoracic."""
        return self.flanks.bears_rib or (len(self.flanks.ribs) > 0 and self.body.thoracic >= SURELY_THORACIC)

    @property
    def thoracic(self) -> float:
        """0 to 1: the network's rating of the body; a certain rib takes precedence."""
        return max(self.body.thoracic, WITH_RIB) if self.flanks.bears_rib else self.body.thoracic


def _may_bear_rib(seen: _Seen, next_to_last_rib: bool) -> bool:
    """Whether a supposedly lumbar body may have a rib.

    At a body that clearly looks lumbar, a piece that fits its neighbour equally well belongs to the neighbour's rib. A
    stump is a rudimentary rib only where the ribs end; further down it is a transverse process.
    """
    if seen.body.thoracic > SURELY_LUMBAR:
        return len(seen.flanks.ribs) > 0
    return any(rib.certain or (next_to_last_rib and rib.misfit <= UNSURE_MISFIT) for rib in seen.flanks.ribs)


@dataclass(frozen=True, slots=True)
class _FromSacrum:
    """Basis of a count upward from the sacrum.

    Attributes:
        upward: the bodies from the lowest upward.
        lowest_rib: index of the lowest body with a rib; ``None`` if no rib was found.
        steps: doubtful distances between the bodies.
        missed: the step that may hide a body, where four bodies were found between sacrum and last rib.
    """

    upward: list[_Seen]
    lowest_rib: int | None
    steps: tuple[DoubtfulStep, ...]
    missed: DoubtfulStep | None

    @property
    def landmarks_agree(self) -> bool:
        """Whether five bodies lie between the sacrum and the last rib."""
        return self.lowest_rib == USUAL_COUNT

    @property
    def usual(self) -> int:
        """How many lumbar bodies are expected among those that were found."""
        return USUAL_COUNT - 1 if self.missed else USUAL_COUNT

    @property
    def above_l1_in_view(self) -> bool:
        """Whether any part of the body above L1 is in view."""
        return len(self.upward) > self.usual


def _count_from_sacrum(
    instances: npt.NDArray[np.int32], upward: list[_Seen], spacing_mm: float, inside: BoolArray
) -> Naming:
    """Label the levels upward from the sacrum."""
    basis = _from_sacrum(instances, upward, spacing_mm)
    doubt = _rib_doubt(basis) or _border_doubt(basis) or _ribless_doubt(basis) or _gap_doubt(basis)
    if doubt is not None:
        return nothing(NOT_CERTAIN, doubt)
    steps = basis.steps
    levels = [(Level(Level.L5 - i), seen.body) for i, seen in enumerate(upward[:6])]
    certain = steps[0].certain_below if steps else len(levels)
    # If two bodies are too close, the lower one may be wrong as well, so there may be none below the doubt.
    if certain == 0:
        return nothing(NOT_CERTAIN, steps[0].said)
    reasons = (nothing_above(levels[certain - 1][0], steps[0].said),) if steps else ()
    return complete(levels[:certain][::-1], instances, inside, _count_of(basis), reasons)


def _from_sacrum(instances: npt.NDArray[np.int32], upward: list[_Seen], spacing_mm: float) -> _FromSacrum:
    lowest_rib = next((i for i, seen in enumerate(upward) if seen.bears_rib), None)
    steps = doubtful_steps(instances, [seen.body for seen in upward[:7]], spacing_mm, counted=min(6, len(upward)))
    if lowest_rib == USUAL_COUNT:
        # Agreement of both landmarks outweighs a suspicion: the step to L5 is often longer than the others.
        steps = tuple(step for step in steps if not step.suspicion)
    return _FromSacrum(upward, lowest_rib, steps, _one_missed(steps, lowest_rib))


def _rib_doubt(basis: _FromSacrum) -> Phrase | None:
    """Doubt if the lowest rib is too low: fewer bodies below it than expected."""
    if basis.lowest_rib is None or basis.lowest_rib >= basis.usual:
        return None
    return phrase("{n} vertebral bodies between the sacrum and the lowest rib; five were expected.", n=basis.lowest_rib)


def _border_doubt(basis: _FromSacrum) -> Phrase | None:
    """Doubt if the border between lumbar and thoracic bodies is not where it is expected, or not clear.

    The body above L1 must be the first thoracic one, if any part of it is in view. Otherwise a sixth lumbar vertebra would
    be labelled L1.
    """
    lumbar_count, margin = _border(basis.upward, basis.usual)
    expected = min(basis.usual, len(basis.upward))
    if lumbar_count != expected:
        return phrase(
            "{n} of {total} vertebral bodies above the sacrum look lumbar; {expected} were expected.",
            n=lumbar_count,
            total=len(basis.upward),
            expected=expected,
        )
    if basis.above_l1_in_view and margin < LEAST_MARGIN:
        return phrase("Five vertebral bodies above the sacrum look lumbar, but the thoracolumbar transition is not clear.")
    return None


def _ribless_doubt(basis: _FromSacrum) -> Phrase | None:
    """Doubt if the sixth body has no rib although it would be in view, and a higher one has."""
    if basis.lowest_rib is None or basis.lowest_rib <= USUAL_COUNT:
        return None
    sixth = basis.upward[USUAL_COUNT]
    if not sixth.flanks.in_view or sixth.thoracic >= RIBLESS_T12:
        return None
    return phrase(
        "The lowest rib is at vertebral body {number} above the sacrum; it was expected at the sixth.",
        number=basis.lowest_rib + 1,
    )


def _gap_doubt(basis: _FromSacrum) -> Phrase | None:
    """Doubt if a body seems to be missed although the landmarks agree: it would be one of six."""
    if basis.steps and basis.above_l1_in_view and not basis.missed:
        return basis.steps[0].said
    return None


def _count_of(basis: _FromSacrum) -> Count:
    """The count from the sacrum, with its confidence and evidence."""
    if basis.missed:
        # Below the gap only: a patient with four lumbar vertebrae and one wide disc looks the same.
        evidence = phrase("counted from sacrum; the last rib agrees if one body was missed")
    elif basis.landmarks_agree:
        evidence = phrase("counted from sacrum, last rib agrees")
    elif basis.above_l1_in_view:
        evidence = phrase("counted from sacrum; shape of T12 agrees, its rib was not found")
    else:
        evidence = phrase("counted from sacrum; no rib in view to check the count")
    return Count(
        from_sacrum=True,
        from_rib=basis.landmarks_agree,
        confidence=BOTH_WITNESSES if basis.landmarks_agree else SACRUM_ALONE,
        evidence=evidence,
    )


def _one_missed(steps: tuple[DoubtfulStep, ...], lowest_rib: int | None) -> DoubtfulStep | None:
    """The step that may hide a body between sacrum and last rib: four were found, and one step has room for a fifth."""
    if len(steps) == 1 and steps[0].too_far and lowest_rib == USUAL_COUNT - 1 and steps[0].lower < lowest_rib:
        return steps[0]
    return None


def _count_from_last_rib(
    instances: npt.NDArray[np.int32], upward: list[_Seen], spacing_mm: float, inside: BoolArray
) -> Naming:
    """Label the levels downward from the last rib, without a sacrum."""
    seen = phrase("{n} vertebral bodies in view but no sacrum to count from", n=len(upward))
    t12 = next((i for i, entry in enumerate(upward) if entry.bears_rib), None)
    if t12 is None:
        return nothing(NOT_CERTAIN, phrase("{seen}, and no clearly visible rib.", seen=seen))
    if t12 == 0:
        return nothing(NO_LUMBAR_SPINE, phrase("{seen}, and the lowest one has a rib.", seen=seen))
    lumbar = upward[:t12][::-1]
    if not LEAST_LUMBAR <= len(lumbar) <= 5:
        return nothing(NOT_CERTAIN, phrase("{seen}, and {n} of them below the last rib.", seen=seen, n=len(lumbar)))
    if upward[t12].body.thoracic < LEAST_T12 or max(entry.body.thoracic for entry in lumbar) > MOST_L1:
        said = phrase(
            "{seen}, and the shapes of the bodies at the last rib and below do not match it (thoracic: "
            "{at_rib:.2f} and {below:.2f}).",
            seen=seen,
            at_rib=upward[t12].body.thoracic,
            below=lumbar[0].body.thoracic,
        )
        return nothing(NOT_CERTAIN, said)
    if t12 + 1 < len(upward) and not upward[t12 + 1].flanks.ribs:
        return nothing(NOT_CERTAIN, phrase("{seen}, and the body above the last rib seems to have no rib.", seen=seen))
    if any(_may_bear_rib(entry, i == 0) for i, entry in enumerate(lumbar)) or not lumbar[0].flanks.in_view:
        return nothing(NOT_CERTAIN, phrase("{seen}, and there may be another rib below the last one found.", seen=seen))
    if upward[t12].flanks.may_be_eleventh:
        said = phrase("{seen}, and the last ribs are long enough to be the eleventh pair.", seen=seen)
        return nothing(NOT_CERTAIN, said)
    steps = doubtful_steps(instances, [entry.body for entry in upward[: t12 + 2]], spacing_mm, counted=t12 + 1)
    # T12 and the bodies below it, down to the first doubtful step.
    certain = min((t12 + 1 - step.first_certain_above for step in steps), default=t12 + 1)
    if steps and certain < 2:
        return nothing(NOT_CERTAIN, joined((seen, steps[-1].said), ". "))
    evidence = phrase("counted from the last rib alone; no sacrum in view to check the count")
    levels = [(Level(Level.T12 + i), entry.body) for i, entry in enumerate([upward[t12], *lumbar])]
    reasons = (nothing_below(levels[certain - 1][0], steps[-1].said),) if steps else ()
    count = Count(from_sacrum=False, from_rib=True, confidence=RIBS_ALONE, evidence=evidence)
    return complete(levels[:certain], instances, inside, count, reasons)


def _border(upward: list[_Seen], usual: int) -> tuple[int, float]:
    """How many bodies from below are lumbar, and by how much (log ratio) this is more likely than one more or less.

    If the flanks of L1 and of the body above it are in view, only the image counts. In a narrow field of view there are
    only the shapes, so the ``usual`` count gets a higher prior.
    """
    share = np.clip([seen.thoracic for seen in upward], *SHARE_RANGE)
    scores = [float(np.log(1 - share[:k]).sum() + np.log(share[k:]).sum()) for k in range(len(upward) + 1)]
    doubtful = upward[usual - 1 : usual + 1]
    if len(doubtful) == 2 and not any(seen.flanks.in_view for seen in doubtful):
        scores[usual] += USUAL_LOG_ODDS
    best = int(np.argmax(scores))
    others = [scores[k] for k in (best - 1, best + 1) if 0 <= k < len(scores)]
    return best, scores[best] - max(others)


def _sacrum(prediction: Prediction) -> BoolArray | None:
    """The largest connected region of sacrum, if it is large enough to be one."""
    parts, count = ndimage.label(prediction.probability[Tissue.SACRUM] > 0.5)
    if count == 0:
        return None
    sizes = np.bincount(parts.ravel())[1:]
    if float(sizes.max()) * prediction.grid.spacing_mm**3 / 1000.0 < LEAST_SACRUM_CM3:
        return None
    return np.asarray(parts == 1 + int(np.argmax(sizes)))


def _sacrum_doubt(
    prediction: Prediction, instances: npt.NDArray[np.int32], chain: list[Body], sacrum: BoolArray
) -> Phrase | None:
    """Why the lowest body of the chain may not be the one above the sacrum; ``None`` if it is."""
    spacing = prediction.grid.spacing_mm
    lowest = chain[-1]
    around = ndimage.distance_transform_edt(~sacrum) * spacing
    gap = float(around[instances == lowest.number].min())
    if gap > MOST_SACRUM_GAP_MM:
        return phrase(
            "The lowest vertebral body found lies {gap:.0f} mm from the sacrum: a vertebra may have been missed.", gap=gap
        )
    # The sacrum's wings and articular processes reach up behind L5, but not above its middle; next to S1 they do. Up is the
    # direction of the next body: in the scanner's frame one wing is higher if the pelvis is tilted.
    up = chain[-2].centre - lowest.centre if len(chain) > 1 else np.array([1.0, 0.0, 0.0])
    above_cm3 = float(((np.argwhere(sacrum) - lowest.centre) @ up >= 0).sum()) * spacing**3 / 1000.0
    if above_cm3 > MOST_SACRUM_BESIDE_CM3:
        return phrase(
            "The sacrum reaches above the middle of the lowest vertebral body, so that body may be part of the sacrum."
        )
    if lowest.thoracic >= THORACIC_FROM:
        return phrase("The body above the sacrum does not look lumbar.")
    return None


def _is_remainder(upward: list[_Seen], instances: npt.NDArray[np.int32], inside: BoolArray) -> bool:
    """Whether the edge of the scan leaves too little of the uppermost body to assess its shape."""
    if len(upward) < 2 or upward[-1].bears_rib:
        return False
    top, below = upward[-1].body, upward[-2].body
    return top.volume_cm3 < LEAST_OF_TOP * below.volume_cm3 and cut_off(instances, top, inside)
