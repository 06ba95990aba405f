"""Every finding code has an effect, and every effect in the settings belongs to a code."""

from __future__ import annotations

from typing import Any, get_type_hints

import pytest

from node.measure.effects import level_effect, scan_effect
from node.model import LevelFindingCode, ScanFindingCode
from node.settings.tree import LevelEffect, QualitySettings, ScanEffect

#: Codes whose effect cannot be set.
FIXED = {
    LevelFindingCode.TRUNCATED: "exclude",
    LevelFindingCode.REGION_TOO_SMALL: "exclude",
    LevelFindingCode.FORM_NOT_JUDGED: "flag",
    ScanFindingCode.CONTRAST_PHASE: "flag",
    ScanFindingCode.HU_SCALE: "flag",
    ScanFindingCode.HU_NOT_CERTAIN: "flag",
}
CODES: list[LevelFindingCode | ScanFindingCode] = [*LevelFindingCode, *ScanFindingCode]


def settings_of(kind: Any) -> set[str]:
    """Names of the quality settings of one type."""
    return {name for name, hint in get_type_hints(QualitySettings).items() if hint == kind}


def effect_of(code: LevelFindingCode | ScanFindingCode, quality: QualitySettings) -> str:
    return level_effect(code, quality) if isinstance(code, LevelFindingCode) else scan_effect(code, quality)


@pytest.mark.parametrize(("codes", "kind"), [(LevelFindingCode, LevelEffect), (ScanFindingCode, ScanEffect)])
def test_codes_and_settings_belong_together(codes: Any, kind: Any) -> None:
    assert {str(code) for code in codes if code not in FIXED} == settings_of(kind)


@pytest.mark.parametrize("code", CODES)
def test_a_code_follows_the_setting_of_its_name_and_no_other(code: LevelFindingCode | ScanFindingCode) -> None:
    names = settings_of(LevelEffect) | settings_of(ScanEffect)
    flagging = QualitySettings.model_validate(dict.fromkeys(names, "flag"))
    for name in names:
        refusing = flagging.model_copy(update={name: "refuse"})
        expected = FIXED.get(code, "refuse" if name == code else "flag")
        assert effect_of(code, refusing) == expected
