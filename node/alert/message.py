"""What the surgeon reads: plain English text, the conclusion first.

Only numbers of the result, the settings' own words, accession number and link go in: never the order's texts, which people
write and which may name the patient.
"""

from __future__ import annotations

import math
import textwrap
from urllib.parse import quote

from node.alert.order import FoundWord
from node.alert.values import OrderText
from node.model import MEASURED_LEVELS, AcrCategory, ContrastPhase, Level, StudyResult
from node.settings import AlertSettings

#: The cut of Löffler MT et al., Front Endocrinol 2021;11:552719, mg/cm3.
STUDY_CUT_MG_CM3 = 81.8
_ACR_LIMITS_MG_CM3 = (80.0, 120.0)
_RANGES = {
    AcrCategory.OSTEOPOROSIS: "below 80: osteoporosis range (ACR)",
    AcrCategory.LOW_BONE_MASS: "80 to 120: low bone mass range (ACR)",
    AcrCategory.NORMAL: "above 120: normal range (ACR)",
}
_SHORT_RANGES = {
    AcrCategory.OSTEOPOROSIS: "osteoporosis range",
    AcrCategory.LOW_BONE_MASS: "low bone mass range",
    AcrCategory.NORMAL: "normal range",
}
#: Sensitivity and specificity are those that fit the article's own counts: 13 of 23 cases, 21 of 23 controls.
_EVIDENCE = (
    "In one retrospective study of 46 patients with semi-rigid instrumentation (23 with screw loosening, 23 without), BMD "
    "below 81.8 mg/cm3 best separated screw loosening: AUC 0.769, 95 % CI 0.634 to 0.905. By the counts of the article the "
    "sensitivity is 56.5 % and the specificity 91.3 %; the article prints them the other way round.",
    "This is weak evidence: few patients, one scanner, cases matched with controls, and a cut chosen and tried on the same "
    "patients. It gives no risk for a single patient and says nothing about rigid constructs.",
    "Source: Löffler MT et al., Front Endocrinol 2021;11:552719.",
)
_OPTIONS = (
    "cement-augmented screws",
    "a longer construct",
    "antiresorptive treatment",
    "DXA or QCT to confirm",
)
_WIDTH = 76


def message_for(
    result: StudyResult, order: OrderText, found: FoundWord, settings: AlertSettings, alert_id: str
) -> tuple[str, str]:
    """Subject and text of an alert.

    Args:
        result: with a mean BMD and a category.
        found: the word that tells the operation.
    """
    bmd, category = result.bmd.bmd_mg_cm3, result.bmd.category
    if bmd is None or category is None:
        raise ValueError("an alert needs a mean BMD and a category")
    value = _bmd_text(bmd, settings)
    accession = _one_line(order.accession_number) or "not known"
    subject = f"Mean BMD {value} mg/cm3 ({_SHORT_RANGES[category]}); spine surgery planned? Accession {accession}"
    interval = result.bmd.interval_mg_cm3
    conclusion = [f"Mean BMD {_levels_text(result)}: {value} mg/cm3, {_RANGES[category]}."]
    if interval is not None:
        low, high = (_bmd_text(end, settings) for end in interval)
        conclusion.append(f"{'Borderline: interval' if result.bmd.borderline else 'Interval'} {low} to {high} mg/cm3.")
    conclusion.append(_cut_sentence(bmd, settings))
    blocks = [
        _paragraph(" ".join(conclusion)),
        _paragraph(
            f'Planned operation: the imaging order contains "{found.word}" ({found.field}). '
            "The planned operation is inferred from the imaging order only; its date, levels and surgeon are not known."
        ),
        _list("Levels", _levels(result, settings)),
        "\n".join(["Evidence", *(_paragraph(sentence) for sentence in _EVIDENCE)]),
        _list("Options named in the literature", _OPTIONS),
        _list("Doubts of the result", _doubts(result)),
        "\n".join([f"Accession number: {accession}", f"Images: {_link(order, settings)}"]),
        _paragraph(
            "Screening estimate; the decision is the surgeon's. ACR categories apply to post-menopausal women and older men."
        ),
        f"Alert {alert_id}\nA repeat of this message has the same number.",
    ]
    return subject, "\n\n".join(blocks) + "\n"


