"""Order in which the regular stacks are tried.

Stacks are compared by a tuple, from its first element on; there are no weights. Headers may be wrong about the body part: if
the image does not show the lumbar spine, the next candidate is tried.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from node.clinical.identity import Issuers
from node.language.phrase import Phrase, joined, phrase
from node.model import NIFTI_IMAGE_TYPE, Candidate, Orientation, SeriesFacts
from node.select.body_part import body_part
from node.select.facts import contrast_sign, facts_of, header_remarks, kvp_note
from node.select.geometry import affine_of, head_foot_extent_mm
from node.select.grouping import Stack
from node.select.headers import FrameHeader
from node.select.patients import patient_remarks

#: From the top of L1 to the bottom of L4 in a small adult; a shorter stack cannot show all measured levels.
_FOUR_LEVELS_MM = 120.0
#: Slice distances that give many slices per body and still low noise.
_BEST_DISTANCE_MM = (0.9, 3.05)
#: In-plane coverage that includes ribs and pelvis, the landmarks for level labelling.
_WHOLE_TRUNK_MM = 300.0

_NUMBERED_KERNEL = re.compile(r"[A-Z]{1,2}(\d\d)", re.IGNORECASE)
_SHARP_NUMBER = 50
_SOFT_NAMES = frozenset({"STANDARD", "SOFT", "STND", "SMOOTH", "A", "B", "C", "BODY FILTER"})
_SHARP_NAMES = frozenset({"BONE", "BONEPLUS", "EDGE", "LUNG", "ULTRA", "CHEST", "D", "E", "EC", "L", "YA", "YB", "YC", "YD"})
#: Toshiba and Canon: FC01 to FC19 are for the body, FC30 and above for bone, lung and high resolution.
_TOSHIBA_KERNEL = re.compile(r"F[CL](\d\d)", re.IGNORECASE)
_TOSHIBA_SHARP_NUMBER = 30

_SHARPNESS = (phrase("soft or standard kernel"), phrase("kernel of unknown sharpness"), phrase("sharp kernel"))
_ORIGINAL = {
    Orientation.AXIAL: phrase("original axial images"),
    Orientation.SAGITTAL: phrase("original sagittal images"),
    Orientation.CORONAL: phrase("original coronal images"),
}
_REFORMATTED = {
    Orientation.AXIAL: phrase("reformatted axial images"),
    Orientation.SAGITTAL: phrase("reformatted sagittal images"),
    Orientation.CORONAL: phrase("reformatted coronal images"),
}
_CONVERTED = {
    Orientation.AXIAL: phrase("axial slices of a NIfTI file"),
    Orientation.SAGITTAL: phrase("sagittal slices of a NIfTI file"),
    Orientation.CORONAL: phrase("coronal slices of a NIfTI file"),
}


@dataclass(frozen=True, slots=True, order=True)
class Rank:
    """Rank of a stack: smaller comes first, in the order of the fields."""

    #: 0 nothing or the lower trunk, 1 chest, 2 head or limb; headers may be wrong, so such a series is tried later, not
    #: refused
    body_part: int
    #: too short from head to foot for L1 to L4
    too_short: bool
    #: HU that are not certain, so no bone density
    hu_doubt: bool
    #: signs of intravenous contrast, which raises HU (Pickhardt 2013: unenhanced 128.8, portal 147.0 HU at L1)
    contrast: bool
    #: number of the phase within its series, in chronological order: the earlier, the less contrast
    phase: int
    #: no tube voltage, so no equation
    no_kvp: bool
    #: 0 soft or standard, 1 unknown, 2 sharp: noise, and edges that overshoot
    sharpness: int
    #: 0 thin, 1 very thin, 2 thick
    distance: int
    #: a reformat was interpolated from another series
    reformat: bool
    #: not axial: the field of view is narrow across the spine
    not_axial: bool
    #: too narrow for ribs and pelvis
    narrow: bool
    slice_distance_mm: float
    negative_extent_mm: float
    negative_width_mm: float
    #: so that the order does not depend on that of the files
    identity: tuple[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """A stack with its facts and its rank."""

    stack: Stack
    facts: SeriesFacts
    rank: Rank


def extent_mm(stack: Stack) -> float:
    """Craniocaudal extent of a stack, in mm."""
    affine = affine_of(stack.plane, stack.positions)
    first = stack.frames[0]
    return head_foot_extent_mm(affine, (len(stack.frames), first.rows, first.columns))


def rank(stacks: Sequence[Stack], accepted_image_types: Sequence[str] = ()) -> list[Ranked]:
    """Rank the regular stacks of one series.

    Stacks of the same reconstruction are its phases; a second kernel or plane is not a phase.

    Args:
        stacks: of one series.
        accepted_image_types: Image Types that the site takes for true HU.
    """
    seen: Counter[tuple[str | None, float | None, bytes]] = Counter()
    ranked = []
    for stack in sorted(stacks, key=_time):
        first = stack.frames[0]
        reconstruction = (first.convolution_kernel, first.kvp, stack.plane.normal.round(2).tobytes())
        ranked.append(_rank(stack, facts_of(stack, accepted_image_types), seen[reconstruction]))
        seen[reconstruction] += 1
    return ranked


def _time(stack: Stack) -> tuple[int, int, str, int]:
    first = stack.frames[0]
    times = min(frame.acquisition_time or "" for frame in stack.frames)
    numbers = min(frame.instance_number or 0 for frame in stack.frames)
    return (first.acquisition_number or 0, first.temporal_position or 0, times, numbers)


def _rank(stack: Stack, facts: SeriesFacts, phase: int) -> Ranked:
    first = stack.frames[0]
    extent = extent_mm(stack)
    distance_mm = facts.spacing_mm[2]
    width_mm = first.columns * facts.spacing_mm[0]
    place = Rank(
        body_part=body_part(first).rank,
        too_short=extent < _FOUR_LEVELS_MM,
        hu_doubt=facts.hu_doubt is not None,
        contrast=contrast_sign(stack.frames) is not None,
        phase=phase,
        no_kvp=facts.kvp is None,
        sharpness=_sharpness(facts.convolution_kernel),
        distance=0
        if _BEST_DISTANCE_MM[0] <= distance_mm <= _BEST_DISTANCE_MM[1]
        else 1 + (distance_mm > _BEST_DISTANCE_MM[1]),
        reformat=first.image_type[:1] == ("DERIVED",),
        not_axial=facts.orientation is not Orientation.AXIAL,
        narrow=width_mm < _WHOLE_TRUNK_MM,
        slice_distance_mm=round(distance_mm, 2),
        negative_extent_mm=-round(extent),
        negative_width_mm=-round(width_mm),
        identity=(facts.series_instance_uid, first.source.sop_instance_uid),
    )
    return Ranked(stack, facts, place)


def candidates(ranked: Sequence[Ranked], issuers: Issuers) -> tuple[Candidate, ...]:
    """Candidates, the best first, each with a sentence about its rank and remarks on its headers."""
    ordered = sorted(ranked, key=lambda one: one.rank)
    found = []
    for number, one in enumerate(ordered):
        if len(ordered) > 1:
            why = phrase(
                "Rank {place} of {places}: {images}", place=number + 1, places=len(ordered), images=_description(one)
            )
        else:
            why = phrase("The only series that can be measured: {images}", images=_description(one))
        if number:
            less = _first_difference(ordered[number - 1].rank, one.rank)
            why = phrase("{why}; below rank {place} because of its {less}", why=why, place=number, less=less)
        frames = tuple(frame.source for frame in one.stack.frames)
        remarks = patient_remarks(one.stack.frames, issuers) + header_remarks(one.stack.frames)
        found.append(Candidate(frames, one.facts, Phrase("{why}.", {"why": why}), remarks))
    return tuple(found)


def _description(one: Ranked) -> Phrase:
    facts = one.facts
    sharpness = _SHARPNESS[one.rank.sharpness]
    parts = [
        _images(one.stack.frames[0])[facts.orientation],
        contrast_sign(one.stack.frames) or phrase("no sign of contrast in the header"),
        Phrase("{sharpness} ({kernel})", {"sharpness": sharpness, "kernel": facts.convolution_kernel})
        if facts.convolution_kernel
        else sharpness,
        phrase("a slice every {distance:.2f} mm", distance=facts.spacing_mm[2]),
        phrase("{extent:.0f} mm from head to foot", extent=-one.rank.negative_extent_mm),
    ]
    if said := body_part(one.stack.frames[0]).said:
        parts.append(said)
    if note := kvp_note(one.stack.frames):
        parts.append(note)
    if one.stack.split_by:
        parts.append(phrase("separated from other images of its series by {attribute}", attribute=one.stack.split_by))
    return joined(parts, ", ")


_DIFFERENCES = {
    "body_part": phrase("body part in the header"),
    "too_short": phrase("short extent from head to foot"),
    "hu_doubt": phrase("processed values"),
    "contrast": phrase("signs of contrast"),
    "phase": phrase("later phase"),
    "no_kvp": phrase("missing tube voltage"),
    "sharpness": phrase("sharper kernel"),
    "distance": phrase("slice distance"),
    "reformat": phrase("reformatted images"),
    "not_axial": phrase("plane"),
    "narrow": phrase("narrow field of view"),
    "slice_distance_mm": phrase("larger slice distance"),
    "negative_extent_mm": phrase("shorter extent"),
    "negative_width_mm": phrase("narrower field of view"),
    "identity": phrase("UID only, otherwise equal"),
}


def _first_difference(better: Rank, worse: Rank) -> Phrase:
    return next(words for name, words in _DIFFERENCES.items() if getattr(better, name) != getattr(worse, name))


def _images(frame: FrameHeader) -> dict[Orientation, Phrase]:
    if NIFTI_IMAGE_TYPE[2] in frame.image_type:
        return _CONVERTED
    return _REFORMATTED if frame.image_type[:1] == ("DERIVED",) else _ORIGINAL


def _sharpness(kernel: str | None) -> int:
    """0 soft or standard, 1 unknown, 2 sharp, according to the names of GE, Siemens, Toshiba and Philips."""
    name = (kernel or "").upper()
    if toshiba := _TOSHIBA_KERNEL.match(name):
        return 2 if int(toshiba.group(1)) >= _TOSHIBA_SHARP_NUMBER else 0
    if name in _SOFT_NAMES:
        return 0
    if name in _SHARP_NAMES:
        return 2
    if numbered := _NUMBERED_KERNEL.match(name):
        return 2 if int(numbered.group(1)) >= _SHARP_NUMBER else 0
    return 1
