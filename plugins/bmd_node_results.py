"""Results of a study in Orthanc: the node's objects and the reported state, as JSON for programs and a page for people.

Results are read from the objects, so the node need not be running. Uses only the standard library.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bmd_node_guard import TOKEN_FIELD
from bmd_node_handover import OWN_MODEL_NAME, Orthanc, Standing
from bmd_node_told import STATES, Told, told_of

#: Codes of the report's content items (Code Value, Coding Scheme Designator).
_CONCLUSION = ("121077", "DCM")
_GROUP = ("125007", "DCM")
_SITE = ("363698007", "SCT")
_BMD = ("VBMD", "99BMDNODE")
_MEAN_BMD = ("VBMD-MEAN", "99BMDNODE")
_PREVIOUS = ("121069", "DCM")
_CATEGORY = ("ACR-CATEGORY", "99BMDNODE")
_ATTENUATION = ("112031", "DCM")
#: Text Value (0040,A160).
_TEXT_VALUE = "0040-a160"
_COUNTS = ("COUNTS", "99BMDNODE")

_WORDS = {
    "not_for_the_node": "Nothing in this study is for the node.",
    "owed": "The study is waiting to be handed over to the node.",
    "under_way": "The study is being handed over to the node.",
    "handed_over": "The node has the images, but has not reported a state yet.",
    "rerun_wanted": "A new measurement was requested; the node has not confirmed it yet.",
    "waiting": "The study is in the queue of the node.",
    "working": "The node is processing the study.",
    "measured": "Measured.",
    "not_measured": "Not measured.",
    "failed": "The node could not process this study, and will not retry automatically.",
    "rerun_refused": "The node cannot measure the study again.",
}
#: States that depend on the node, so its last contact matters.
_UP_TO_THE_NODE = ("owed", "handed_over", "rerun_wanted", "waiting", "working")
_SILENT_S = 120


@dataclass(frozen=True)
class OwnObject:
    """An object of the node, with Orthanc's identifier of the instance."""

    modality: str
    instance_id: str
    description: str
    made: str


@dataclass(frozen=True)
class LevelValues:
    """One measured level; missing values are ``None``."""

    level: str
    hu_mean: str | None
    bmd_mg_cm3: str | None
    counts: str | None


@dataclass(frozen=True)
class Report:
    """Content of the latest structured report, with numbers as text."""

    conclusion: str
    bmd_mg_cm3: str | None
    category: str | None
    levels: tuple[LevelValues, ...]


@dataclass(frozen=True)
class StudyState:
    """A study as ``/bmd-node/studies/{id}`` shows it.

    Attributes:
        told: the last state reported by the node; ``None`` if it never contacted this Orthanc (``[orthanc] url``).
        heard_s_ago: seconds since the last contact from the node; ``None`` if none since Orthanc started.
    """

    id: str
    state: str
    told: Told | None
    heard_s_ago: float | None
    report: Report | None
    objects: tuple[OwnObject, ...]

    def as_json(self) -> dict[str, Any]:
        """For programs; numbers as numbers."""
        result = None
        if self.report is not None:
            result = {
                "conclusion": self.report.conclusion,
                "bmd_mg_cm3": _number(self.report.bmd_mg_cm3),
                "category": self.report.category,
                "levels": [
                    asdict(level) | {"hu_mean": _number(level.hu_mean), "bmd_mg_cm3": _number(level.bmd_mg_cm3)}
                    for level in self.report.levels
                ],
            }
        return {
            "id": self.id,
            "state": self.state,
            "detail": "" if self.told is None else self.told.detail,
            "node": None if self.told is None else asdict(self.told),
            "node_heard_s_ago": None if self.heard_s_ago is None else round(self.heard_s_ago, 1),
            "result": result,
            "objects": [asdict(one) for one in self.objects],
        }


def state_of(
    orthanc: Orthanc, study_id: str, standing: Standing, *, is_rerun_wanted: bool, heard_s_ago: float | None
) -> StudyState:
    """Read a study.

    Args:
        standing: state of the hand-over; a pending hand-over takes precedence over results of earlier images.
        is_rerun_wanted: a re-run is requested that the node has not accepted yet.
        heard_s_ago: see :class:`StudyState`.

    Raises:
        OrthancError: Orthanc does not answer.
    """
    own = sorted(_own_objects(orthanc, study_id), key=lambda one: one.made, reverse=True)
    report = next((_read_report(orthanc, one) for one in own if one.modality == "SR"), None)
    told = told_of(orthanc, study_id)
    if standing in (Standing.OWED, Standing.UNDER_WAY):
        state = standing.value
    elif is_rerun_wanted:
        state = "rerun_wanted"
    elif told is not None:
        state = STATES[told.state]
    elif own:
        state = "measured" if report is not None else "not_measured"
    else:
        state = standing.value
    return StudyState(study_id, state, told, heard_s_ago, report, tuple(own))


