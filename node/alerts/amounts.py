"""How alerts write a BMD."""

from __future__ import annotations

from node.model import ACR_THRESHOLDS_MG_CM3
from node.model.rounding import coarsest
from node.settings.alert import AlertSettings

#: The cut of Löffler MT et al., Front Endocrinol 2021;11:552719, mg/cm3.
STUDY_CUT_MG_CM3 = 81.8


def bmd_text(value_mg_cm3: float | None, settings: AlertSettings) -> str:
    """Whole mg/cm3, or more digits if rounding would move the value across a limit in the text; empty for ``None``.

    A mean of 79.97 is below 80; written as 80 it would contradict its own category.
    """
    if value_mg_cm3 is None:
        return ""
    limits = (*ACR_THRESHOLDS_MG_CM3, STUDY_CUT_MG_CM3, settings.bmd_below_mg_cm3)
    found = coarsest(
        value_mg_cm3, 0, lambda value: tuple(side for limit in limits for side in (value < limit, value > limit))
    )
    return repr(value_mg_cm3) if found is None else f"{found[0]:.{found[1]}f}"
