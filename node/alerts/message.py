"""What the surgeon reads: plain text, the conclusion first, in the language of the site.

The text contains only numbers of the result, words of the settings, days, levels, the accession number and a link. It never
contains the text of a plan or an order: people write those, and they may name the patient.
"""

from __future__ import annotations

import datetime as dt
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from urllib.parse import quote

from node.alerts.amounts import STUDY_CUT_MG_CM3, bmd_text
from node.alerts.evidence import EVIDENCE, OPTIONS
from node.alerts.rules.quiet_hours import site_time
from node.alerts.screened import one_line
from node.alerts.values import Alert, AlertKind, LevelValue, Message, Rule, ScreenedResult
from node.clinical.imaging_order import OrderText
from node.clinical.planned_operation import PlanSource
from node.language.catalogue import Language, say
from node.language.phrase import Phrase, joined, phrase
from node.model import ACR_THRESHOLDS_MG_CM3, MEASURED_LEVELS, AcrCategory
from node.model.fractures import FRAGILITY, fractures_in, fractures_text
from node.model.rounding import rounded_interval
from node.settings.alert import AlertSettings

_WIDTH = 76
_RANGES: dict[AcrCategory, Phrase] = {
    AcrCategory.OSTEOPOROSIS: phrase("below 80: osteoporosis range (ACR)"),
    AcrCategory.LOW_BONE_MASS: phrase("80 to 120: low bone mass range (ACR)"),
    AcrCategory.NORMAL: phrase("above 120: normal range (ACR)"),
}
_SHORT_RANGES: dict[AcrCategory, Phrase] = {
    AcrCategory.OSTEOPOROSIS: phrase("osteoporosis range"),
    AcrCategory.LOW_BONE_MASS: phrase("low bone mass range"),
    AcrCategory.NORMAL: phrase("normal range"),
}
_SEVERE = phrase("below 80, with a fracture: severe osteoporosis range (ACR)")
_SHORT_SEVERE = phrase("severe osteoporosis range")
_SOURCES: dict[PlanSource, Phrase] = {
    PlanSource.HL7_SIU: phrase("scheduling message"),
    PlanSource.FHIR: phrase("appointment or request on the hospital's FHIR server"),
    PlanSource.FHIR_REQUEST: phrase("appointment or request on the hospital's FHIR server"),
    PlanSource.THEATRE_LIST: phrase("theatre list"),
}
_KINDS: dict[AlertKind, Phrase] = {
    AlertKind.CORRECTION: phrase("Correction of an earlier alert"),
    AlertKind.WITHDRAWAL: phrase("Withdrawal of an earlier alert"),
}
_ESCALATION = phrase("Unacknowledged alert")


def message_for(
    alert: Alert,
    settings: AlertSettings,
    language: Language,
    acknowledge_link: str = "",
    order: OrderText | None = None,
) -> Message:
    """Subject and text of an alert.

    Args:
        acknowledge_link: web address that acknowledges the alert; empty: none.
        order: what the image headers say about who requested the CT.
    """
    message = _Text(alert, settings, language).message(acknowledge_link)
    return message if order is None else replace(message, of_header=say(_of_header(order), language))


