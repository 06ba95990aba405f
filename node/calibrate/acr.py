"""ACR categories of lumbar trabecular BMD."""

from __future__ import annotations

from node.model import ACR_THRESHOLDS_MG_CM3, AcrCategory

OSTEOPOROSIS_BELOW_MG_CM3, NORMAL_ABOVE_MG_CM3 = ACR_THRESHOLDS_MG_CM3


def acr_category(bmd_mg_cm3: float) -> AcrCategory:
    """Category of a mean BMD: < 80 osteoporosis, 80 to 120 inclusive low bone mass, > 120 normal (mg/cm3)."""
    if bmd_mg_cm3 < OSTEOPOROSIS_BELOW_MG_CM3:
        return AcrCategory.OSTEOPOROSIS
    if bmd_mg_cm3 > NORMAL_ABOVE_MG_CM3:
        return AcrCategory.NORMAL
    return AcrCategory.LOW_BONE_MASS


def thresholds_crossed(lower_mg_cm3: float, upper_mg_cm3: float) -> tuple[float, ...]:
    """Category thresholds that an interval crosses; an end exactly on a threshold belongs to low bone mass."""
    crossed = []
    if lower_mg_cm3 < OSTEOPOROSIS_BELOW_MG_CM3 <= upper_mg_cm3:
        crossed.append(OSTEOPOROSIS_BELOW_MG_CM3)
    if lower_mg_cm3 <= NORMAL_ABOVE_MG_CM3 < upper_mg_cm3:
        crossed.append(NORMAL_ABOVE_MG_CM3)
    return tuple(crossed)
