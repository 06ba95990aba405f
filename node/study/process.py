"""``bmd-node process``: measure the studies in a folder or file, without network or database."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np

from node.common.errors import ConfigurationError, InputError, NodeError
from node.common.uids import derived_uid
from node.language.catalogue import Language
from node.model import NIFTI_IMAGE_TYPE, LabelArray, StudyResult, Volume
from node.phantom import CtHeader, write_ct_series
from node.report import StudyRow, levels_csv, result_json, studies_csv, table
from node.select import StudyFiles, ct_studies, find_dicom, read_nifti
from node.settings.tree import Settings
from node.study.pipeline import Pipeline, run_study
from node.study.stages import StudyInput

_RESULT_FILES = ("result.json", "seg.dcm", "sr.dcm", "summary.dcm", "summary.png")
_TABLE_FILES = ("studies.csv", "levels.csv")
_NIFTI_SUFFIXES = (".nii", ".nii.gz")


@dataclass(frozen=True, slots=True)
class NiftiHeader:
    """Header values that a NIfTI lacks and a person provides. ``None`` means unknown; then no equation applies."""

    kvp: float | None
    manufacturer: str | None
    manufacturer_model_name: str | None

    @property
    def given(self) -> bool:
        """Whether any value was provided."""
        return any(value is not None for value in (self.kvp, self.manufacturer, self.manufacturer_model_name))


@dataclass(frozen=True, slots=True)
class ProcessOutcome:
    """Output of the command. ``status`` decides the exit status; of several studies it is that of the best."""

    status: str
    json_text: str
    table: str


def process_path(
    path: Path,
    out: Path,
    settings: Settings,
    nifti_header: NiftiHeader,
    labels_out: Path | None,
    progress: Callable[[str], None],
) -> ProcessOutcome:
    """Measure the study at ``path`` and write the results into ``out``. Results of an earlier run there are replaced.

    One study with CT images: its files go straight into ``out``. Several: a folder for each, named by its Study Instance
    UID, and the tables ``studies.csv`` and ``levels.csv``.

    A NIfTI is first written as a DICOM CT series into a folder ``ct-...`` in ``out``, so that SEG and SR have images to
    refer to.

    Raises:
        InputError: there is nothing readable at ``path``.
        ConfigurationError: options do not fit the input.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"--out {out} cannot be created: {error.strerror}") from error
    for name in (*_RESULT_FILES, *_TABLE_FILES):
        (out / name).unlink(missing_ok=True)
    pipeline = Pipeline(settings, progress)
    pipeline.load()
    if path.name.lower().endswith(_NIFTI_SUFFIXES):
        paths = _as_dicom(path, out, nifti_header, progress)
    elif nifti_header.given:
        raise ConfigurationError(
            "--kvp, --manufacturer and --model are for a NIfTI; a DICOM header already contains these values"
        )
    else:
        paths = find_dicom(path)
    studies = ct_studies(paths)
    if len(studies) > 1:
        if labels_out is not None:
            raise ConfigurationError(f"--labels-out is for one study; {path} holds {len(studies)}")
        return _several(pipeline, studies, len(paths), out, progress, settings.report.language)
    result = _one(pipeline, paths, out, labels_out, progress)
    progress(f"results in {out}")
    return ProcessOutcome(result.status, result_json(result, settings.report.language), table(result))


def _one(
    pipeline: Pipeline, paths: Sequence[Path], out: Path, labels_out: Path | None, progress: Callable[[str], None]
) -> StudyResult:
    with tempfile.TemporaryDirectory(prefix="bmd-node-") as folder:
        report, segmented = run_study(pipeline, StudyInput(tuple(paths), Path(folder)))
        for name in _RESULT_FILES:
            made = Path(folder) / name
            if made.exists():
                shutil.copyfile(made, out / name)
        if labels_out is not None:
            labelled = pipeline.labels_of(segmented)
            if labelled is None:
                progress(f"no series was segmented: {labels_out} is not written")
            else:
                _write_labels(*labelled, labels_out)
    return report.result