def _own_objects(orthanc: Orthanc, study_id: str) -> Iterator[OwnObject]:
    for series in orthanc.get(f"/studies/{study_id}/series") or ():
        modality = series["MainDicomTags"].get("Modality", "")
        if modality not in ("SR", "SEG", "OT", "DOC"):
            continue
        for instance_id in series["Instances"]:
            tags = _tags(orthanc, instance_id)
            if tags.get("ManufacturerModelName") == OWN_MODEL_NAME:
                made = f"{tags.get('ContentDate', '')}{tags.get('ContentTime', '')}"
                yield OwnObject(modality, instance_id, tags.get("SeriesDescription", ""), made)


def _tags(orthanc: Orthanc, instance_id: str) -> Mapping[str, Any]:
    """The tags of an object, with texts of any length: Orthanc leaves out what is longer than 256 characters otherwise."""
    return orthanc.get(f"/instances/{instance_id}/simplified-tags?ignore-length={_TEXT_VALUE}") or {}


def _read_report(orthanc: Orthanc, one: OwnObject) -> Report:
    items = list(_items(_tags(orthanc, one.instance_id)))
    groups = [item for item in items if _name(item) == _GROUP]
    # values of levels or of a prior study are not the mean
    previous = [item for item in items if _name(item) == _PREVIOUS]
    of_others = {id(inside) for item in (*groups, *previous) for inside in _items(item)}
    summary = [item for item in items if id(item) not in of_others]
    return Report(
        conclusion=_text(summary, _CONCLUSION) or "",
        # reports of earlier versions have no separate code for the mean
        bmd_mg_cm3=_numeric(summary, _MEAN_BMD) or _numeric(summary, _BMD),
        category=_coded(summary, _CATEGORY),
        levels=tuple(
            LevelValues(
                _coded(inside, _SITE) or "",
                _numeric(inside, _ATTENUATION),
                _numeric(inside, _BMD),
                _coded(inside, _COUNTS),
            )
            for inside in (list(_items(group)) for group in groups)
        ),
    )


def _items(tree: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for item in tree.get("ContentSequence") or ():
        yield item
        yield from _items(item)


def _name(item: Mapping[str, Any]) -> tuple[str, str]:
    name = (item.get("ConceptNameCodeSequence") or [{}])[0]
    return name.get("CodeValue", ""), name.get("CodingSchemeDesignator", "")


def _text(items: list[Mapping[str, Any]], name: tuple[str, str]) -> str | None:
    return next((item.get("TextValue") for item in items if _name(item) == name), None)


def _coded(items: list[Mapping[str, Any]], name: tuple[str, str]) -> str | None:
    return next((item["ConceptCodeSequence"][0].get("CodeMeaning") for item in items if _name(item) == name), None)


def _numeric(items: list[Mapping[str, Any]], name: tuple[str, str]) -> str | None:
    measured = next((item.get("MeasuredValueSequence") for item in items if _name(item) == name), None)
    return measured[0].get("NumericValue") if measured else None


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)


def page_of(study: StudyState, token: str) -> str:
    """The page behind the button, in HTML, under ``/bmd-node/studies/{id}`` in Orthanc.

    Args:
        token: see :meth:`bmd_node_guard.Guard.token`.
    """
    parts = [f"<p>{_WORDS[study.state]}</p>", *_told_parts(study)]
    if study.report is not None:
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(value or '–')}</td>" for value in asdict(level).values()) + "</tr>"
            for level in study.report.levels
        )
        parts.append(f"<p><b>{html.escape(study.report.conclusion)}</b></p>")
        if rows:
            head = "<tr><th>Level</th><th>Mean HU</th><th>BMD, mg/cm³</th><th>Used</th></tr>"
            parts.append(f"<table>{head}{rows}</table>")
    picture = next((one for one in study.objects if one.modality == "OT"), None)
    if picture is not None:
        description = html.escape(picture.description, quote=True)
        parts.append(f'<img src="../../../instances/{picture.instance_id}/preview" alt="{description}">')
    hidden = f'<input type="hidden" name="{TOKEN_FIELD}" value="{html.escape(token, quote=True)}">'
    parts.append(f'<form method="post" action="rerun">{hidden}<button>Measure again</button></form>')
    return _PAGE.format(body="\n".join(parts))


def _told_parts(study: StudyState) -> Iterator[str]:
    """The reported state, and the last contact from the node."""
    if study.told is not None:
        if study.told.detail:
            yield f"<p>{html.escape(study.told.detail)}</p>"
        for one in study.told.deliveries:
            if one.state != "stored":
                said = f"Results to {one.destination}: {one.state.replace('_', ' ')} {one.detail}".rstrip()
                yield f"<p>{html.escape(said)}</p>"
    if study.state not in _UP_TO_THE_NODE:
        return
    if study.heard_s_ago is None:
        yield "<p>No contact from the node since Orthanc started: this state may be outdated.</p>"
    elif study.heard_s_ago > _SILENT_S:
        yield f"<p>The last contact from the node was {study.heard_s_ago / 60:.0f} minutes ago.</p>"


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Bone mineral density</title>
<style>
body {{ font: 16px sans-serif; margin: 1.5em; max-width: 82em; }}
table {{ border-collapse: collapse; margin: 1em 0; }}
td, th {{ border: 1px solid #888; padding: .3em .8em; text-align: left; }}
img {{ display: block; max-width: 100%; margin: 1em 0; }}
</style></head><body>
<h1>Bone mineral density</h1>
{body}
</body></html>
"""