def _cut_sentence(bmd_mg_cm3: float, settings: AlertSettings) -> str:
    study = "Below" if bmd_mg_cm3 < STUDY_CUT_MG_CM3 else "Not below"
    sentence = f"{study} {STUDY_CUT_MG_CM3} mg/cm3, the study's cut for screw loosening."
    if settings.bmd_below_mg_cm3 != STUDY_CUT_MG_CM3 and bmd_mg_cm3 < settings.bmd_below_mg_cm3:
        sentence += f" Below {settings.bmd_below_mg_cm3:g} mg/cm3, the limit that this site has set."
    return sentence


def _bmd_text(value_mg_cm3: float, settings: AlertSettings) -> str:
    """Whole mg/cm3, or finer where rounding would move the value across a limit that the text speaks of.

    A mean of 79.97 is below 80; printed as 80 it would contradict its own category.
    """
    limits = (*_ACR_LIMITS_MG_CM3, STUDY_CUT_MG_CM3, settings.bmd_below_mg_cm3)
    for digits in (0, 1, 2, 3):
        short = round(value_mg_cm3, digits)
        if all(_side(short, limit) == _side(value_mg_cm3, limit) for limit in limits):
            return f"{short:.{digits}f}"
    return repr(value_mg_cm3)


def _side(value: float, limit: float) -> int:
    return (value > limit) - (value < limit)


def _levels_text(result: StudyResult) -> str:
    """The levels of the mean: ``L1-L4`` for a run of three or more, ``L1, L3`` for others, ``L2 only`` for one."""
    levels = [level.level for level in result.levels if level.usable]
    if len(levels) == 1:
        return f"{levels[0].name} only"
    if len(levels) > 2 and int(levels[-1]) - int(levels[0]) == len(levels) - 1:
        return f"{levels[0].name}-{levels[-1].name}"
    return ", ".join(level.name for level in levels)


def _levels(result: StudyResult, settings: AlertSettings) -> list[str]:
    bmd = dict(result.bmd.level_bmd_mg_cm3)
    lines = []
    found: set[Level] = set()
    for level in result.levels:
        found.add(level.level)
        findings = "; ".join(finding.detail for finding in level.findings)
        value = bmd.get(level.level)
        if not level.usable:
            text = f"not used: {findings}" if findings else "not used"
        elif value is None or not math.isfinite(value):
            text = "no BMD"
        else:
            text = f"{_bmd_text(value, settings)} mg/cm3" + (f" ({findings})" if findings else "")
        lines.append(f"{level.level.name}: {text}")
    lines += [f"{level.name}: not found in the image" for level in MEASURED_LEVELS if level not in found]
    return lines


def _doubts(result: StudyResult) -> list[str]:
    doubts: list[str] = [reason.detail for reason in dict.fromkeys(result.reasons + result.bmd.reasons)]
    if result.facts is not None and result.facts.contrast_phase is ContrastPhase.UNKNOWN:
        doubts.append("contrast phase not known; contrast makes BMD read higher")
    return doubts or ["none was recorded"]


def _link(order: OrderText, settings: AlertSettings) -> str:
    template, accession = settings.link_template, _one_line(order.accession_number)
    if not template:
        return "this site has set no link"
    if "{accession_number}" in template and not accession:
        return "no link: the headers hold no accession number"
    link = template.replace("{study_instance_uid}", quote(order.study_instance_uid, safe=""))
    return link.replace("{accession_number}", quote(accession, safe=""))


def _one_line(text: str | None) -> str:
    """Without the signs that could end the line of a header or add lines to the text; empty if there is nothing."""
    return " ".join("".join(c if c.isprintable() else " " for c in text or "").split())


def _paragraph(text: str) -> str:
    return textwrap.fill(_one_line(text), _WIDTH, break_long_words=False, break_on_hyphens=False)


def _list(title: str, lines: list[str] | tuple[str, ...]) -> str:
    filled = (
        textwrap.fill(
            _one_line(line),
            _WIDTH,
            initial_indent="- ",
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in lines
    )
    return "\n".join([title, *filled])
