"""Vertebral level labelling: levels for a chain of vertebral bodies, or the reason why they are not certain.

There are three landmarks: the sacrum (the first body above it is L5), the last ribs (the lowest body with ribs is T12) and
the first ribs (T12 is the twelfth body from them). Those that are in view must agree: on twelve rib pairs, and on five
vertebrae without ribs. Otherwise the anatomy is stated, and levels are labelled by the site's convention, or not at all.
With one landmark the confidence is lower, and lowest with the last ribs alone: a transitional vertebra with a missing or
additional rib then looks like a normal one. The network also rates each body as thoracic or lumbar; this can only reject a
labelling.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from node.language.phrase import Phrase, phrase
from node.model import Level, Reason
from node.segment.anatomy import USUAL_LUMBAR
from node.segment.from_ribs import count_from_last_rib
from node.segment.from_sacrum import count_from_sacrum
from node.segment.inference import Prediction
from node.segment.instances import Body
from node.segment.pairs import USUAL_PAIRS, RibPairs, rib_pairs
from node.segment.reach import NO_LUMBAR_SPINE, NOT_CERTAIN, Naming, cut_by_edge, cut_off, nothing
from node.segment.ribs import find_flanks
from node.segment.sacrum import LEAST_SACRUM_CM3, LEAST_SAID_CM3, find_sacrum, sacrum_doubt
from node.segment.seen import THORACIC_FROM, Seen
from node.settings.tree import LevelConvention

BoolArray = npt.NDArray[np.bool_]

#: The shape of the top body is ignored if the edge of the scan leaves less than this share of its neighbour's volume.
LEAST_OF_TOP = 0.3


def name_bodies(
    prediction: Prediction,
    instances: npt.NDArray[np.int32],
    chain: list[Body],
    inside: BoolArray,
    convention: LevelConvention = "twelfth_rib",
) -> Naming:
    """Label the levels of a chain of bodies.

    Args:
        prediction: the network's output.
        instances: instance map on the same grid.
        chain: bodies from the head downward.
        inside: which voxels are inside the scanned volume.
        convention: how levels are counted where the anatomy is unusual.

    Returns:
        T12 to L5 as far as they are complete; without any level, one reason that says what was seen.
    """
    sacrum, sacrum_cm3 = find_sacrum(prediction)
    if not chain:
        return nothing(NO_LUMBAR_SPINE, _without_bodies(sacrum_cm3))
    spacing_mm = prediction.grid.spacing_mm
    flanks = find_flanks(prediction, chain, inside)
    upward = [Seen(body, beside) for body, beside in zip(chain, flanks, strict=True)][::-1]
    lowest_rib = next((i for i, seen in enumerate(upward) if seen.bears_rib), None)
    last = None if lowest_rib is None else len(chain) - 1 - lowest_rib
    pairs = rib_pairs(chain, flanks, last, inside, spacing_mm)
    remainder = _is_remainder(upward, instances, inside)
    if remainder:
        upward.pop()
    if sacrum_cm3 < LEAST_SACRUM_CM3:
        if not any(seen.thoracic < THORACIC_FROM for seen in upward):
            return nothing(NO_LUMBAR_SPINE, _none_lumbar(len(chain), sacrum_cm3))
        return count_from_last_rib(instances, upward, spacing_mm, inside, pairs, _no_sacrum(len(upward), sacrum_cm3))
    doubt = sacrum_doubt(prediction, instances, chain, sacrum)
    if doubt:
        return _without_the_sacrum(instances, upward, spacing_mm, inside, pairs, doubt)
    naming = count_from_sacrum(instances, upward, spacing_mm, inside, pairs, convention)
    top = naming.named[0].level if naming.named else Level.T12
    if remainder and len(upward) < USUAL_LUMBAR and top == Level.L5 - len(upward) + 1:
        return Naming(naming.named, (*naming.reasons, cut_by_edge(Level(top - 1))))
    return naming


def _without_the_sacrum(
    instances: npt.NDArray[np.int32],
    upward: list[Seen],
    spacing_mm: float,
    inside: BoolArray,
    pairs: RibPairs | None,
    doubt: Phrase,
) -> Naming:
    """Levels where the border to the sacrum is in doubt: counted from twelve rib pairs, without the lowest body."""
    if pairs is None or not pairs.certain or pairs.count != USUAL_PAIRS:
        return nothing(NOT_CERTAIN, doubt)
    naming = count_from_last_rib(instances, upward[1:], spacing_mm, inside, pairs, doubt)
    return (
        Naming(naming.named, (Reason(NOT_CERTAIN, doubt), *naming.reasons)) if naming.named else nothing(NOT_CERTAIN, doubt)
    )


def _without_bodies(sacrum_cm3: float) -> Phrase:
    if sacrum_cm3 < LEAST_SAID_CM3:
        return phrase("no vertebral body and no sacrum in view.")
    return phrase("{volume:.0f} cm3 of sacrum in view but no vertebral body.", volume=sacrum_cm3)


def _none_lumbar(bodies: int, sacrum_cm3: float) -> Phrase:
    if sacrum_cm3 < LEAST_SAID_CM3:
        return phrase("{n} vertebral bodies, none of them lumbar, and no sacrum in view.", n=bodies)
    return phrase(
        "{n} vertebral bodies, none of them lumbar, and only {volume:.0f} cm3 of sacrum in view.",
        n=bodies,
        volume=sacrum_cm3,
    )


def _no_sacrum(bodies: int, sacrum_cm3: float) -> Phrase:
    if sacrum_cm3 < LEAST_SAID_CM3:
        return phrase("{n} vertebral bodies in view but no sacrum to count from", n=bodies)
    return phrase(
        "{n} vertebral bodies in view but only {volume:.0f} cm3 of sacrum, too little to count from",
        n=bodies,
        volume=sacrum_cm3,
    )


def _is_remainder(upward: list[Seen], instances: npt.NDArray[np.int32], inside: BoolArray) -> bool:
    """Whether the edge of the scan leaves too little of the uppermost body to assess its shape."""
    if len(upward) < 2 or upward[-1].bears_rib:
        return False
    top, below = upward[-1].body, upward[-2].body
    return top.volume_cm3 < LEAST_OF_TOP * below.volume_cm3 and cut_off(instances, top, inside)
