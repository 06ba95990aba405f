"""The folder of a run: its path, and the internal files that the run keeps beside those for people and PACS.

These files outlive the received images. ``headers.json.gz``, ``identity.json`` and ``kept.json`` contain patient data, like
the report in the same folder. A file with its final name is complete.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydantic import TypeAdapter, ValidationError
from pydicom.dataset import Dataset

from node.clinical.identity import PatientIdentity
from node.common.errors import InputError
from node.common.files import whole_file
from node.model import LabelArray
from node.report import arrays_of_views, read_kept_headers, views_of_arrays
from node.report.page_views import PageViews
from node.study.stages import KeptRun

VIEWS_FILE = "views.npz"
HEADERS_FILE = "headers.json.gz"
KEPT_FILE = "kept.json"
IDENTITY_FILE = "identity.json"

#: Schema of ``kept.json``. Raise it for a change that defaults of new fields do not cover, and let :func:`load_kept_run`
#: convert older files. Version 2 is version 1 plus this number.
KEPT_SCHEMA_VERSION = 2

_IDENTITY_JSON = TypeAdapter(PatientIdentity)
_KEPT_RUN = TypeAdapter(KeptRun)


def folder_of(state_dir: Path, run_id: str) -> Path:
    """Return the absolute path of the folder of a run. Its name is a hash: a run id may be too long for a file name."""
    return state_dir.absolute() / "results" / hashlib.sha256(run_id.encode()).hexdigest()[:32]


def save_labels(path: Path, labels: LabelArray) -> None:
    """Write a label map, (slices, rows, columns)."""
    _write(path, lambda file: np.savez_compressed(file, labels=labels))


def load_labels(path: Path) -> LabelArray:
    """Read a label map."""
    with np.load(path) as arrays:
        labels: LabelArray = arrays["labels"]
    return labels


def save_views(folder: Path, views: PageViews) -> None:
    """Write the pictures of the summary page."""
    arrays = arrays_of_views(views)
    _write(folder / VIEWS_FILE, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]


def load_views(folder: Path) -> PageViews:
    """Read the pictures of the summary page.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        with np.load(folder / VIEWS_FILE) as arrays:
            return views_of_arrays({name: arrays[name] for name in arrays.files})
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{folder / VIEWS_FILE} cannot be read: {type(error).__name__}") from error


def save_headers(folder: Path, headers: str) -> None:
    """Write headers in the form that :func:`node.report.kept_headers` returns."""
    _write(folder / HEADERS_FILE, lambda file: file.write(gzip.compress(headers.encode(), mtime=0)))


def load_headers(folder: Path) -> Sequence[Dataset]:
    """Read the headers of the measured images, without pixels.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        return read_kept_headers(gzip.decompress((folder / HEADERS_FILE).read_bytes()).decode())
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"{folder / HEADERS_FILE} cannot be read: {type(error).__name__}") from error


def save_kept_run(folder: Path, kept: KeptRun) -> None:
    """Write the values of a run."""
    values = {"schema_version": KEPT_SCHEMA_VERSION} | json.loads(_KEPT_RUN.dump_json(kept))
    _write(folder / KEPT_FILE, lambda file: file.write(json.dumps(values, ensure_ascii=False).encode()))


def load_kept_run(folder: Path) -> KeptRun:
    """Read the values of a run, of this version of the node or of an earlier one.

    Raises:
        InputError: the values are missing (the run measured nothing, or an old version did not keep them), damaged, or of a
            later version of the node.
    """
    path = folder / KEPT_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} cannot be read: {type(error).__name__}") from error
    # version 0.1.0 of the node wrote no schema version: its files are version 1
    version = values.pop("schema_version", 1) if isinstance(values, dict) else 1
    if version > KEPT_SCHEMA_VERSION:
        raise InputError(f"{path} was written by a later version of the node (schema {version}): update this node")
    try:
        return _KEPT_RUN.validate_json(json.dumps(values))
    except ValidationError as error:
        raise InputError(f"{folder}: {error.error_count()} of the kept values are missing or wrong") from error


def save_identity(folder: Path, identity: PatientIdentity) -> None:
    """Write the identity of the patient, as in the headers of the measured images."""
    _write(folder / IDENTITY_FILE, lambda file: file.write(_IDENTITY_JSON.dump_json(identity)))


def load_identity(folder: Path) -> PatientIdentity:
    """Read the identity of the patient.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        return _IDENTITY_JSON.validate_json((folder / IDENTITY_FILE).read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(f"{folder / IDENTITY_FILE} cannot be read: {type(error).__name__}") from error


def _write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    with whole_file(path) as file:
        write(file)
