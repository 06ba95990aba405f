"""Labels the levels upward from the sacrum; the last ribs and the rib pairs counted from the top must agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from node.language.phrase import Phrase, phrase
from node.model import Level, Reason
from node.segment.anatomy import PLAUSIBLE_LUMBAR, USUAL_LUMBAR, VARIANT, Anatomy
from node.segment.pairs import USUAL_PAIRS, RibPairs
from node.segment.reach import NOT_CERTAIN, Count, Naming, complete, nothing, nothing_above
from node.segment.seen import Seen
from node.segment.spacing import DoubtfulStep, doubtful_steps
from node.settings.tree import LevelConvention

BoolArray = npt.NDArray[np.bool_]

#: The border between lumbar and thoracic bodies must be this much more likely than one body higher or lower (natural
#: logarithm of the ratio; 0.4 is 3 to 2). Values are kept away from 0 and 1, where the network is overconfident.
LEAST_MARGIN = 0.4
SHARE_RANGE = (0.02, 0.98)
#: Log odds of five lumbar vertebrae against one more or less, if no rib could be seen: nine of ten people have five.
USUAL_LOG_ODDS = 2.0
#: If the rib of T12 should be in view but only that of T11 was found, T12 is a sixth lumbar vertebra unless this thoracic.
RIBLESS_T12 = 0.8
#: Confidence of a level: from the sacrum, the last ribs and twelve rib pairs; from sacrum and last ribs; from the sacrum
#: alone; by the convention of the site, where the anatomy is unusual.
THREE_WITNESSES, BOTH_WITNESSES, SACRUM_ALONE, BY_CONVENTION = 0.98, 0.95, 0.75, 0.8


@dataclass(frozen=True, slots=True)
class _FromSacrum:
    """Basis of a count upward from the sacrum.

    Attributes:
        upward: the bodies from the lowest upward.
        lowest_rib: index of the lowest body with a rib; ``None`` if no rib was found.
        steps: doubtful distances between the bodies.
        missed: the step that may hide a body, where four bodies were found between sacrum and last rib.
        pairs: rib pairs counted from the top.
    """

    upward: list[Seen]
    lowest_rib: int | None
    steps: tuple[DoubtfulStep, ...]
    missed: DoubtfulStep | None
    pairs: RibPairs | None

    @property
    def landmarks_agree(self) -> bool:
        """Whether five bodies lie between the sacrum and the last rib."""
        return self.lowest_rib == USUAL_LUMBAR

    @property
    def anatomy(self) -> Anatomy:
        """The anatomy, as far as it was counted.

        Lumbar vertebrae are counted up to the last ribs. The look of the bodies must confirm it, and no step be doubtful.
        """
        last = self.lowest_rib
        sure = last in PLAUSIBLE_LUMBAR and not self.steps and lumbar_border(self.upward, last)[0] == last
        return Anatomy(self.pairs.count if self.pairs else None, last if sure else None)

    @property
    def usual(self) -> int:
        """How many lumbar bodies are expected among those that were found."""
        return USUAL_LUMBAR - 1 if self.missed else USUAL_LUMBAR

    @property
    def above_l1_in_view(self) -> bool:
        """Whether any part of the body above L1 is in view."""
        return len(self.upward) > self.usual


def count_from_sacrum(
    instances: npt.NDArray[np.int32],
    upward: list[Seen],
    spacing_mm: float,
    inside: BoolArray,
    pairs: RibPairs | None,
    convention: LevelConvention,
) -> Naming:
    """Label the levels upward from the sacrum, or a variant by the convention of the site.

    Args:
        instances: instance map.
        upward: the bodies from the lowest upward, with their flanks.
        spacing_mm: of the grid.
        inside: which voxels are inside the scanned volume.
        pairs: rib pairs counted from the top.
        convention: how levels are counted where the anatomy is unusual.
    """
    basis = _from_sacrum(instances, upward, spacing_mm, pairs)
    anatomy = basis.anatomy
    if not anatomy.usual:
        return _variant(basis, anatomy, instances, inside, convention)
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


def _variant(
    basis: _FromSacrum,
    anatomy: Anatomy,
    instances: npt.NDArray[np.int32],
    inside: BoolArray,
    convention: LevelConvention,
) -> Naming:
    """Levels where the anatomy is unusual: by the convention of the site, or none, with the anatomy as the reason."""
    twelve = basis.pairs is not None and basis.pairs.certain and basis.pairs.count == USUAL_PAIRS
    last = basis.lowest_rib
    if convention == "twelfth_rib" and twelve and last is not None:
        lumbar = basis.upward[:last][::-1][:USUAL_LUMBAR]
        levels = [(Level(Level.T12 + i), seen.body) for i, seen in enumerate([basis.upward[last], *lumbar])]
        evidence, from_sacrum = phrase("counted downward from the last of twelve rib pairs"), False
    elif convention == "sacrum" and anatomy.lumbar is not None:
        levels = [(Level(Level.L5 - i), seen.body) for i, seen in enumerate(basis.upward[:USUAL_LUMBAR])][::-1]
        evidence, from_sacrum = phrase("counted upward from the sacrum"), True
    else:
        return nothing(NOT_CERTAIN, phrase("{anatomy}. No level is labelled.", anatomy=anatomy.said))
    count = Count(from_sacrum=from_sacrum, from_rib=not from_sacrum, confidence=BY_CONVENTION, evidence=evidence)
    how = phrase("{anatomy}. The levels are {evidence}.", anatomy=anatomy.said, evidence=evidence)
    return complete(levels, instances, inside, count, (Reason(VARIANT, how),))


def _from_sacrum(
    instances: npt.NDArray[np.int32], upward: list[Seen], spacing_mm: float, pairs: RibPairs | None
) -> _FromSacrum:
    lowest_rib = next((i for i, seen in enumerate(upward) if seen.bears_rib), None)
    # T12 is the sixth body from below, or the seventh.
    counted = 7 if lowest_rib == USUAL_LUMBAR + 1 else 6
    bodies = [seen.body for seen in upward[: counted + 1]]
    steps = doubtful_steps(instances, bodies, spacing_mm, counted=min(counted, len(upward)))
    if lowest_rib == USUAL_LUMBAR:
        # Agreement of both landmarks outweighs a suspicion: the step to L5 is often longer than the others.
        steps = tuple(step for step in steps if not step.suspicion)
    return _FromSacrum(upward, lowest_rib, steps, _one_missed(steps, lowest_rib), pairs)


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
    lumbar_count, margin = lumbar_border(basis.upward, basis.usual)
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
    if basis.lowest_rib is None or basis.lowest_rib <= USUAL_LUMBAR:
        return None
    sixth = basis.upward[USUAL_LUMBAR]
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
    elif basis.landmarks_agree and basis.pairs:
        evidence = phrase("counted from sacrum, the last of twelve rib pairs agrees")
    elif basis.landmarks_agree:
        evidence = phrase("counted from sacrum, last rib agrees")
    elif basis.above_l1_in_view:
        evidence = phrase("counted from sacrum; shape of T12 agrees, its rib was not found")
    else:
        evidence = phrase("counted from sacrum; no rib in view to check the count")
    confidence = SACRUM_ALONE
    if basis.landmarks_agree:
        confidence = THREE_WITNESSES if basis.pairs and basis.pairs.certain else BOTH_WITNESSES
    return Count(
        from_sacrum=True,
        from_rib=basis.landmarks_agree,
        confidence=confidence,
        evidence=evidence,
    )


def _one_missed(steps: tuple[DoubtfulStep, ...], lowest_rib: int | None) -> DoubtfulStep | None:
    """The step that may hide a body between sacrum and last rib: four were found, and one step has room for a fifth."""
    if len(steps) == 1 and steps[0].too_far and lowest_rib == USUAL_LUMBAR - 1 and steps[0].lower < lowest_rib:
        return steps[0]
    return None


def lumbar_border(upward: list[Seen], usual: int) -> tuple[int, float]:
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