class _Text:
    """One message in one language."""

    def __init__(self, alert: Alert, settings: AlertSettings, language: Language) -> None:
        self._alert, self._settings, self._language = alert, settings, language
        self._result, self._operation = alert.result, alert.operation

    def message(self, acknowledge_link: str) -> Message:
        paragraphs = [*self._headline(), self._conclusion(), *self._planned_levels()]
        if self._alert.kind is AlertKind.WITHDRAWAL:
            parts = (self._surgery(), self._accession())
            subject = phrase(
                "Withdrawn: alert before {surgery}. Accession {accession}", surgery=parts[0], accession=parts[1]
            )
            blocks = [_paragraph(self._say(one)) for one in self._headline()]
            blocks += [self._where_to_look(), self._foot()]
            return Message(one_line(self._say(subject)), "\n\n".join(blocks) + "\n")
        blocks = [_paragraph(self._say(one)) for one in paragraphs]
        blocks += [
            _paragraph(self._say(self._plan())),
            self._list(phrase("Levels"), self._levels()),
            "\n".join([self._say(phrase("Evidence")), *(_paragraph(self._say(one)) for one in EVIDENCE)]),
            self._list(phrase("Options named in the literature"), OPTIONS),
            self._list(phrase("Doubts about the result"), self._doubts()),
            self._where_to_look(),
            _paragraph(
                self._say(
                    phrase(
                        "Screening estimate; the decision is the surgeon's. "
                        "ACR categories apply to post-menopausal women and older men."
                    )
                )
            ),
        ]
        if acknowledge_link:
            blocks.append(f"{self._say(_PLEASE_ACKNOWLEDGE)}\n{acknowledge_link}")
        return Message(one_line(self._say(self._subject())), "\n\n".join([*blocks, self._foot()]) + "\n")

    def _say(self, text: str) -> str:
        return say(text, self._language)

    def _bmd(self, value_mg_cm3: float | None) -> str:
        text = bmd_text(value_mg_cm3, self._settings)
        return text.replace(".", ",") if self._language is Language.DE else text

    def _day(self, when: dt.datetime) -> str:
        day = site_time(when, self._settings).date()
        return f"{day:%d.%m.%Y}" if self._language is Language.DE else day.isoformat()

    def _accession(self) -> str:
        return self._result.accession_number or self._say(phrase("not known"))

    def _subject(self) -> Phrase:
        found = self._found()
        if self._operation.vanished:
            planned = phrase("spine surgery no longer found")
        elif self._operation.starts is None:
            planned = phrase("spine surgery planned?")
        else:
            planned = self._surgery()
        parts = [found, planned, phrase("Accession {accession}", accession=self._accession())]
        subject = joined([joined(parts[:2], "; "), parts[2]], " " if self._operation.starts is None else ". ")
        if self._alert.kind is AlertKind.CORRECTION:
            return phrase("Correction: {subject}", subject=subject)
        return phrase("Unacknowledged: {subject}", subject=subject) if self._alert.escalation else subject

    def _found(self) -> Phrase:
        """What was found: the fractures, if any, then the BMD."""
        said = [self._fractures()] if self._result.fractures is not None else []
        if self._result.bmd_mg_cm3 is not None:
            bmd = self._bmd(self._result.bmd_mg_cm3)
            said.append(phrase("Mean BMD {bmd} mg/cm3 ({range})", bmd=bmd, range=self._range(_SHORT_RANGES, _SHORT_SEVERE)))
        elif Rule.LOW_ATTENUATION in self._alert.rules or not said:
            said.append(phrase("Low attenuation"))
        return joined(said, ". ")

    def _fractures(self) -> Phrase:
        """Levels and grades, the worst first."""
        seen = self._result.fractures
        fractures = fractures_in((), [] if seen is None else [seen])
        return fractures_text(fractures) if fractures else phrase("Vertebral fracture")

    def _range(self, words: Mapping[AcrCategory, Phrase], severe: Phrase) -> str:
        """The category in words; with a fracture, the ACR calls a BMD below 80 mg/cm3 severe osteoporosis."""
        category = self._result.category
        if category is None:
            return "-"
        return severe if category is AcrCategory.OSTEOPOROSIS and self._result.fractures is not None else words[category]

    def _surgery(self) -> Phrase:
        if self._operation.starts is None:
            return phrase("spine surgery, date unknown")
        return phrase("spine surgery on {day}", day=self._day(self._operation.starts))

    def _headline(self) -> Iterator[Phrase]:
        """How this message relates to an earlier one; nothing for the first message."""
        kind = _KINDS.get(self._alert.kind, _ESCALATION if self._alert.escalation else None)
        because = self._alert.because
        if kind is None:
            return
        yield kind if because is None else phrase("{kind}: {why}.", kind=kind, why=because.detail)
        if self._alert.kind is AlertKind.WITHDRAWAL and not self._alert.wrong:
            yield phrase("The measurement itself is not withdrawn; its report stays in the PACS.")
        if self._alert.kind is AlertKind.WITHDRAWAL and self._alert.wrong:
            yield phrase("Please disregard the values of the earlier alert.")

    def _conclusion(self) -> Phrase:
        result, sentences = self._result, list[Phrase]()
        if result.fractures is not None:
            sentences += [Phrase("{said}.", {"said": self._fractures()}), FRAGILITY]
        levels = self._say(self._levels_text())
        if result.bmd_mg_cm3 is not None and result.category is not None:
            sentences.append(
                phrase(
                    "Mean BMD {levels}: {bmd} mg/cm3, {range}.",
                    levels=levels,
                    bmd=self._bmd(result.bmd_mg_cm3),
                    range=self._range(_RANGES, _SEVERE),
                )
            )
            if result.interval_mg_cm3 is not None:
                template: Callable[..., Phrase] = _borderline if result.borderline else _interval
                sentences.append(template(*rounded_interval(result.interval_mg_cm3)))
            sentences += self._cut_sentences(result.bmd_mg_cm3)
        elif result.hu_mean is not None:
            sentences.append(
                phrase(
                    "Mean attenuation {levels}: {hu:.0f} HU; no calibrated BMD, so no category.",
                    levels=levels,
                    hu=result.hu_mean,
                )
            )
            if Rule.LOW_ATTENUATION in self._alert.rules and self._settings.hu_below is not None:
                sentences.append(
                    phrase("Below {limit:g} HU, the limit that this site has set.", limit=self._settings.hu_below)
                )
        return joined(sentences, " ")

    def _planned_levels(self) -> Iterator[Phrase]:
        """What was measured at the levels of the construct, as a separate paragraph."""
        measurable = {level.name for level in MEASURED_LEVELS}
        values = [self._planned_level(name) for name in self._operation.levels if name in measurable]
        others = [name for name in self._operation.levels if name not in measurable]
        if others:
            values.append(phrase("{levels}: not measured (only L1 to L4 are measured)", levels=", ".join(others)))
        if values:
            yield phrase("Planned levels: {values}.", values=joined(values, "; "))

    def _planned_level(self, name: str) -> Phrase:
        value = next((level for level in self._result.levels if level.level.name == name), None)
        if value is None:
            return phrase("{level}: not measured", level=name)
        if not value.usable or value.bmd_mg_cm3 is None:
            return phrase("{level}: no BMD", level=name)
        bmd = self._bmd(value.bmd_mg_cm3)
        low, high = ACR_THRESHOLDS_MG_CM3
        if value.bmd_mg_cm3 < low:
            return phrase("{level}: {bmd} mg/cm3, below 80", level=name, bmd=bmd)
        if value.bmd_mg_cm3 > high:
            return phrase("{level}: {bmd} mg/cm3, above 120", level=name, bmd=bmd)
        return phrase("{level}: {bmd} mg/cm3, 80 to 120", level=name, bmd=bmd)

    def _cut_sentences(self, bmd_mg_cm3: float) -> Iterator[Phrase]:
        if bmd_mg_cm3 < STUDY_CUT_MG_CM3:
            yield phrase("Below {cut:g} mg/cm3, the study's cut-off for screw loosening.", cut=STUDY_CUT_MG_CM3)
        else:
            yield phrase("Not below {cut:g} mg/cm3, the study's cut-off for screw loosening.", cut=STUDY_CUT_MG_CM3)
        limit = self._settings.bmd_below_mg_cm3
        if limit != STUDY_CUT_MG_CM3 and bmd_mg_cm3 < limit:
            yield phrase("Below {limit:g} mg/cm3, the limit that this site has set.", limit=limit)

    def _levels_text(self) -> Phrase | str:
        """The levels of the mean: ``L1-L4`` for a run of three or more, ``L1, L3`` for others, ``L2 only`` for one."""
        levels = [level.level for level in self._result.levels if level.usable]
        if len(levels) == 1:
            return phrase("{level} only", level=levels[0].name)
        if len(levels) > 2 and int(levels[-1]) - int(levels[0]) == len(levels) - 1:
            return f"{levels[0].name}-{levels[-1].name}"
        return ", ".join(level.name for level in levels)

    def _plan(self) -> Phrase:
        operation = self._operation
        word, field = (operation.found.word, self._say(operation.found.field)) if operation.found is not None else ("-", "-")
        if operation.source is PlanSource.DICOM_ORDER:
            return phrase(
                'Planned operation: the imaging order contains "{word}" ({field}). '
                "The planned operation is inferred from the imaging order only; its date, levels and surgeon are not known.",
                word=word,
                field=field,
            )
        levels = phrase("levels {levels}", levels=", ".join(operation.levels)) if operation.levels else _NO_LEVELS
        day = phrase("on {day}", day=self._day(operation.starts)) if operation.starts is not None else _NO_DAY
        planned = phrase(
            'Planned operation: {day}, {levels}; the plan contains "{word}" (source: {source}).',
            day=day,
            levels=levels,
            word=word,
            source=_SOURCES[operation.source],
        )
        return joined([planned, _IS_IT_PLANNED], " ") if operation.vanished else planned

    def _levels(self) -> list[Phrase]:
        found = {level.level for level in self._result.levels}
        lines = [self._level(level) for level in self._result.levels]
        missing = [level for level in MEASURED_LEVELS if level not in found]
        return [*lines, *(phrase("{level}: not found in the image", level=level.name) for level in missing)]

    def _level(self, level: LevelValue) -> Phrase:
        name, findings = level.level.name, joined([finding.detail for finding in level.findings], "; ")
        if not level.usable:
            if level.findings:
                return phrase("{level}: not used: {findings}", level=name, findings=findings)
            return phrase("{level}: not used", level=name)
        if level.bmd_mg_cm3 is not None:
            value = phrase("{bmd} mg/cm3", bmd=self._bmd(level.bmd_mg_cm3))
        elif level.hu_mean is not None:
            value = phrase("{hu:.0f} HU, no BMD", hu=level.hu_mean)
        else:
            value = phrase("no BMD")
        if level.findings:
            return phrase("{level}: {value} ({findings})", level=name, value=value, findings=findings)
        return phrase("{level}: {value}", level=name, value=value)

    def _doubts(self) -> list[str]:
        return [doubt.detail for doubt in self._result.doubts] or [phrase("none recorded")]

    def _where_to_look(self) -> str:
        lines = (
            phrase("Accession number: {accession}", accession=self._accession()),
            phrase("Images: {link}", link=images_link(self._result, self._settings)),
        )
        return "\n".join(self._say(line) for line in lines)

    def _foot(self) -> str:
        alert = self._alert
        lines = (
            phrase("Alert {id}, message {revision}", id=alert.id, revision=alert.revision),
            phrase("A repeat of this message has the same numbers."),
        )
        return "\n".join(self._say(line) for line in lines)

    def _list(self, title: str, lines: list[str] | list[Phrase] | tuple[Phrase, ...]) -> str:
        filled = (
            textwrap.fill(
                one_line(self._say(line)),
                _WIDTH,
                initial_indent="- ",
                subsequent_indent="  ",
                break_long_words=False,
                break_on_hyphens=False,
            )
            for line in lines
        )
        return "\n".join([self._say(title), *filled])


