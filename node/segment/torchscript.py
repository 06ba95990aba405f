"""A site's own network, as a TorchScript archive that declares its input and output in ``bmd-node.json``.

The contract, in :class:`node.segment.contract.Contract` and ``docs/segmenters.md``: the network maps HU of one patch,
float32 (1, 1, n, n, n) with axes (superior, posterior, left) and isotropic voxels, to (1, channels, n, n, n). Its channels
are logits either of the classes of the embedded network with offsets to the bodies' centres in mm, or of vertebrae by name.
It normalises HU itself. The node resamples, cuts into patches that overlap by half, averages, and labels levels by its own
rules: a label from the network is reported only if the count agrees.

TorchScript is deprecated in torch 2.13 but works there; the archive runs code, so use only archives that you trust.
"""

from __future__ import annotations

import hashlib
import itertools
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from node.common.errors import ConfigurationError
from node.model import Segmentation, Volume
from node.segment.contract import CONTRACT_FILE, OFFSETS, TISSUES, parse_contract
from node.segment.grid import FloatArray, IsoGrid, grid_around, inside_source, resample_to_grid
from node.segment.inference import (
    BONE_HU,
    LEAST_BONE_VOXELS,
    Prediction,
    average_patches,
    crop_to_patient,
    padded_to_patch,
)
from node.segment.instances import BODY_PROBABILITY, Body, IntArray, find_bodies, spine_chain
from node.segment.labelled import SpineLabels, name_and_draw
from node.segment.masks import BodyOutline
from node.segment.naming import name_bodies
from node.segment.network import Tissue
from node.segment.result import segmentation_of
from node.settings.tree import LevelConvention

#: Margin around a body in voxels, so that its surface is inside its crop.
MARGIN_VOXELS = 2


class TorchScriptSegmenter:
    """Runs the archive on the processor.

    Attributes:
        name: ``torchscript``.
        version: name and version from the contract, and the first 12 hexadecimal digits of the archive's SHA-256.
    """

    name = "torchscript"

    def __init__(self, path: Path, convention: LevelConvention = "twelfth_rib") -> None:
        """Load the archive and run it once on air.

        Args:
            path: of the archive.
            convention: how levels are counted where the anatomy is unusual.

        Raises:
            ConfigurationError: the file is missing or not TorchScript, or its contract is missing, invalid or violated.
        """
        self._convention = convention
        if not path.is_file():
            raise ConfigurationError(
                f'{path} does not exist: name an existing archive in segmenter = "torchscript:PATH" in [segment].'
            )
        try:
            self._network, contract = _load(path)
        except (RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ConfigurationError(
                f"{path} is not a TorchScript archive that the installed torch can load: {reason}"
            ) from error
        self.contract = parse_contract(contract, str(path))
        self._network.eval()
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:12]
        self.version = f"{self.contract.name} {self.contract.version} {digest}"
        self._try_once(path)

    def segment(self, volume: Volume, progress: Callable[[str], None]) -> Segmentation:
        """Find, outline and label the lumbar vertebral bodies of a volume; see :class:`node.segment.Segmenter`."""
        progress("segment: resampling")
        shape = (volume.hu.shape[0], volume.hu.shape[1], volume.hu.shape[2])
        whole = grid_around(volume.affine_lps_mm, shape, self.contract.spacing_mm)
        hu, grid = crop_to_patient(resample_to_grid(volume.hu, volume.affine_lps_mm, whole), whole)
        out = self._predict(hu, progress)
        if self.contract.by_name:
            labels = np.array(self.contract.numbers(), dtype=np.uint8)[out.argmax(axis=0)]
            spine = SpineLabels(labels, grid.affine_lps_mm(), self.contract.vertebrae == "whole")
            return name_and_draw(volume, spine, self.contract.name, progress, self._convention)
        prediction = self._as_prediction(out, grid)
        instances, bodies = find_bodies(prediction)
        inside = inside_source(np.linalg.inv(volume.affine_lps_mm) @ grid.affine_lps_mm(), grid.shape, shape)
        naming = name_bodies(prediction, instances, spine_chain(bodies, grid.spacing_mm), inside, self._convention)
        outlined = tuple((entry, _own_outline(prediction, instances, entry.body)) for entry in naming.named)
        return segmentation_of(volume, outlined, naming.reasons)

    def _try_once(self, path: Path) -> None:
        """Check that the network keeps its contract on one patch of air."""
        n, channels = self.contract.patch_voxels, len(self.contract.channels)
        try:
            out = self._run(torch.full((1, 1, n, n, n), self.contract.hu_range[0]))
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise ConfigurationError(f"{path} fails on a patch of {n} voxels (patch_voxels): {reason}") from error
        if not isinstance(out, Tensor) or tuple(out.shape) != (1, channels, n, n, n):
            gives = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise ConfigurationError(
                f"{path} returns {gives}, but its contract says {(1, channels, n, n, n)} (channels, patch_voxels)."
            )
        if not bool(torch.isfinite(out).all()):
            raise ConfigurationError(f"{path} returns values that are not finite on a patch of air (hu_range).")

    def _run(self, patch: Tensor) -> Tensor:
        with torch.inference_mode():
            out: Tensor = self._network(patch.clamp(*self.contract.hu_range))
        return out

    def _predict(self, hu: FloatArray, progress: Callable[[str], None]) -> FloatArray:
        """Probabilities of the classes and offsets in mm, (channels, *hu.shape); background if there is no bone."""
        classes, n = self.contract.classes, self.contract.patch_voxels

        def probabilities_and_offsets(patch: Tensor) -> Tensor:
            out = self._run(patch)[0].float()
            return torch.cat([out[:classes].softmax(dim=0), out[classes:]])

        padded = padded_to_patch(hu, n)
        channels = len(self.contract.channels)
        out, unseen = average_patches(probabilities_and_offsets, channels, padded, _tiles(padded, n), n, progress)
        out[self.contract.channels.index("background")][unseen] = 1.0
        return out[:, : hu.shape[0], : hu.shape[1], : hu.shape[2]]

    def _as_prediction(self, out: FloatArray, grid: IsoGrid) -> Prediction:
        probability = np.zeros((len(Tissue), *grid.shape), dtype=np.float32)
        for channel, name in enumerate(self.contract.channels[: self.contract.classes]):
            probability[int(TISSUES[name])] = out[channel]
        return Prediction(grid, probability, out[-len(OFFSETS) :])


