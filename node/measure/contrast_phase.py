"""The contrast phase: concluded from what the vessels and kidneys measure, then held against the header.

Unenhanced blood has about 37 HU (aorta 37.7, inferior vena cava 36.1: 151 patients of a study of anaemia on unenhanced
abdominal CT, by its abstract), 25 to 50 HU from anaemic to healthy; enhanced blood in the arterial phase 290 to 360 HU at
its peak (Radiopaedia, "Late arterial phase"). Between a phase and the next there is no sharp limit, and no source was found
that gives one: the limits below are assumptions, set so that clear cases are named and the rest is not.
"""

from __future__ import annotations

from node.language.phrase import Phrase, joined, phrase
from node.model import ContrastConclusion, ContrastPhase, Reason, ScanFindingCode, ScanReadings

#: Mean of unenhanced blood.
_PLAIN_BLOOD_HU = 37.0
#: Up to here blood may be unenhanced (assumption: 50 HU of healthy blood, and what a scanner may be off), from there on it
#: holds contrast; between the two nothing is concluded.
_PLAIN_UP_TO_HU = 65.0
_CONTRAST_FROM_HU = 80.0
#: Bright kidneys mean contrast if the blood has at least this, as it has until long after. With blood as plain as most
#: unenhanced blood is, or none seen, what looks like a kidney may be bowel with oral contrast agent. An assumption.
_LATE_BLOOD_HU = 50.0
#: Enhancement of the vena cava as a share of that of the aorta: up to the first the bolus has just come back from the
#: kidneys; from the second on both hold the same blood, more or less mixed. Assumptions.
_ARTERIAL_SHARE = 0.30
_VENOUS_SHARE = 0.45
#: An aorta of an arterial phase has at least this, HU: a vena cava that is seen only below the renal veins stays plain for
#: long after. One that has the second is arterial where no vena cava is seen. Assumptions, next to the published peak.
_ARTERIAL_FROM_HU = 220.0
_SURELY_ARTERIAL_HU = 280.0
#: In a portal venous phase the aorta has at least this, HU; below it is a late phase, or little was given. An assumption.
_PORTAL_FROM_HU = 100.0
#: Names of the phases as sentences have them.
_WORDS = {ContrastPhase.ARTERIAL: phrase("arterial phase"), ContrastPhase.PORTAL_VENOUS: phrase("portal venous phase")}
_RECORDED = {
    ContrastPhase.ARTERIAL: phrase("the header records the arterial phase"),
    ContrastPhase.PORTAL_VENOUS: phrase("the header records the portal venous phase"),
}


def conclude_contrast(
    readings: ScanReadings, header_phase: ContrastPhase, header_agent: str | None
) -> tuple[ContrastConclusion, tuple[Reason, ...]]:
    """Conclude the contrast phase; the image goes before the header.

    Only where the image shows no vessel that could contradict it does the phase of the header stand.

    Args:
        readings: what the image says.
        header_phase: the phase, where the header is clear about one.
        header_agent: the contrast agent that the header names; it may be one that was drunk.

    Returns:
        The conclusion, and what a reader should know of it (code ``contrast_phase``): nothing if image and header agree that
        there is no contrast.
    """
    seen, phase = _from_image(readings)
    header_says_so = header_phase is not ContrastPhase.UNKNOWN or bool(header_agent)
    recorded = _RECORDED.get(header_phase, phrase("the header records a contrast agent"))
    measured = _measured(readings)
    if seen is None:
        if header_says_so and measured:
            detail = phrase("{recorded}; {measured}: not enough to confirm it", recorded=recorded, measured=measured)
        elif header_says_so:
            detail = phrase("{recorded}; vessels and kidneys could not be read to confirm it", recorded=recorded)
        else:
            read = measured or phrase("aorta, IVC and kidneys could not be read")
            detail = phrase("neither the image nor the header shows whether contrast was given ({read})", read=read)
        return _with_reason(ContrastConclusion(header_phase, True if header_says_so else None, detail))
    if not seen:
        if not header_says_so:
            return ContrastConclusion(ContrastPhase.NONE, False, phrase("{measured}: no contrast", measured=measured)), ()
        detail = phrase(
            "{recorded}, but the image shows no contrast in the vessels ({measured}): treated as unenhanced",
            recorded=recorded,
            measured=measured,
        )
        return _with_reason(ContrastConclusion(ContrastPhase.NONE, False, detail))

    told = _WORDS.get(phase, phrase("contrast, phase not known"))
    if phase is ContrastPhase.UNKNOWN and (readings.aorta_hu is None or readings.vena_cava_hu is None):
        phase = header_phase
        told = phrase("{phase} according to the header", phase=_WORDS[phase]) if phase in _WORDS else told
    detail = joined((measured, told), ": ")
    if not header_says_so:
        detail = joined((detail, phrase("the header records no contrast agent")), "; ")
    elif header_phase not in (ContrastPhase.UNKNOWN, phase):
        named = _WORDS.get(header_phase, phrase("a contrast agent"))
        detail = joined((detail, phrase("the header says {phase}", phase=named)), "; ")
    return _with_reason(ContrastConclusion(phase, True, detail))


