"""``bmd-node process``: measure the studies in a folder or file, without network or database."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np

from node.common.errors import ConfigurationError, InputError
from node.common.uids import derived_uid
from node.model import NIFTI_IMAGE_TYPE, LabelArray, Volume
from node.phantom import CtHeader, write_ct_series
from node.report import result_json, table
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


@dataclass(frozen=True, slots=True)
class ProcessInput:
    """What there is to measure.

    Attributes:
        paths: every file.
        studies: those with CT images.
    """

    paths: tuple[Path, ...]
    studies: tuple[StudyFiles, ...]

    @property
    def n_ignored(self) -> int:
        """Files that are unreadable, or of studies without CT images."""
        return len(self.paths) - sum(len(study.paths) for study in self.studies)


def find_input(path: Path, out: Path, nifti_header: NiftiHeader, progress: Callable[[str], None]) -> ProcessInput:
    """Find the studies at ``path``, and create ``out``.

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
    if path.name.lower().endswith(_NIFTI_SUFFIXES):
        paths = _as_dicom(path, out, nifti_header, progress)
    elif nifti_header.given:
        raise ConfigurationError(
            "--kvp, --manufacturer and --model are for a NIfTI; a DICOM header already contains these values"
        )
    else:
        paths = _without_results(find_dicom(path), path, out)
    return ProcessInput(tuple(paths), tuple(ct_studies(paths)))


def _without_results(paths: Sequence[Path], path: Path, out: Path) -> list[Path]:
    """The files outside of ``out``, which may be below ``path``: our own objects are of the same studies."""
    root, results = path.resolve(), out.resolve()
    if root not in results.parents:
        return list(paths)
    below = path / results.relative_to(root)
    return [file for file in paths if not file.is_relative_to(below)]


def process_one(
    paths: Sequence[Path], out: Path, settings: Settings, labels_out: Path | None, progress: Callable[[str], None]
) -> ProcessOutcome:
    """Measure one study and write the results into ``out``. Results of an earlier run there are replaced.

    Raises:
        InputError: nothing can be read.
        ConfigurationError: the settings cannot be used.
    """
    remove_results(out)
    for name in _TABLE_FILES:
        (out / name).unlink(missing_ok=True)
    pipeline = Pipeline(settings, progress)
    pipeline.load()
    with tempfile.TemporaryDirectory(prefix="bmd-node-") as folder:
        report, segmented = run_study(pipeline, StudyInput(tuple(paths), Path(folder)))
        copy_results(Path(folder), out)
        if labels_out is not None:
            labelled = pipeline.labels_of(segmented)
            if labelled is None:
                progress(f"no series was segmented: {labels_out} is not written")
            else:
                _write_labels(*labelled, labels_out)
    progress(f"results in {out}")
    return ProcessOutcome(report.result.status, result_json(report.result, settings.report.language), table(report.result))


def remove_results(folder: Path) -> None:
    """Remove the results of an earlier run, ``result.json`` first."""
    for name in _RESULT_FILES:
        (folder / name).unlink(missing_ok=True)


def copy_results(made: Path, out: Path) -> None:
    """Copy the files for people and PACS from the folder of a run; ``result.json`` last."""
    for name in reversed(_RESULT_FILES):
        if (made / name).exists():
            shutil.copyfile(made / name, out / name)


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
