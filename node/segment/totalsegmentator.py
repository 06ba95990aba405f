"""TotalSegmentator (Wasserthal et al., Radiology: Artificial Intelligence 2023) through its own package.

The package is an extra (``bmd-node[totalsegmentator]``), its weights are downloaded once by
``totalseg_download_weights -t total`` on a machine with network access, and copied. The node itself needs no network: it
checks at start that everything the package would download is present, and switches off its usage statistics.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
from pydicom import charset

from node.common.errors import ConfigurationError
from node.model import Affine, HuArray, LabelArray, Segmentation, Volume
from node.segment.labelled import RIB, SACRUM, SpineLabels, name_and_draw
from node.settings.tree import LevelConvention

#: The task of the package that labels vertebrae and ribs, in its classes of version 2 and at its full resolution.
TASK = "total"
#: Files of one model, and the folder below the model's own that contains them.
MODEL_FOLDER = "*__nnUNetPlans__3d_fullres"
MODEL_FILES = ("plans.json", "dataset.json", "fold_0/checkpoint_final.pth")
#: VerSe number of the last vertebra of the region above: C1 is 1, T1 is 8, L1 is 20.
BEFORE_REGION = {"C": 0, "T": 7, "L": 19}

#: pydicom's table, before the package is imported.
_CHARACTER_SETS = dict(charset.python_encoding)
#: The package reads its folders from the environment and sets torch's threads: one run at a time in a process.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True, slots=True)
class _Package:
    """Facts about the installed package.

    Attributes:
        version: of the package.
        classes: label in its output, and name.
        models: names of the folders with the weights of the task.
        default_weights: folder that it uses by default.
    """

    version: str
    classes: dict[int, str]
    models: tuple[str, ...]
    default_weights: Path


class TotalSegmentator:
    """Runs the package's task ``total`` for vertebrae, sacrum and ribs; uses a GPU if there is one.

    Attributes:
        name: ``totalsegmentator``.
        version: of the package, and the first 12 hexadecimal digits of the SHA-256 of the weights.
    """

    name = "totalsegmentator"

    def __init__(self, weights: Path | None, convention: LevelConvention = "twelfth_rib") -> None:
        """Check that the package and all its weights are present; nothing is downloaded.

        Args:
            weights: folder with the models (``Dataset291_...``, ...); ``None`` for the package's own folder.
            convention: how levels are counted where the anatomy is unusual.

        Raises:
            ConfigurationError: the package is missing or does not work, or weights are missing.
        """
        self._convention = convention
        package = _package()
        self._weights = (weights or package.default_weights).absolute()
        self._models = package.models
        self._check_weights()
        self.version = f"{package.version} {_digest(self._weights, package.models)[:12]}"
        self._numbers = numbers_of(package.classes)
        self._classes = [name for value, name in package.classes.items() if self._numbers[value]]
        # Without a settings file in its home, the package would create one that allows usage statistics.
        self._home = tempfile.TemporaryDirectory(prefix="bmd-node-totalsegmentator-")
        settings = {
            "totalseg_id": "bmd-node",
            "send_usage_stats": False,
            "statistics_disclaimer_shown": True,
            "prediction_counter": 0,
        }
        (Path(self._home.name) / "config.json").write_text(json.dumps(settings), encoding="utf-8")

    def segment(self, volume: Volume, progress: Callable[[str], None]) -> Segmentation:
        """Find, outline and label the lumbar vertebral bodies of a volume; see :class:`node.segment.Segmenter`.

        A level is reported only if the package's label and the count of the bodies agree.
        """
        progress("segment: TotalSegmentator (slow without a GPU)")
        spine = SpineLabels(self.labels(volume), volume.affine_lps_mm, whole_vertebrae=True)
        return name_and_draw(volume, spine, "TotalSegmentator", progress, self._convention)

    def labels(self, volume: Volume) -> LabelArray:
        """Labels from the package, on the volume's grid, in the numbers of :class:`node.segment.labelled.SpineLabels`."""
        image = _to_nifti(volume.hu, volume.affine_lps_mm)
        # The package downloads missing weights: notice first if they were removed since the start.
        self._check_weights()
        # Its output must not get into the output of `bmd-node process --json`.
        with _ONE_AT_A_TIME, _our_character_sets(), contextlib.redirect_stdout(sys.stderr):
            os.environ["TOTALSEG_HOME_DIR"] = self._home.name
            os.environ["TOTALSEG_WEIGHTS_PATH"] = str(self._weights)
            from totalsegmentator.config import setup_nnunet
            from totalsegmentator.python_api import totalsegmentator

            setup_nnunet()
            self._check_models_folder()
            result = totalsegmentator(
                image, ml=True, task=TASK, roi_subset=self._classes, quiet=True, nr_thr_resamp=1, nr_thr_saving=1
            )
        found = np.asarray(result.dataobj).astype(np.uint8).transpose(2, 1, 0)
        return np.ascontiguousarray(self._numbers[found])

    def _check_weights(self) -> None:
        missing = [
            folder
            for folder in self._models
            if not any(all((m / f).is_file() for f in MODEL_FILES) for m in (self._weights / folder).glob(MODEL_FOLDER))
        ]
        if missing:
            raise ConfigurationError(
                f"TotalSegmentator's weights are missing in {self._weights}: {', '.join(missing)}. Run "
                f"`totalseg_download_weights -t {TASK}` on a machine with network access, copy the folders, and set "
                "totalsegmentator_weights in [segment] to the folder that contains them."
            )

    def _check_models_folder(self) -> None:
        """nnU-Net reads its folder once per process: a second segmenter would silently use the weights of the first."""
        from nnunetv2 import paths

        if paths.nnUNet_results != str(self._weights):
            raise ConfigurationError(
                f"nnU-Net already uses {paths.nnUNet_results} in this process: restart the node to use {self._weights}."
            )