def _several(
    pipeline: Pipeline,
    studies: Sequence[StudyFiles],
    total: int,
    out: Path,
    progress: Callable[[str], None],
    language: Language,
) -> ProcessOutcome:
    """Measure the studies one after the other. One that fails does not stop the others."""
    others = total - sum(len(study.paths) for study in studies)
    if others:
        progress(f"{others} files are unreadable, or of studies without CT images: ignored")
    rows: list[StudyRow] = []
    for number, study in enumerate(studies, start=1):
        progress(f"study {number} of {len(studies)}: {study.study_instance_uid}, {len(study.paths)} files")
        name = re.sub(r"[^0-9A-Za-z.]", "_", study.study_instance_uid)
        folder = out / name
        folder.mkdir(exist_ok=True)
        for file in _RESULT_FILES:
            (folder / file).unlink(missing_ok=True)
        try:
            result = _one(pipeline, study.paths, folder, None, progress)
        except NodeError as error:
            progress(f"study {number} of {len(studies)} failed: {error}")
            rows.append(StudyRow(name, study.study_instance_uid, None, str(error)))
        else:
            progress(f"study {number} of {len(studies)}: {result.status}, results in {folder}")
            rows.append(StudyRow(name, study.study_instance_uid, result))
        # after every study, so that an interrupted run leaves the tables of those that are done
        (out / "studies.csv").write_text(studies_csv(rows), encoding="utf-8")
        (out / "levels.csv").write_text(levels_csv(rows), encoding="utf-8")
    measured = sum(row.status == "measured" for row in rows)
    progress(f"{measured} of {len(rows)} studies measured; studies.csv and levels.csv in {out}")
    parts = [f"study {row.study_instance_uid}\n{table(row.result) if row.result else row.error}" for row in rows]
    return ProcessOutcome("measured" if measured else "not_measured", _json_of_several(rows, language), "\n\n".join(parts))


def _json_of_several(rows: Sequence[StudyRow], language: Language) -> str:
    """An array: for each study its folder and what is in its ``result.json``, or why it failed."""
    items = []
    for row in rows:
        reasons = [{"code": "failed", "detail": row.error}]
        failed = json.dumps({"status": row.status, "reasons": reasons})
        content = json.loads(failed if row.result is None else result_json(row.result, language))
        items.append({"folder": row.folder, "study_instance_uid": row.study_instance_uid} | content)
    return json.dumps(items, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def _as_dicom(path: Path, out: Path, header: NiftiHeader, progress: Callable[[str], None]) -> list[Path]:
    hu, affine_lps_mm = read_nifti(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    # one folder per content: slices of different files never mix, and no existing folder is emptied
    folder = out / f"ct-{digest[:8]}"
    progress(f"select: {path.name} is a NIfTI and becomes a DICOM series in {folder}")
    ct_header = CtHeader(
        study_instance_uid=derived_uid("nifti", "study", digest),
        series_instance_uid=derived_uid("nifti", "series", digest),
        frame_of_reference_uid=derived_uid("nifti", "frame of reference", digest),
        patient_id=f"NIFTI-{digest[:8]}",
        patient_name="NIFTI^CONVERTED",
        series_description="Converted from NIfTI",
        image_type=NIFTI_IMAGE_TYPE,
        manufacturer=header.manufacturer,
        manufacturer_model_name=header.manufacturer_model_name,
        kvp=header.kvp,
    )
    return write_ct_series(hu, affine_lps_mm, ct_header, folder)


def _write_labels(volume: Volume, labels: LabelArray, path: Path) -> None:
    """Write a NIfTI label map in RAS, with the usual axes (column, row, slice)."""
    affine_lps = volume.affine_lps_mm[:, [2, 1, 0, 3]]
    affine_ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_lps
    image = nibabel.Nifti1Image(np.ascontiguousarray(labels.transpose(2, 1, 0)), affine_ras)  # type: ignore[no-untyped-call]
    nibabel.save(image, path)
