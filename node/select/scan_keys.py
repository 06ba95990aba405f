"""Attributes that tell the scans in one series apart, and whether their values alternate along a stack.

Two scans whose slices alternate, half a step apart, look like one regular stack. A value that returns after another one
shows them; a value that does not return belongs to a scan in steps along the table, which is one stack. A missing value is
compatible with every other one: programs drop attributes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from node.select.geometry import plane_of
from node.select.headers import FrameHeader

Frames = tuple[FrameHeader, ...]

#: So many frames with the same time are a scan of their own.
_FRAMES_OF_ONE_TIME = 5
#: Two scans are further apart than two slices of one: by this time, and by this many of its usual steps. Assumptions.
_LEAST_PAUSE_S = 3.0
_PAUSE_STEPS = 5.0


@dataclass(frozen=True, slots=True)
class Key:
    """An attribute, or a group of them.

    Attributes:
        name: as in PS3.6.
        labels: one value per frame, in the order of the frames; ``None`` if it is missing.
        names_scans: whether it separates scans or reconstructions even if no position repeats.
        proves: whether values that alternate along a regular stack prove two scans. Times and numbers may come from a
            reconstruction in parallel, or from an archive: they only separate scans that are complete.
        separates_repeated: whether it can tell frames at one position apart; not if it goes by the order of positions.
    """

    name: str
    labels: Callable[[Frames], list[Hashable]]
    names_scans: bool
    proves: bool
    separates_repeated: bool = True


def _plain(name: str, of: Callable[[FrameHeader], Hashable]) -> Key:
    return Key(name, lambda frames: [of(frame) for frame in frames], names_scans=True, proves=True)


def _word(text: str | None) -> str | None:
    return " ".join(text.upper().split()) or None if text else None


def _scanner(frame: FrameHeader) -> str | None:
    parts = (frame.manufacturer, frame.manufacturer_model_name, frame.device_serial_number, frame.station_name)
    return _word(" ".join(part for part in parts if part)) if all(parts) else None


def _time(name: str, of: Callable[[FrameHeader], str | None], proves: bool = False) -> Key:
    def labels(frames: Frames) -> list[Hashable]:
        texts = [of(frame) for frame in frames]
        return clusters(texts, [_seconds(text) for text in texts])

    return Key(name, labels, names_scans=False, proves=proves)


def _seconds(text: str | None) -> float | None:
    """A DICOM time, or one with colons as in ACR-NEMA (PS3.5 table 6.2-1), in seconds of its day."""
    found = re.fullmatch(r"(\d\d)(\d\d)?(\d\d(?:\.\d*)?)?", (text or "").replace(":", "").strip())
    if found is None:
        return None
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return 3600 * hours + 60 * minutes + seconds


def clusters(names: Sequence[Hashable], at_s: Sequence[float | None]) -> list[Hashable]:
    """Name the scan of each frame by a value of it.

    Values that many frames share stand for themselves. Else frames belong together whose times follow one another, as
    those of slices do.

    Args:
        names: the values as they are written.
        at_s: the same as numbers; ``None`` if a value is missing or no number.
    """
    known = sorted({at for at in at_s if at is not None})
    if not known:
        return [None] * len(names)
    counts = [sum(at == one for at in at_s) for one in known]
    if min(counts) >= _FRAMES_OF_ONE_TIME:
        starts = known
    else:
        steps = np.diff(known)
        pause_s = max(_LEAST_PAUSE_S, _PAUSE_STEPS * float(np.median(steps))) if len(steps) else 0.0
        starts = [known[0], *(b for a, b in pairwise(known) if b - a > pause_s)]
        if len(starts) * _FRAMES_OF_ONE_TIME > len(names):
            return [None] * len(names)  # times at random, as an anonymiser writes them
    first_name = {start: next(name for name, at in zip(names, at_s, strict=True) if at == start) for start in starts}
    return [None if at is None else first_name[max(start for start in starts if start <= at)] for at in at_s]


def _runs(frames: Frames) -> list[Hashable]:
    """Cut frames in the order of Instance Number where the position jumps back to the start.

    The number is not a position, but a scanner that numbers one phase after the other leaves exactly one jump between
    them.
    """
    numbers = [frame.instance_number for frame in frames]
    unknown: list[Hashable] = [None] * len(frames)
    first = frames[0]
    if None in numbers or len(set(numbers)) < len(numbers) or first.image_orientation is None:
        return unknown
    order = sorted(range(len(frames)), key=lambda i: numbers[i] or 0)
    normal = plane_of(first.image_orientation, first.pixel_spacing_mm or (1.0, 1.0)).normal
    steps = np.diff(np.array([frames[i].image_position_mm for i in order], dtype=np.float64) @ normal)
    forward = np.sign(np.median(steps))
    cuts = [0, *(int(i) + 1 for i in np.flatnonzero(np.sign(steps) != forward)), len(order)]
    labels = unknown
    for start, end in pairwise(cuts):
        for i in order[start:end]:
            labels[i] = f"{numbers[order[start]]} to {numbers[order[end - 1]]}"
    return labels


def _twice(frames: Frames) -> list[Hashable]:
    """Two scans that are numbered alike: every number occurs twice. Named by the order of the frames."""
    numbers = [frame.instance_number for frame in frames]
    if None in numbers or any(numbers.count(number) != 2 for number in set(numbers)):
        return [None] * len(frames)
    return ["once" if numbers[:i].count(number) == 0 else "again" for i, number in enumerate(numbers)]


#: Attributes that separate the stacks of one series, the most reliable first.
KEYS = (
    _plain("Acquisition Number", lambda f: f.acquisition_number),
    _plain("Temporal Position", lambda f: f.temporal_position),
    _plain("Image Type", lambda f: "\\".join(f.image_type)),
    _plain("Slice Thickness", lambda f: None if f.slice_thickness_mm is None else round(f.slice_thickness_mm, 2)),
    _plain("Contrast/Bolus Agent", lambda f: _word(f.contrast_bolus_agent)),
    _plain("Series Number", lambda f: f.series_number),
    _plain("Irradiation Event UID", lambda f: f.irradiation_event_uid),
    _plain("Protocol Name", lambda f: _word(f.protocol_name)),
    _plain("Series Description", lambda f: _word(f.series_description)),
    _plain("Patient Position", lambda f: f.patient_position),
    _plain("scanner", _scanner),
    Key(
        "Trigger Time",
        lambda frames: clusters([f.trigger_time_ms for f in frames], [f.trigger_time_ms for f in frames]),
        names_scans=False,
        proves=False,
    ),
    _time("Acquisition Time", lambda f: f.acquisition_time, proves=True),
    _time("Content Time", lambda f: f.content_time),
    _time("Series Time", lambda f: f.series_time),
    Key("Instance Number", _runs, names_scans=False, proves=False),
    Key("Instance Number", _twice, names_scans=False, proves=False, separates_repeated=False),
)


def alternate(labels: Sequence[Hashable]) -> bool:
    """Whether a value returns after another one. Missing values are passed over."""
    known = [label for label in labels if label is not None]
    changes = sum(a != b for a, b in pairwise(known))
    return changes > max(0, len(set(known)) - 1)
