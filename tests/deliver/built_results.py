"""The DICOM objects of a result in every kind, built without segmentation, as a run has them in its folder."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from node.language.catalogue import Language
from node.model import StudyResult
from node.model.object_kinds import SegKind
from node.report import build_seg, take_views, uids_for
from node.settings.tree import Destination, ReportSettings
from node.study.objects import ReportContent, WantedKinds, object_files, seg_file, wanted_kinds, write_report
from tests.report.conftest import CREATED, STUDY, SyntheticCt, labels_of, measured, one_level, synthetic_ct, with_prior

#: Of a destination that may get every kind there is.
EVERY_KIND = wanted_kinds(
    [Destination(name="all", ae_title="PACS", host="127.0.0.1", port=104, segmentation=SegKind.LABELMAP, pdf=True)]
)


def write_result(
    folder: Path,
    report_digest: str = "",
    created: datetime = CREATED,
    kinds: WantedKinds = EVERY_KIND,
    previous_folder: Path | None = None,
    ct: SyntheticCt | None = None,
    make: Callable[[SyntheticCt], StudyResult] | None = None,
    language: Language = Language.EN,
) -> tuple[Path, ...]:
    """Write every object of a result (four levels, if ``make`` says nothing else); the same arguments, the same objects."""
    ct = ct or synthetic_ct("axial")
    result = (make or measured)(ct)
    labels, regions = labels_of(ct, result)
    uids = uids_for(STUDY, "digest", "0.1.0", "settings", report_digest)
    segmentations = {
        kind: build_seg(ct.volume, ct.sources, labels, regions, result, uids, created, kind) for kind in kinds.segmentations
    }
    for kind, seg in segmentations.items():
        seg.save_as(folder / seg_file(kind), enforce_file_format=True)
    views = take_views(ct.volume, labels, regions, result)
    content = ReportContent(result, views, ct.sources, segmentations, uids, created)
    write_report(folder, content, kinds, ReportSettings(language=language), previous_folder)
    return object_files(folder)


def write_every_language(folder: Path, created: datetime = CREATED) -> list[Path]:
    """Every object of a result that holds all that a result can hold, in every language."""
    written: list[Path] = []
    for language in Language:
        (folder / language).mkdir(parents=True)
        written += write_result(
            folder / language, language, created, make=lambda ct: with_prior(one_level(ct)), language=language
        )
    return written


if __name__ == "__main__":
    write_every_language(Path(sys.argv[1]), datetime.fromisoformat(sys.argv[2]))
