"""Header facts of a whole stack."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from node.language.phrase import Phrase, phrase
from node.model import ContrastPhase, SeriesFacts
from node.select.admission import hu_doubt, is_multi_energy
from node.select.geometry import orientation_of
from node.select.grouping import Stack
from node.select.headers import FrameHeader

#: Tube voltages of clinical scanners are well inside; headers also contain invalid values such as 0.6.
_MIN_KVP = 40.0
_MAX_KVP = 200.0

_NO_AGENT = re.compile(r"^(no|none|nil|n/?a|without|ohne|nativ|-+|0)\b", re.IGNORECASE)
_ORAL_ONLY = re.compile(r"^(oral|po|p\.o\.|rectal|water|gastro\w*)$", re.IGNORECASE)
_CONTRAST_WORDS = re.compile(
    r"\b(arteri\w*|portal\w*|venous|ven[oö]s|post ?(contrast|kontrast|km)|delayed|nephro\w*|(mit|with) (km|contrast)|c\+|ce)"
    r"(?!\w)",
    re.IGNORECASE,
)
_ARTERIAL = re.compile(r"\barteri", re.IGNORECASE)
_PORTAL_VENOUS = re.compile(r"\bport(al|o)|\bven(ous|ös|oes)", re.IGNORECASE)

_T = TypeVar("_T")


def facts_of(stack: Stack, accepted_image_types: Sequence[str] = ()) -> SeriesFacts:
    """Facts of a regular stack. A value that differs between its frames counts as absent.

    What is missing in some frames does not differ: programs drop attributes of the scanner.

    Args:
        stack: from :func:`node.select.grouping.stacks_of_series`.
        accepted_image_types: Image Types that the site takes for true HU.
    """
    frames, first = stack.frames, stack.frames[0]
    distance_mm = float((stack.positions[-1] - stack.positions[0]) @ stack.plane.normal) / (len(frames) - 1)
    return SeriesFacts(
        study_instance_uid=first.study_instance_uid,
        series_instance_uid=first.series_instance_uid,
        frame_of_reference_uid=_common(frames, lambda f: f.frame_of_reference_uid),
        manufacturer=_stated(frames, lambda f: f.manufacturer),
        manufacturer_model_name=_stated(frames, lambda f: f.manufacturer_model_name),
        kvp=_kvp(frames),
        convolution_kernel=_stated(frames, lambda f: f.convolution_kernel),
        slice_thickness_mm=_stated(frames, lambda f: f.slice_thickness_mm),
        spacing_mm=(stack.plane.column_distance_mm, stack.plane.row_distance_mm, distance_mm),
        orientation=orientation_of(stack.plane.normal),
        contrast_bolus_agent=_stated(frames, lambda f: f.contrast_bolus_agent),
        contrast_phase=_phase(next((f for f in frames if contrast_sign(f)), first)),
        series_number=_stated(frames, lambda f: f.series_number),
        series_description=_stated(frames, lambda f: f.series_description),
        device_serial_number=_stated(frames, lambda f: f.device_serial_number),
        station_name=_stated(frames, lambda f: f.station_name),
        acquisition_date=_common(frames, lambda f: f.acquisition_date),
        multi_energy=any(map(is_multi_energy, frames)),
        patient_age_years=_common(frames, lambda f: f.patient_age_years),
        patient_sex=_common(frames, lambda f: f.patient_sex),
        hu_doubt=next((doubt for f in frames if (doubt := hu_doubt(f, accepted_image_types))), None),
    )


def kvp_note(frames: Sequence[FrameHeader]) -> Phrase | None:
    """Why the tube voltage of a stack is not taken from its header; ``None`` if it is."""
    if any(map(is_multi_energy, frames)):
        return phrase("made from several energies, so its KVP selects no equation")
    if _kvp(frames) is not None:
        return None
    named = sorted({f.kvp for f in frames if f.kvp is not None})
    if not named:
        return phrase("the header has no KVP")
    return phrase("KVP {named} is not a tube voltage", named=", ".join(f"{kvp:g}" for kvp in named))


def contrast_sign(frame: FrameHeader) -> Phrase | None:
    """The sign of intravenous contrast in a header. ``None`` does not exclude contrast: an empty header proves nothing."""
    agent, route = frame.contrast_bolus_agent, frame.contrast_bolus_route
    if agent and not _NO_AGENT.match(agent) and not (_ORAL_ONLY.match(agent) or (route and _ORAL_ONLY.match(route))):
        return phrase("contrast agent in the header")
    if route and not _NO_AGENT.match(route) and not _ORAL_ONLY.match(route):
        return phrase("route of contrast administration in the header")
    if found := _CONTRAST_WORDS.search((frame.series_description or "").replace("_", " ")):
        return phrase("the series description contains the word '{word}'", word=found.group())
    return None


def _kvp(frames: Sequence[FrameHeader]) -> float | None:
    kvp = _stated(frames, lambda f: f.kvp)
    if kvp is None or not _MIN_KVP <= kvp <= _MAX_KVP or any(map(is_multi_energy, frames)):
        return None
    return kvp


def _phase(frame: FrameHeader) -> ContrastPhase:
    """The phase, if the header is clear: contrast was given, and the series is named after exactly one phase."""
    description = frame.series_description or ""
    arterial = _ARTERIAL.search(description) is not None
    portal_venous = _PORTAL_VENOUS.search(description) is not None
    if not (frame.contrast_bolus_agent or frame.contrast_bolus_route) or arterial == portal_venous:
        return ContrastPhase.UNKNOWN
    return ContrastPhase.ARTERIAL if arterial else ContrastPhase.PORTAL_VENOUS


def _common(frames: Sequence[FrameHeader], value_of: Callable[[FrameHeader], _T | None]) -> _T | None:
    values = {value_of(frame) for frame in frames}
    return values.pop() if len(values) == 1 else None


def _stated(frames: Sequence[FrameHeader], value_of: Callable[[FrameHeader], _T | None]) -> _T | None:
    """The one value that frames state, whether or not all of them do."""
    values = {value for frame in frames if (value := value_of(frame)) is not None}
    return values.pop() if len(values) == 1 else None
