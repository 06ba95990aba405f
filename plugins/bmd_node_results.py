"""What came back: the node's objects in a study of Orthanc, read for programs (JSON) and for people (a page).

Everything is taken from the objects themselves, as any PACS could; the node need not run. Needs the standard library only.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bmd_node_handover import OWN_MODEL_NAME, Orthanc, Standing

#: Codes of the report's content items (Code Value, Coding Scheme Designator).
_CONCLUSION = ("121077", "DCM")
_GROUP = ("125007", "DCM")
_SITE = ("363698007", "SCT")
_BMD = ("VBMD", "99BMDNODE")
_MEAN_BMD = ("VBMD-MEAN", "99BMDNODE")
_PREVIOUS = ("121069", "DCM")
_CATEGORY = ("ACR-CATEGORY", "99BMDNODE")
_ATTENUATION = ("112031", "DCM")
_COUNTS = ("COUNTS", "99BMDNODE")

_WORDS = {
    "not_for_the_node": "Nothing in this study is for the node.",
    "owed": "The study waits for the node.",
    "under_way": "The study is on its way to the node.",
    "handed_over": "The node has the study; no result has come back yet.",
    "measured": "Measured.",
    "not_measured": "Not measured; the page says why.",
}


@dataclass(frozen=True)
class OwnObject:
    """An object of the node: its modality, and what Orthanc calls the instance."""

    modality: str
    instance_id: str
    description: str
    made: str


@dataclass(frozen=True)
class LevelValues:
    """One measured level; a value that the report does not state is ``None``."""

    level: str
    hu_mean: str | None
    bmd_mg_cm3: str | None
    counts: str | None


@dataclass(frozen=True)
class Report:
    """What the latest structured report says, numbers as it writes them."""

    conclusion: str
    bmd_mg_cm3: str | None
    category: str | None
    levels: tuple[LevelValues, ...]


@dataclass(frozen=True)
class StudyState:
    """A study as ``/bmd-node/studies/{id}`` shows it."""

    id: str
    state: str
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
        return {"id": self.id, "state": self.state, "result": result, "objects": [asdict(one) for one in self.objects]}


def state_of(orthanc: Orthanc, study_id: str, standing: Standing) -> StudyState:
    """Read a study.

    Args:
        standing: how it stands with the node; what is still to be handed over comes before results of earlier images.

    Raises:
        OrthancError: Orthanc cannot be asked.
    """
    own = sorted(_own_objects(orthanc, study_id), key=lambda one: one.made, reverse=True)
    report = next((_read_report(orthanc, one) for one in own if one.modality == "SR"), None)
    state = standing.value
    if own and standing not in (Standing.OWED, Standing.UNDER_WAY):
        state = "measured" if report is not None else "not_measured"
    return StudyState(study_id, state, report, tuple(own))


def _own_objects(orthanc: Orthanc, study_id: str) -> Iterator[OwnObject]:
    for series in orthanc.get(f"/studies/{study_id}/series") or ():
        modality = series["MainDicomTags"].get("Modality", "")
        if modality not in ("SR", "SEG", "OT", "DOC"):
            continue
        for instance_id in series["Instances"]:
            tags = orthanc.get(f"/instances/{instance_id}/simplified-tags") or {}
            if tags.get("ManufacturerModelName") == OWN_MODEL_NAME:
                made = f"{tags.get('ContentDate', '')}{tags.get('ContentTime', '')}"
                yield OwnObject(modality, instance_id, tags.get("SeriesDescription", ""), made)


def _read_report(orthanc: Orthanc, one: OwnObject) -> Report:
    items = list(_items(orthanc.get(f"/instances/{one.instance_id}/simplified-tags") or {}))
    groups = [item for item in items if _name(item) == _GROUP]
    # neither a level's value nor that of an earlier study is the mean
    previous = [item for item in items if _name(item) == _PREVIOUS]
    of_others = {id(inside) for item in (*groups, *previous) for inside in _items(item)}
    summary = [item for item in items if id(item) not in of_others]
    return Report(
        conclusion=_text(summary, _CONCLUSION) or "",
        # reports of earlier versions have no code of its own for the mean
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


def page_of(study: StudyState) -> str:
    """The page behind the button, in HTML; beside ``/bmd-node/studies/{id}`` in Orthanc's tree of paths."""
    parts = [f"<p>{_WORDS[study.state]}</p>"]
    if study.report is not None:
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(value or '–')}</td>" for value in asdict(level).values()) + "</tr>"
            for level in study.report.levels
        )
        parts.append(f"<p><b>{html.escape(study.report.conclusion)}</b></p>")
        if rows:
            head = "<tr><th>Level</th><th>Mean HU</th><th>BMD, mg/cm³</th><th>Counts</th></tr>"
            parts.append(f"<table>{head}{rows}</table>")
    picture = next((one for one in study.objects if one.modality == "OT"), None)
    if picture is not None:
        description = html.escape(picture.description, quote=True)
        parts.append(f'<img src="../../../instances/{picture.instance_id}/preview" alt="{description}">')
    parts.append('<form method="post" action="rerun"><button>Hand over again</button></form>')
    return _PAGE.format(body="\n".join(parts))


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