def _from_image(readings: ScanReadings) -> tuple[bool | None, ContrastPhase]:
    """Whether the image shows contrast (``None``: it does not tell), and in which phase."""
    aorta, cava, kidney = readings.aorta_hu, readings.vena_cava_hu, readings.kidney_hu
    blood = [value for value in (aorta, cava) if value is not None]
    late = kidney is not None and kidney >= _CONTRAST_FROM_HU and any(value >= _LATE_BLOOD_HU for value in blood)
    if late or any(value >= _CONTRAST_FROM_HU for value in blood):
        return True, _phase(aorta, cava)
    # before the bolus comes back a vena cava alone is plain in every phase
    tells = aorta is not None or (cava is not None and kidney is not None)
    if tells and all(value < _PLAIN_UP_TO_HU for value in (*blood, *(() if kidney is None else (kidney,)))):
        return False, ContrastPhase.NONE
    return None, ContrastPhase.UNKNOWN


def _phase(aorta: float | None, cava: float | None) -> ContrastPhase:
    if aorta is None or aorta < _PORTAL_FROM_HU:
        return ContrastPhase.UNKNOWN
    if cava is None:
        return ContrastPhase.ARTERIAL if aorta >= _SURELY_ARTERIAL_HU else ContrastPhase.UNKNOWN
    share = (cava - _PLAIN_BLOOD_HU) / (aorta - _PLAIN_BLOOD_HU)
    if share <= _ARTERIAL_SHARE and aorta >= _ARTERIAL_FROM_HU:
        return ContrastPhase.ARTERIAL
    return ContrastPhase.PORTAL_VENOUS if share >= _VENOUS_SHARE else ContrastPhase.UNKNOWN


def plausible_kidney_hu(kidney_hu: float | None, aorta_hu: float | None, vena_cava_hu: float | None) -> float | None:
    """The reading of the kidneys, or ``None`` where the blood is too plain for it: then it was bowel that was read."""
    blood = [value for value in (aorta_hu, vena_cava_hu) if value is not None]
    if kidney_hu is None or kidney_hu < _CONTRAST_FROM_HU or not blood or max(blood) >= _LATE_BLOOD_HU:
        return kidney_hu
    return None


def _measured(readings: ScanReadings) -> Phrase:
    parts: list[Phrase] = []
    if readings.aorta_hu is not None:
        parts.append(phrase("aorta {hu:.0f} HU", hu=readings.aorta_hu))
    if readings.vena_cava_hu is not None:
        parts.append(phrase("IVC {hu:.0f} HU", hu=readings.vena_cava_hu))
    if readings.kidney_hu is not None:
        parts.append(phrase("kidneys {hu:.0f} HU", hu=readings.kidney_hu))
    return joined(parts, ", ")


def _with_reason(conclusion: ContrastConclusion) -> tuple[ContrastConclusion, tuple[Reason, ...]]:
    return conclusion, (Reason(ScanFindingCode.CONTRAST_PHASE, conclusion.detail),)
