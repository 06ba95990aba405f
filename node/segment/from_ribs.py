"""Labels the levels downward from the last ribs, without a sacrum."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from node.language.phrase import Phrase, joined, phrase
from node.model import Level
from node.segment.anatomy import Anatomy
from node.segment.pairs import RibPairs
from node.segment.reach import NO_LUMBAR_SPINE, NOT_CERTAIN, Count, Naming, complete, nothing, nothing_below
from node.segment.seen import Seen, may_bear_rib
from node.segment.spacing import doubtful_steps

BoolArray = npt.NDArray[np.bool_]

#: Confidence of a level: from the last of twelve rib pairs, whose first ribs are certain or not; from the last ribs alone.
TWELVE_PAIRS, LIKELY_TWELVE, RIBS_ALONE = 0.85, 0.7, 0.6
#: The body with the last rib must be at least this thoracic, the bodies below at most this.
LEAST_T12, MOST_L1 = 0.4, 0.3
#: Number of lumbar bodies that must be at least partly in view; a single one at the edge is not labelled.
LEAST_LUMBAR = 2


def count_from_last_rib(
    instances: npt.NDArray[np.int32],
    upward: list[Seen],
    spacing_mm: float,
    inside: BoolArray,
    pairs: RibPairs | None,
    seen: Phrase,
) -> Naming:
    """Label the levels downward from the last rib, without a sacrum.

    Args:
        instances: instance map.
        upward: the bodies from the lowest upward, with their flanks.
        spacing_mm: of the grid.
        inside: which voxels are inside the scanned volume.
        pairs: rib pairs counted from the top.
        seen: why there is no sacrum to count from.
    """
    t12 = next((i for i, entry in enumerate(upward) if entry.bears_rib), None)
    if t12 is None:
        return nothing(NOT_CERTAIN, phrase("{seen}, and no clearly visible rib.", seen=seen))
    if t12 == 0:
        return nothing(NO_LUMBAR_SPINE, phrase("{seen}, and the lowest one has a rib.", seen=seen))
    anatomy = Anatomy(pairs.count if pairs else None, None)
    if not anatomy.usual:
        return nothing(NOT_CERTAIN, phrase("{seen}, and {anatomy}.", seen=seen, anatomy=anatomy.said))
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
    if any(may_bear_rib(entry, i == 0) for i, entry in enumerate(lumbar)) or not lumbar[0].flanks.in_view:
        return nothing(NOT_CERTAIN, phrase("{seen}, and there may be another rib below the last one found.", seen=seen))
    if not pairs and upward[t12].flanks.may_be_eleventh:
        said = phrase("{seen}, and the last ribs are long enough to be the eleventh pair.", seen=seen)
        return nothing(NOT_CERTAIN, said)
    steps = doubtful_steps(instances, [entry.body for entry in upward[: t12 + 2]], spacing_mm, counted=t12 + 1)
    # T12 and the bodies below it, down to the first doubtful step.
    certain = min((t12 + 1 - step.first_certain_above for step in steps), default=t12 + 1)
    if steps and certain < 2:
        return nothing(NOT_CERTAIN, joined((seen, steps[-1].said), ". "))
    if pairs:
        evidence = phrase("counted from the last of twelve rib pairs, without the sacrum")
    else:
        evidence = phrase("counted from the last rib alone; no sacrum in view to check the count")
    confidence = (TWELVE_PAIRS if pairs.certain else LIKELY_TWELVE) if pairs else RIBS_ALONE
    levels = [(Level(Level.T12 + i), entry.body) for i, entry in enumerate([upward[t12], *lumbar])]
    reasons = (nothing_below(levels[certain - 1][0], steps[-1].said),) if steps else ()
    count = Count(from_sacrum=False, from_rib=True, confidence=confidence, evidence=evidence)
    return complete(levels[:certain], instances, inside, count, reasons)