def _of_header(order: OrderText) -> str:
    """Who requested the CT, and for what. This person may not be the surgeon, and gets no alert for the request."""
    said = []
    if order.requesting_physician:
        said.append(phrase("requested by {name} (Requesting Physician)", name=one_line(order.requesting_physician)))
    elif order.referring_physician:
        said.append(phrase("referred by {name} (Referring Physician)", name=one_line(order.referring_physician)))
    asked_for = order.requested_procedure_description or next(iter(order.scheduled_procedure_descriptions), None)
    if asked_for:
        said.append(phrase('requested procedure "{text}"', text=one_line(asked_for)))
    if not said:
        return ""
    return phrase(
        "From the image headers, the least reliable source: {said}. Whoever requested the CT may not be the surgeon, and "
        "does not get an alert for the request.",
        said=joined(said, "; "),
    )


_PLEASE_ACKNOWLEDGE = phrase("Please acknowledge that you have read this:")
_IS_IT_PLANNED = phrase(
    "It is no longer found there, but was not reported as cancelled: please check whether it is still planned."
)
_NO_LEVELS = phrase("levels not named")
_NO_DAY = phrase("date unknown")


def images_link(result: ScreenedResult, settings: AlertSettings) -> str:
    """Web address of the images, or why there is none."""
    template, accession = settings.link_template, result.accession_number or ""
    if not template:
        return phrase("this site has not configured a link")
    if "{accession_number}" in template and not accession:
        return phrase("no link: the image headers have no accession number")
    link = template.replace("{study_instance_uid}", quote(result.study_instance_uid, safe=""))
    return link.replace("{accession_number}", quote(accession, safe=""))


def _interval(low: float, high: float) -> Phrase:
    return phrase("Interval {low:g} to {high:g} mg/cm3.", low=low, high=high)


def _borderline(low: float, high: float) -> Phrase:
    return phrase("Borderline: interval {low:g} to {high:g} mg/cm3.", low=low, high=high)


def _paragraph(text: str) -> str:
    return textwrap.fill(one_line(text), _WIDTH, break_long_words=False, break_on_hyphens=False)
