"""The conformance statement says what the code does."""

from __future__ import annotations

import re

import pydicom
import pytest

from node.model.object_kinds import SegKind, SrKind
from node.study.objects import sr_file
from tests.docs.conformance_tables import DOCUMENT, objects, tables, with_tables


def test_generated_tables_are_up_to_date() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert with_tables(text) == text, "run python -m tests.docs.conformance_tables"
    assert len(re.findall("<!-- table ", text)) == len(tables())


def attributes(ds: pydicom.Dataset) -> set[pydicom.tag.BaseTag]:
    return {element.tag for element in ds}


@pytest.mark.parametrize("kind", list(SrKind)[1:])
def test_every_class_of_report_has_the_attributes_of_the_table(kind: SrKind) -> None:
    made = objects()[0]
    template = {pydicom.tag.Tag("ContentTemplateSequence")}
    missing = template if kind is SrKind.BASIC_TEXT and "ContentTemplateSequence" not in made[sr_file(kind)] else set()
    assert attributes(made[sr_file(kind)]) == attributes(made[sr_file(SrKind.COMPREHENSIVE_3D)]) - missing


def test_the_label_map_has_the_modules_of_the_table() -> None:
    made = objects()[0]
    assert made[f"seg-{SegKind.LABELMAP}.dcm"].SegmentationType == "LABELMAP"
    assert made[f"seg-{SegKind.LABELMAP}.dcm"].BitsAllocated == 8
