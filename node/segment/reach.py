"""Which levels can be reported: not bodies cut by the edge of the scan or of implausible size, nor levels beyond those."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.language.phrase import Phrase, phrase
from node.model import Level, Reason
from node.segment.instances import Body

BoolArray = npt.NDArray[np.bool_]

#: Plausible volume of lumbar bodies, cm3: from a crushed body of a small woman to L5 of a tall man.
VOLUME_CM3 = (9.0, 110.0)
#: Largest ratio between the volumes of neighbours; and the same for a crushed body, whose outline from above keeps at
#: least this share of its neighbour's area. Half a body would be too near to its other half (:mod:`node.segment.spacing`).
MOST_VOLUME_RATIO, MOST_CRUSHED_RATIO, LEAST_AREA_RATIO = 2.2, 4.0, 0.65

NO_LUMBAR_SPINE = "no_lumbar_spine"
NOT_CERTAIN = "level_not_certain"
CUT_OFF = "body_cut_by_field_of_view"


@dataclass(frozen=True, slots=True, eq=False)
class Named:
    """A body with its level.

    Attributes:
        level: its level.
        body: the body.
        confidence: 0 to 1.
        evidence: basis of the level, in words.
    """

    level: Level
    body: Body
    confidence: float
    evidence: Phrase


@dataclass(frozen=True, slots=True, eq=False)
class Naming:
    """Labelled bodies from the head downward, and reasons for missing ones."""

    named: tuple[Named, ...]
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Count:
    """Basis of the levels.

    Attributes:
        from_sacrum: counted upward from the sacrum.
        from_rib: counted downward from the last rib.
        confidence: 0 to 1, of a body that is certain by itself.
        evidence: in words.
    """

    from_sacrum: bool
    from_rib: bool
    confidence: float
    evidence: Phrase

    @property
    def has_both_landmarks(self) -> bool:
        """Whether two counts agree. Then a doubt about one body does not affect the others."""
        return self.from_sacrum and self.from_rib

    def reaches(self, level: Level, doubtful: Sequence[Level]) -> bool:
        """Whether a count reaches a body without passing a doubtful one."""
        if self.has_both_landmarks:
            return level not in doubtful
        return all(level > one if self.from_sacrum else level < one for one in doubtful)


def complete(
    levels: list[tuple[Level, Body]],
    instances: npt.NDArray[np.int32],
    inside: BoolArray,
    count: Count,
    reasons: tuple[Reason, ...] = (),
) -> Naming:
    """Keep the bodies that are complete and of plausible size, as far as the count reaches without passing others.

    T12 is kept only together with lumbar bodies."""
    whole = {level for level, body in levels if not cut_off(instances, body, inside)}
    doubtful = _of_implausible_size([(level, body) for level, body in levels if level in whole], instances)
    sound = whole.difference(doubtful)
    lumbar = [level for level in doubtful if level != Level.T12]
    # T12 is labelled if possible, but no reason is given if it is not.
    wanted = [(level, body) for level, body in levels if level != Level.T12 or level in sound]
    named = [_named(level, body, count) for level, body in wanted if level in sound and count.reaches(level, lumbar)]
    missing = _missing(wanted, whole, doubtful)
    if named and lumbar and not count.has_both_landmarks:
        missing.append(_beyond(named, count))
    if all(entry.level == Level.T12 for entry in named):
        if lumbar or reasons:
            return Naming((), tuple(reason for reason in (*reasons, *missing) if reason.code == NOT_CERTAIN))
        return nothing(NOT_CERTAIN, phrase("Every lumbar body is cut by the edge of the scanned volume."))
    return Naming(tuple(named), (*reasons, *missing))


def _of_implausible_size(bodies: list[tuple[Level, Body]], instances: npt.NDArray[np.int32]) -> list[Level]:
    """Bodies that are too small or too large, absolutely or relative to their neighbours, from the head downward."""
    sizes: dict[Level, _Size] = {level: _size(body, instances) for level, body in bodies}

    def neighbours(level: Level) -> list[_Size]:
        return [size for other, size in sizes.items() if abs(other - level) == 1]

    return [level for level in sorted(sizes) if not _plausible_volume(sizes[level], neighbours(level))]


def _named(level: Level, body: Body, count: Count) -> Named:
    return Named(level, body, count.confidence * min(1.0, body.certainty / 0.9), count.evidence)


def _missing(levels: list[tuple[Level, Body]], whole: set[Level], doubtful: list[Level]) -> list[Reason]:
    """Reasons for bodies that are doubtful or cut off."""
    reasons = []
    for level, body in levels:
        if level in doubtful:
            said = phrase(
                "The vertebral body labelled {level} has an implausible volume of {volume:.0f} cm3.",
                level=level.name,
                volume=body.volume_cm3,
            )
            reasons.append(Reason(NOT_CERTAIN, said))
        elif level not in whole:
            reasons.append(cut_by_edge(level))
    return reasons


def _beyond(named: list[Named], count: Count) -> Reason:
    """Why no level beyond a body of implausible size is labelled, if there is only one count."""
    doubt = phrase("The count would have to pass a vertebral body of implausible volume.")
    return nothing_above(named[0].level, doubt) if count.from_sacrum else nothing_below(named[-1].level, doubt)


def cut_by_edge(level: Level) -> Reason:
    """Why a body that is only partly in the scan is not reported."""
    return Reason(CUT_OFF, phrase("{level} is cut by the edge of the scanned volume.", level=level.name))


def nothing_above(level: Level, doubt: Phrase) -> Reason:
    """Why no level above a body is labelled, counted from the sacrum."""
    return Reason(NOT_CERTAIN, phrase("No level above {level} is labelled. {doubt}", level=level.name, doubt=doubt))


def nothing_below(level: Level, doubt: Phrase) -> Reason:
    """Why no level below a body is labelled, counted from the last rib."""
    return Reason(NOT_CERTAIN, phrase("No level below {level} is labelled. {doubt}", level=level.name, doubt=doubt))


@dataclass(frozen=True, slots=True)
class _Size:
    """Volume of a body, and its area seen from above, in voxels of the grid."""

    volume_cm3: float
    area: int


def _size(body: Body, instances: npt.NDArray[np.int32]) -> _Size:
    return _Size(body.volume_cm3, int((instances == body.number).any(axis=0).sum()))


def _plausible_volume(size: _Size, neighbours: list[_Size]) -> bool:
    return VOLUME_CM3[0] <= size.volume_cm3 <= VOLUME_CM3[1] and all(_fit_together(size, one) for one in neighbours)


def _fit_together(one: _Size, other: _Size) -> bool:
    small, large = sorted((one, other), key=lambda size: size.volume_cm3)
    ratio = large.volume_cm3 / small.volume_cm3
    crushed = small.area >= LEAST_AREA_RATIO * large.area
    return ratio <= (MOST_CRUSHED_RATIO if crushed else MOST_VOLUME_RATIO)


def cut_off(instances: npt.NDArray[np.int32], body: Body, inside: BoolArray) -> bool:
    """Whether a body reaches the edge of the scanned volume (within one voxel of the grid)."""
    own = instances == body.number
    return bool((own & ndimage.binary_dilation(~inside, iterations=1, border_value=1)).any())


def nothing(code: str, detail: Phrase) -> Naming:
    """No level at all, for one reason."""
    return Naming((), (Reason(code, detail),))