def numbers_of(classes: dict[int, str]) -> npt.NDArray[np.uint8]:
    """Numbers of :class:`node.segment.labelled.SpineLabels` by label of the package, 0 for classes that the node does not
    need.

    Args:
        classes: label in the package's output, and name.

    Raises:
        ConfigurationError: a class is missing that is needed to label levels.
    """
    numbers = np.zeros(256, dtype=np.uint8)
    for value, name in classes.items():
        vertebra = re.fullmatch(r"vertebrae_([CTL])(\d+)", name)
        if vertebra:
            numbers[value] = BEFORE_REGION[vertebra[1]] + int(vertebra[2])
        elif name in {"sacrum", "vertebrae_S1"}:
            numbers[value] = SACRUM
        elif re.fullmatch(r"rib_(left|right)_\d+", name):
            numbers[value] = RIB
    needed = {*range(BEFORE_REGION["T"] + 1, BEFORE_REGION["L"] + 6), SACRUM, RIB}
    if not needed <= set(numbers.tolist()):
        raise ConfigurationError(
            "The installed TotalSegmentator does not have the classes that the node expects: install the "
            "version in constraints.txt."
        )
    return numbers


@contextlib.contextmanager
def _our_character_sets() -> Iterator[None]:
    """dicom2nifti, which the package imports, changes pydicom's table of character sets, and names in reports."""
    try:
        yield
    finally:
        charset.python_encoding.clear()
        charset.python_encoding.update(_CHARACTER_SETS)


@_our_character_sets()
def _package() -> _Package:
    """Import the package.

    Raises:
        ConfigurationError: it is not installed, or does not work with the installed torch.
    """
    if importlib.util.find_spec("totalsegmentator") is None:
        raise ConfigurationError("TotalSegmentator is not installed: pip install 'bmd-node[totalsegmentator]'.")
    try:
        from totalsegmentator.bin.totalseg_download_weights import TASK_TO_ID
        from totalsegmentator.config import get_weights_dir
        from totalsegmentator.map_tasks_config import TASK_ID_WEIGHTS_CONFIGS
        from totalsegmentator.map_to_binary import class_map

        # nnU-Net imports it from version 2.6.2 on, but only when it runs: too late for a clear message.
        if importlib.util.find_spec("torchvision") is not None:
            importlib.import_module("torchvision")
    except (ImportError, RuntimeError, OSError) as error:
        message = (
            f"TotalSegmentator does not work here ({error}): install it with the versions in constraints.txt, or the "
            "torchvision that belongs to the installed torch."
        )
        raise ConfigurationError(message) from error
    return _Package(
        importlib.metadata.version("TotalSegmentator"),
        dict(class_map[TASK]),
        tuple(str(TASK_ID_WEIGHTS_CONFIGS[number]["foldername"]) for number in TASK_TO_ID[TASK]),
        Path(get_weights_dir()),
    )


def _digest(weights: Path, models: tuple[str, ...]) -> str:
    """SHA-256 over the digests of all checkpoints."""
    digest = hashlib.sha256()
    for folder in models:
        for path in sorted((weights / folder).glob(f"{MODEL_FOLDER}/{MODEL_FILES[-1]}")):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _to_nifti(hu: HuArray, affine_lps_mm: Affine) -> nibabel.Nifti1Image:
    """The volume with axes (column, row, slice), in RAS."""
    affine_ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_lps_mm[:, [2, 1, 0, 3]]
    return nibabel.Nifti1Image(np.ascontiguousarray(hu.transpose(2, 1, 0)), affine_ras)  # type: ignore[no-untyped-call]
