"""Header facts of a whole stack, of all its images: what happens where they differ is in ``docs/identity.md``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

from node.clinical.age import Age
from node.language.phrase import Phrase, phrase
from node.model import AgeDoubt, ContrastPhase, Reason, SeriesFacts
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
    age = _age(frames)
    distance_mm = float((stack.positions[-1] - stack.positions[0]) @ stack.plane.normal) / (len(frames) - 1)
    return SeriesFacts(
        study_instance_uid=first.study_instance_uid,
        series_instance_uid=first.series_instance_uid,
        frame_of_reference_uid=_common(frames, lambda f: f.frame_of_reference_uid),
        manufacturer=_agreed(frames, lambda f: f.manufacturer, plain),
        manufacturer_model_name=_agreed(frames, lambda f: f.manufacturer_model_name, plain),
        kvp=_kvp(frames),
        convolution_kernel=_agreed(frames, lambda f: f.convolution_kernel, plain),
        slice_thickness_mm=_stated(frames, lambda f: f.slice_thickness_mm),
        spacing_mm=(stack.plane.column_distance_mm, stack.plane.row_distance_mm, distance_mm),
        orientation=orientation_of(stack.plane.normal),
        contrast_bolus_agent=_agent(frames),
        contrast_phase=_phase(frames),
        series_number=_stated(frames, lambda f: f.series_number),
        series_description=_stated(frames, lambda f: f.series_description),
        device_serial_number=_agreed(frames, lambda f: f.device_serial_number, plain),
        station_name=_agreed(frames, lambda f: f.station_name, plain),
        acquisition_date=_agreed(frames, lambda f: f.acquisition_date, lambda day: day),
        multi_energy=any(map(is_multi_energy, frames)),
        patient_age_years=age.years,
        patient_sex=_agreed(frames, lambda f: f.patient_sex, lambda sex: sex),
        age_doubt=age.doubt,
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
    if _agreed(frames, lambda f: f.kvp, float) is None:
        return phrase("the images do not agree on KVP ({named})", named=", ".join(f"{kvp:g}" for kvp in named))
    return phrase("KVP {named} is not a tube voltage", named=", ".join(f"{kvp:g}" for kvp in named))


def header_remarks(frames: Sequence[FrameHeader]) -> tuple[Reason, ...]:
    """What an administrator should know: attributes that some images lack, or in which they differ. Without values."""
    differing, lacking = [], []
    for name, value_of in _COMPARED.items():
        stated = {plain(str(value)) for f in frames if (value := value_of(f)) is not None}
        if len(stated) > 1:
            differing.append(name)
        elif stated and any(value_of(f) is None for f in frames):
            lacking.append(name)
    found = []
    if differing:
        said = phrase("the images of the measured series differ in {attributes}", attributes=", ".join(differing))
        found.append(Reason("headers_differ", said))
    if lacking:
        said = phrase("some images of the measured series lack {attributes}", attributes=", ".join(lacking))
        found.append(Reason("headers_incomplete", said))
    return tuple(found)


def contrast_sign(frames: Sequence[FrameHeader]) -> Phrase | None:
    """The sign of intravenous contrast in any header of a stack: contrast that one image names was given.

    ``None`` does not exclude contrast: an empty header proves nothing.
    """
    return next((sign for frame in frames if (sign := _sign(frame)) is not None), None)


def _sign(frame: FrameHeader) -> Phrase | None:
    agent, route = frame.contrast_bolus_agent, frame.contrast_bolus_route
    if agent and not _NO_AGENT.match(agent) and not (_ORAL_ONLY.match(agent) or (route and _ORAL_ONLY.match(route))):
        return phrase("contrast agent in the header")
    if route and not _NO_AGENT.match(route) and not _ORAL_ONLY.match(route):
        return phrase("route of contrast administration in the header")
    if found := _CONTRAST_WORDS.search((frame.series_description or "").replace("_", " ")):
        return phrase("the series description contains the word '{word}'", word=found.group())
    return None


def _kvp(frames: Sequence[FrameHeader]) -> float | None:
    kvp = _agreed(frames, lambda f: f.kvp, float)
    if kvp is None or not _MIN_KVP <= kvp <= _MAX_KVP or any(map(is_multi_energy, frames)):
        return None
    return kvp


def _agent(frames: Sequence[FrameHeader]) -> str | None:
    """The agent; of several, or beside images that state none, the first that is named."""
    named = [f.contrast_bolus_agent for f in frames if f.contrast_bolus_agent]
    return next((agent for agent in named if not _NO_AGENT.match(agent)), named[0] if named else None)


def _phase(frames: Sequence[FrameHeader]) -> ContrastPhase:
    """The phase, if the headers are clear: contrast was given, and the series is named after exactly one phase."""
    descriptions = " ".join(sorted({f.series_description or "" for f in frames}))
    arterial = _ARTERIAL.search(descriptions) is not None
    portal_venous = _PORTAL_VENOUS.search(descriptions) is not None
    if not any(f.contrast_bolus_agent or f.contrast_bolus_route for f in frames) or arterial == portal_venous:
        return ContrastPhase.UNKNOWN
    return ContrastPhase.ARTERIAL if arterial else ContrastPhase.PORTAL_VENOUS


def _age(frames: Sequence[FrameHeader]) -> Age:
    """The age at the scan. An image that contradicts itself makes it unknown; ages a birthday apart are one."""
    doubts = [f.patient_age.doubt for f in frames]
    if AgeDoubt.CONTRADICTION in doubts:
        return Age(None, AgeDoubt.CONTRADICTION)
    years = [f.patient_age.years for f in frames if f.patient_age.years is not None]
    if 2 * len(years) < len(frames) or not years:
        return Age(None, next((doubt for doubt in doubts if doubt is not None), None))
    return Age(min(years)) if max(years) - min(years) <= 1.0 else Age(None, AgeDoubt.VARIES)


def plain(text: str) -> str:
    """A text without padding, doubled blanks and case: the same value, however it is written."""
    return " ".join(text.replace("\0", " ").casefold().split())


#: Attributes that are compared for the administrator; those of the patient are in :mod:`node.select.patients`.
_COMPARED: dict[str, Callable[[FrameHeader], object]] = {
    "Accession Number": lambda f: f.accession_number,
    "Study Date": lambda f: f.study_date,
    "Study ID": lambda f: f.study_id,
    "Contrast/Bolus Agent": lambda f: f.contrast_bolus_agent,
    "KVP": lambda f: f.kvp,
    "Manufacturer": lambda f: f.manufacturer,
    "Manufacturer's Model Name": lambda f: f.manufacturer_model_name,
    "Device Serial Number": lambda f: f.device_serial_number,
    "Convolution Kernel": lambda f: f.convolution_kernel,
}


def _agreed(
    frames: Sequence[FrameHeader], value_of: Callable[[FrameHeader], _T | None], plain_of: Callable[[_T], object]
) -> _T | None:
    """The value of all frames that state one, in its most frequent form, if at least half do."""
    stated = [value for frame in frames if (value := value_of(frame)) is not None]
    if 2 * len(stated) < len(frames) or len({plain_of(value) for value in stated}) != 1:
        return None
    return Counter(stated).most_common(1)[0][0]


def _common(frames: Sequence[FrameHeader], value_of: Callable[[FrameHeader], _T | None]) -> _T | None:
    values = {value_of(frame) for frame in frames}
    return values.pop() if len(values) == 1 else None


def _stated(frames: Sequence[FrameHeader], value_of: Callable[[FrameHeader], _T | None]) -> _T | None:
    """The one value that frames state, whether or not all of them do."""
    values = {value for frame in frames if (value := value_of(frame)) is not None}
    return values.pop() if len(values) == 1 else None
