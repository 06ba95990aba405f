"""Report room: a result → segmentation, structured report, summary page, JSON and a table for the terminal.

Pure: builds datasets and values; sends nothing and writes nothing.
"""

from node.report.headers import kept_headers, read_kept_headers
from node.report.kept_views import arrays_of_views, views_of_arrays
from node.report.page import render_page, render_summary, take_views, without_whose
from node.report.page_object import build_summary_page
from node.report.page_pdf import build_pdf, render_pdf
from node.report.result_json import result_json, said_json
from node.report.seg import build_seg
from node.report.sr import build_sr
from node.report.study_tables import (
    LEVEL_COLUMNS,
    STUDY_COLUMNS,
    Cell,
    Kind,
    LevelColumn,
    LevelRow,
    Pseudonym,
    StudyColumn,
    StudyRow,
    csv_text,
    levels_csv,
    levels_of,
    studies_csv,
)
from node.report.table import table
from node.report.uids import ReportUids, uids_for
from node.report.whose import Whose, whose_page
from node.report.written import WrittenHeader, WrittenResult, written_header

__all__ = [
    "LEVEL_COLUMNS",
    "STUDY_COLUMNS",
    "Cell",
    "Kind",
    "LevelColumn",
    "LevelRow",
    "Pseudonym",
    "ReportUids",
    "StudyColumn",
    "StudyRow",
    "Whose",
    "WrittenHeader",
    "WrittenResult",
    "arrays_of_views",
    "build_pdf",
    "build_seg",
    "build_sr",
    "build_summary_page",
    "csv_text",
    "kept_headers",
    "levels_csv",
    "levels_of",
    "read_kept_headers",
    "render_page",
    "render_pdf",
    "render_summary",
    "result_json",
    "said_json",
    "studies_csv",
    "table",
    "take_views",
    "uids_for",
    "views_of_arrays",
    "whose_page",
    "without_whose",
    "written_header",
]