def _tiles(hu: FloatArray, patch_voxels: int) -> list[tuple[int, int, int]]:
    """First voxels of patches that cover the volume and overlap by half; those without bone are left out."""
    n = patch_voxels
    sides = []
    for size in hu.shape:
        count = 1 + -(-(size - n) // (n // 2))
        sides.append([round(i * (size - n) / max(count - 1, 1)) for i in range(count)])
    starts = itertools.product(*sides)
    return [(z, y, x) for z, y, x in starts if (hu[z : z + n, y : y + n, x : x + n] > BONE_HU).sum() >= LEAST_BONE_VOXELS]


def _own_outline(prediction: Prediction, instances: IntArray, body: Body) -> BodyOutline:
    """The probability of one body, on the part of the grid around it."""
    own = instances == body.number
    index = np.argwhere(own)
    low = np.maximum(index.min(axis=0) - MARGIN_VOXELS, 0)
    high = np.minimum(index.max(axis=0) + MARGIN_VOXELS + 1, own.shape)
    part = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
    both = prediction.of(Tissue.UPPER_BODY, Tissue.LUMBAR_BODY)[part]
    mine = own[part] | ((instances[part] == 0) & (both < BODY_PROBABILITY))
    probability = np.where(mine, both, np.float32(0.0))
    x, y, z = prediction.grid.to_lps_mm(low[None].astype(np.float64))[0]
    size = (probability.shape[0], probability.shape[1], probability.shape[2])
    return BodyOutline(probability, IsoGrid((float(x), float(y), float(z)), prediction.grid.spacing_mm, size))


def _load(path: Path) -> tuple[torch.jit.ScriptModule, bytes]:
    """The network and its contract, empty if it has none."""
    extra: dict[str, bytes] = {CONTRACT_FILE: b""}
    with warnings.catch_warnings():
        # Operators of a node can do nothing about the deprecation of TorchScript.
        warnings.simplefilter("ignore", DeprecationWarning)
        network: torch.jit.ScriptModule = torch.jit.load(  # type: ignore[no-untyped-call]
            str(path), map_location="cpu", _extra_files=extra
        )
    return network, extra[CONTRACT_FILE]
