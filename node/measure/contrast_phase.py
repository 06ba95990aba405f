"""The contrast phase: derived from the attenuation of vessels and kidneys, then compared with the header.

Unenhanced blood has about 37 HU (aorta 37.7, inferior vena cava (IVC) 36.1: 151 patients of a study of anaemia on unenhanced
abdominal CT, from its abstract), 25 to 50 HU from anaemic to healthy. In the arterial phase blood has 290 to 360 HU at its
peak (Radiopaedia, "Late arterial phase"). There is no sharp limit between one phase and the next, and no source gives one:
the limits below are assumptions. They name clear cases, call a phase near a limit probable, and leave the others unknown.
"""

from __future__ import annotations

from node.language.phrase import Phrase, joined, phrase
from node.model import ContrastConclusion, ContrastPhase, Reason, ScanFindingCode, ScanReadings

#: Mean of unenhanced blood.
_PLAIN_BLOOD_HU = 37.0
#: Below the first, blood may be unenhanced (assumption: 50 HU of healthy blood plus the error of a scanner). From the
#: second on it is enhanced. Nothing is concluded between the two.
_PLAIN_UP_TO_HU = 65.0
_CONTRAST_FROM_HU = 80.0
#: Bright kidneys mean contrast only if blood has at least this, as it does for a long time after an injection. Otherwise
#: what looks like a kidney may be bowel with oral contrast. An assumption.
_LATE_BLOOD_HU = 50.0
#: Enhancement of the IVC as a share of that of the aorta. Up to the first, the bolus is just returning from the kidneys;
#: from the second on, the blood is mixed. Assumptions.
_ARTERIAL_SHARE = 0.30
_VENOUS_SHARE = 0.45
#: The aorta has at least the first in an arterial phase, HU: below the renal veins the IVC stays unenhanced for long.
#: From the second on the phase is arterial even if the IVC is not seen. Assumptions, near the published peak.
_ARTERIAL_FROM_HU = 220.0
_SURELY_ARTERIAL_HU = 280.0
#: In a portal venous phase the aorta has at least this, HU. Below it the phase is late or the dose low. An assumption.
_PORTAL_FROM_HU = 100.0
#: Readings of vessels are not more certain than this, HU: a phase that another reading within it would not give is only
#: probable (an assumption).
_READING_HU = 10.0
#: Names of the phases in sentences.
_WORDS = {ContrastPhase.ARTERIAL: phrase("arterial phase"), ContrastPhase.PORTAL_VENOUS: phrase("portal venous phase")}
_PROBABLE_WORDS = {
    ContrastPhase.ARTERIAL: phrase("probably arterial phase"),
    ContrastPhase.PORTAL_VENOUS: phrase("probably portal venous phase"),
}
_RECORDED = {
    ContrastPhase.ARTERIAL: phrase("the header records the arterial phase"),
    ContrastPhase.PORTAL_VENOUS: phrase("the header records the portal venous phase"),
}


def conclude_contrast(
    readings: ScanReadings, header_phase: ContrastPhase, header_agent: str | None
) -> tuple[ContrastConclusion, tuple[Reason, ...]]:
    """Conclude the contrast phase. The image takes precedence over the header.

    The phase of the header is used only if no vessel in the image could contradict it.

    Args:
        readings: from the image.
        header_phase: the phase, if the header clearly names one.
        header_agent: the contrast agent in the header; it may be an oral one.

    Returns:
        The conclusion, and a finding ``contrast_phase`` for the reader; no finding if image and header agree that there is
        no contrast.
    """
    seen, phase, probable = _from_image(readings)
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

    told = (_PROBABLE_WORDS if probable else _WORDS).get(phase, phrase("contrast, phase not known"))
    if phase is ContrastPhase.UNKNOWN and (readings.aorta_hu is None or readings.vena_cava_hu is None):
        phase = header_phase
        told = phrase("{phase} according to the header", phase=_WORDS[phase]) if phase in _WORDS else told
    detail = joined((measured, told), ": ")
    if not header_says_so:
        detail = joined((detail, phrase("the header records no contrast agent")), "; ")
    elif header_phase not in (ContrastPhase.UNKNOWN, phase):
        named = _WORDS.get(header_phase, phrase("a contrast agent"))
        detail = joined((detail, phrase("the header says {phase}", phase=named)), "; ")
    return _with_reason(ContrastConclusion(phase, True, detail, probable))


def _from_image(readings: ScanReadings) -> tuple[bool | None, ContrastPhase, bool]:
    """Whether the image shows contrast (``None``: undetermined), the phase, and whether that is only probable."""
    aorta, cava, kidney = readings.aorta_hu, readings.vena_cava_hu, readings.kidney_hu
    blood = [value for value in (aorta, cava) if value is not None]
    late = kidney is not None and kidney >= _CONTRAST_FROM_HU and any(value >= _LATE_BLOOD_HU for value in blood)
    if late or any(value >= _CONTRAST_FROM_HU for value in blood):
        return True, *_phase(aorta, cava)
    # before the bolus returns, the IVC alone is unenhanced in every phase
    tells = aorta is not None or (cava is not None and kidney is not None)
    if tells and all(value < _PLAIN_UP_TO_HU for value in (*blood, *(() if kidney is None else (kidney,)))):
        return False, ContrastPhase.NONE, False
    return None, ContrastPhase.UNKNOWN, False


def _phase(aorta: float | None, cava: float | None) -> tuple[ContrastPhase, bool]:
    """The phase, and whether it is only probable: the one that readings within their uncertainty give, if they give one."""
    shifts = (-_READING_HU, 0.0, _READING_HU)
    given = {
        _phase_at(None if aorta is None else aorta + a, None if cava is None else cava + c) for a in shifts for c in shifts
    }
    named = given - {ContrastPhase.UNKNOWN}
    if len(named) != 1:
        return ContrastPhase.UNKNOWN, False
    return named.pop(), len(given) > 1


def _phase_at(aorta: float | None, cava: float | None) -> ContrastPhase:
    if aorta is None or aorta < _PORTAL_FROM_HU:
        return ContrastPhase.UNKNOWN
    if cava is None:
        return ContrastPhase.ARTERIAL if aorta >= _SURELY_ARTERIAL_HU else ContrastPhase.UNKNOWN
    share = (cava - _PLAIN_BLOOD_HU) / (aorta - _PLAIN_BLOOD_HU)
    if share <= _ARTERIAL_SHARE and aorta >= _ARTERIAL_FROM_HU:
        return ContrastPhase.ARTERIAL
    return ContrastPhase.PORTAL_VENOUS if share >= _VENOUS_SHARE else ContrastPhase.UNKNOWN


def plausible_kidney_hu(kidney_hu: float | None, aorta_hu: float | None, vena_cava_hu: float | None) -> float | None:
    """The reading of the kidneys; ``None`` if the blood is too dark for it, so that it must be from bowel."""
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
