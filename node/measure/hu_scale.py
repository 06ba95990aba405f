"""Whether the scale of a CT is that of Hounsfield units, so that a bone density may be concluded from it.

The remark ``air`` tells a reader that a scanner drifts, and a site sets its tolerance. This is about values that are wrong
by a constant (an intercept of -1000 for -1024) or have no room: no setting changes it.
"""

from __future__ import annotations

from node.language.phrase import Phrase, phrase
from node.model import Reason, ScanFindingCode, ScanReadings

#: Air is at -1000 HU by definition. In nine real series it read -997 to -1007; faults of an intercept are 24 HU
#: and more.
_AIR_HU = -1000.0
_AIR_LIMIT_HU = 15.0
#: Subcutaneous fat read -92 to -110 HU in ten real series of 120 kVp; low voltages darken it. Used where no air is read.
_FAT_HU = (-125.0, -85.0)
#: Muscle beside the spine, read where neither air nor skin is in view: 40 to 69 HU in the same series, less with fat in it.
_MUSCLE_HU = (-5.0, 100.0)


def off_scale(readings: ScanReadings, scale_doubt: Phrase | None) -> Reason | None:
    """The finding ``hu_scale``: values that are not on the scale of Hounsfield units, or that nothing shows to be.

    Air decides if it is in view, else fat, else muscle.

    Args:
        readings: of the image.
        scale_doubt: what the frequencies of the values say against it.
    """
    said = scale_doubt or _reading(readings)
    if said is None:
        return None
    detail = phrase("the HU scale is off or unknown ({what}): no bone density is concluded from it", what=said)
    return Reason(ScanFindingCode.HU_SCALE, detail)


def _reading(readings: ScanReadings) -> Phrase | None:
    if readings.air_hu is not None:
        if abs(readings.air_hu - _AIR_HU) > _AIR_LIMIT_HU:
            return phrase("air around the patient measures {air:.0f} HU instead of -1000 HU", air=readings.air_hu)
        return None
    if readings.fat_hu is not None:
        if not _FAT_HU[0] <= readings.fat_hu <= _FAT_HU[1]:
            return phrase("fat measures {fat:.0f} HU, and no air is in view", fat=readings.fat_hu)
        return None
    if readings.muscle_hu is None:
        return phrase("neither air nor fat nor muscle can be read")
    if not _MUSCLE_HU[0] <= readings.muscle_hu <= _MUSCLE_HU[1]:
        return phrase("muscle measures {muscle:.0f} HU, and neither air nor fat is in view", muscle=readings.muscle_hu)
    return None
