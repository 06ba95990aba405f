"""From the frames of one series to regular stacks of slices.

One series may contain several stacks: phases that repeat the positions, a localizer or a slice of another scan, a second
reconstruction. Stacks are separated by their headers; if that is not possible, the series is refused. A stack with missing
slices is never cut at the gap, unless the headers name two scans.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import isclose

import numpy as np

from node.language.phrase import Phrase, joined, phrase
from node.model import Reason, SeriesLeftOut
from node.select.geometry import (
    REPEATED,
    Floats,
    Plane,
    mean_orientation,
    order_along,
    outliers,
    plane_of,
    same_orientation,
    stack_fault,
)
from node.select.headers import FrameHeader
from node.select.scan_keys import KEYS, Frames, Key, alternate

_SPACING_TOLERANCE_PART = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Slices that form one regular grid.

    Attributes:
        frames: in the order of axis 0 of the volume, along the normal of ``plane``.
        plane: orientation and in-plane spacing.
        positions: (n, 3), Image Position (Patient) of the frames, in mm.
        split_by: what separates it from other stacks of its series, e.g. "Acquisition Number 2"; empty for a single stack.
    """

    frames: Frames
    plane: Plane
    positions: Floats
    split_by: str


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for a stack."""

    min_slices: int
    max_tilt_deg: float


def stacks_of_series(frames: Sequence[FrameHeader], limits: Limits) -> tuple[list[Stack], list[SeriesLeftOut]]:
    """Find the regular stacks in the admitted frames of one series.

    Args:
        frames: all of one series, each of them admitted (:func:`node.select.admission.refusal`).
        limits: for a stack.

    Returns:
        The stacks, and the reasons for frames that are left out.
    """
    if not frames:
        return [], []
    series_uid = frames[0].series_instance_uid
    parts, use_reference = _alike(frames)
    large = [part for part in parts if len(part) >= limits.min_slices]
    if not large:
        detail = phrase(
            "only {n} of {total} slices fit together, at least {least} are needed",
            n=len(parts[0]),
            total=len(frames),
            least=limits.min_slices,
        )
        return [], [SeriesLeftOut(series_uid, "too_few_slices", detail)]
    stacks: list[Stack] = []
    faults: list[Reason] = []
    strays: list[tuple[Frames, Phrase]] = []
    for number, part in enumerate(large):
        other = large[1 if number == 0 else 0][0] if len(large) > 1 else part[0]
        found, bad, dropped = _resolve(part, _named(part[0], _differences(other, part[0], use_reference)), KEYS, limits)
        stacks += found
        faults += bad
        strays += dropped
    for part in parts[len(large) :]:
        names = ", ".join(_differences(large[0][0], part[0], use_reference))
        if names:
            strays.append((part, phrase("differs from the rest of the series in {names}", names=names)))
        else:
            strays.append((part, phrase("its header does not say to which part of the series it belongs")))
    left_out = [SeriesLeftOut(series_uid, fault.code, fault.detail) for fault in faults]
    if stacks:
        left_out += [SeriesLeftOut(series_uid, "stray_slices", _strays(part, why, len(frames))) for part, why in strays]
    return stacks, left_out


def _strays(part: Frames, why: Phrase, total: int) -> Phrase:
    return phrase(
        "{n} of {total} slices of the series left out, the first is {uid}: {why}",
        n=len(part),
        total=total,
        uid=part[0].source.sop_instance_uid,
        why=why,
    )


def _alike(frames: Sequence[FrameHeader]) -> tuple[list[Frames], bool]:
    """Parts whose frames can be on one grid and from one reconstruction, the largest first.

    Also whether the frame of reference was used to separate them: a different one for every slice comes from an anonymiser
    and is ignored (PS3.3 C.7.4.1).
    """
    references = {f.frame_of_reference_uid for f in frames}
    use_reference = len(references) <= max(2, len(frames) // 2)
    parts: list[list[FrameHeader]] = []
    # frames that say everything come first; one that says less joins the only part that it fits
    for frame in sorted(frames, key=_unsaid):
        fitting = [part for part in parts if not _differences(part[0], frame, use_reference)]
        if len(fitting) == 1 or (fitting and not _unsaid(frame)):
            fitting[0].append(frame)
        else:
            parts.append([frame])
    parts.sort(key=len, reverse=True)
    return [tuple(part) for part in parts], use_reference


def _unsaid(frame: FrameHeader) -> int:
    return [frame.convolution_kernel, frame.kvp, frame.frame_of_reference_uid].count(None)


def _differences(one: FrameHeader, other: FrameHeader, use_reference: bool) -> list[str]:
    def differ(a: object, b: object) -> bool:
        return a is not None and b is not None and a != b

    spacings = zip(one.pixel_spacing_mm or (), other.pixel_spacing_mm or (), strict=False)
    found = {
        "Rows and Columns": (one.rows, one.columns) != (other.rows, other.columns),
        "Image Orientation": not same_orientation(one.image_orientation, other.image_orientation),
        "Pixel Spacing": not all(isclose(a, b, rel_tol=_SPACING_TOLERANCE_PART) for a, b in spacings),
        "Frame of Reference": use_reference and differ(one.frame_of_reference_uid, other.frame_of_reference_uid),
        "Convolution Kernel": differ(one.convolution_kernel, other.convolution_kernel),
        "KVP": differ(one.kvp, other.kvp),
    }
    return [name for name, is_found in found.items() if is_found]


def _named(frame: FrameHeader, differences: Sequence[str]) -> str:
    """What separates a stack from others of its series, with the value if it is readable."""
    values = {"Convolution Kernel": frame.convolution_kernel, "KVP": frame.kvp}
    return ", ".join(f"{name} {values[name]}" if name in values else f"its {name}" for name in differences)


_Resolved = tuple[list[Stack], list[Reason], list[tuple[Frames, Phrase]]]


def _resolve(frames: Frames, split_by: str, keys: Sequence[Key], limits: Limits) -> _Resolved:
    """Make stacks of frames that differ only in position; split them if they are not one stack."""
    stack, fault = _stack(frames, split_by, limits)
    if fault is None:
        return _one_or_several(stack, keys, limits)
    for number, key in enumerate(keys):
        if key.names_scans or (fault.code == REPEATED and key.separates_repeated):
            split = _split(_groups(frames, key), split_by, keys[number + 1 :], limits)
            if split is not None:
                return split
    if fault.code == REPEATED:
        detail = phrase("{why}, and no attribute separates complete stacks", why=fault.detail)
        return [], [Reason("several_phases_in_one_series", of_part(split_by, detail))], []
    if trimmed := _without_outliers(stack, limits):
        return trimmed
    return [], [Reason(fault.code, of_part(split_by, fault.detail))], []


def _one_or_several(stack: Stack, keys: Sequence[Key], limits: Limits) -> _Resolved:
    """Separate scans whose slices alternate in a stack that looks regular."""
    proof: Key | None = None
    for number, key in enumerate(keys):
        if not alternate(key.labels(stack.frames)):
            continue
        split = _split(_groups(stack.frames, key), stack.split_by, keys[number + 1 :], limits)
        if split is not None and (key.proves or not (split[1] or split[2])):
            return split
        proof = proof or (key if key.proves else None)
    if proof is None:
        return [stack], [], []
    detail = phrase(
        "slices with different {attribute} are interleaved, and no attribute separates complete stacks",
        attribute=proof.name,
    )
    return [], [Reason("several_phases_in_one_series", of_part(stack.split_by, detail))], []


def of_part(split_by: str, detail: Phrase) -> Phrase:
    """A sentence about one stack of several, with what separates it."""
    return joined((split_by, detail), ": ") if split_by else detail


def _stack(frames: Frames, split_by: str, limits: Limits) -> tuple[Stack, Reason | None]:
    positions = np.array([f.image_position_mm for f in frames], dtype=np.float64)
    spacing = frames[0].pixel_spacing_mm
    orientations = [f.image_orientation for f in frames if f.image_orientation is not None]
    if not orientations or spacing is None:
        raise ValueError("frames without geometry are refused before they are stacked")
    plane = plane_of(mean_orientation(orientations), spacing)
    order = order_along(plane.normal, positions)
    stack = Stack(tuple(frames[i] for i in order), plane, positions[order], split_by)
    return stack, stack_fault(plane.normal, stack.positions, limits.max_tilt_deg)


def _groups(frames: Frames, key: Key) -> list[tuple[Frames, str]]:
    groups: dict[Hashable, list[FrameHeader]] = defaultdict(list)
    for frame, label in zip(frames, key.labels(frames), strict=True):
        groups[label].append(frame)
    return [(tuple(group), f"{key.name} {'(none)' if label is None else label}") for label, group in groups.items()]


def _split(groups: Sequence[tuple[Frames, str]], split_by: str, keys: Sequence[Key], limits: Limits) -> _Resolved | None:
    """Resolve groups one by one; ``None`` if the result is no regular stack, so that the groups are meaningless."""
    large = [group for group in groups if len(group[0]) >= limits.min_slices]
    small = [group for group in groups if len(group[0]) < limits.min_slices]
    # many small groups are not strays: the attribute separates slices, not stacks
    if len(groups) < 2 or not large or len(small) > len(large) + 2:
        return None
    stacks: list[Stack] = []
    faults: list[Reason] = []
    strays = [(frames, phrase("{name}, too few for a separate stack", name=name)) for frames, name in small]
    for frames, name in large:
        found, bad, dropped = _resolve(frames, f"{split_by}, {name}" if split_by else name, keys, limits)
        stacks += found
        faults += bad
        strays += dropped
    return (stacks, faults, strays) if stacks else None


def _without_outliers(stack: Stack, limits: Limits) -> _Resolved | None:
    """Drop slices far beyond the ends, if a regular stack remains."""
    far = outliers(stack.plane.normal, stack.positions)
    kept = tuple(f for i, f in enumerate(stack.frames) if i not in far)
    if len(far) == 0 or len(kept) < limits.min_slices:
        return None
    rest, fault = _stack(kept, stack.split_by, limits)
    if fault is not None:
        return None
    places = stack.positions @ stack.plane.normal
    dropped = tuple(stack.frames[i] for i in far)
    where = joined((Phrase("{place:.1f}", {"place": float(places[i])}) for i in far), ", ")
    return [rest], [], [(dropped, phrase("at {where} mm along the slice normal, far from the others", where=where))]
