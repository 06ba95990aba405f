"""The segmenter whose weights come with the package."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources

import numpy as np
import numpy.typing as npt
from safetensors.torch import load as load_tensors
from torch import nn

from node.common.errors import ConfigurationError
from node.language.phrase import phrase
from node.model import Affine, HuArray, Level, Reason, Segmentation, Volume
from node.segment.grid import FloatArray, grid_around, inside_source, resample_to_grid
from node.segment.inference import Prediction, crop_to_patient, predict
from node.segment.instances import Body, IntArray, find_bodies, spine_chain
from node.segment.naming import name_bodies
from node.segment.network import SPACING_MM, SpineNet
from node.segment.reach import Named
from node.segment.refine import Refined, RefineNet, refine_body
from node.segment.result import segmentation_of
from node.segment.selfcheck import narrow_throughout, outline_doubts
from node.settings.tree import LevelConvention

WEIGHTS_FILE = "spine.safetensors"
OUTLINE_WEIGHTS_FILE = "refine.safetensors"
OUTLINE_NOT_CERTAIN = "outline_not_certain"
NARROW = "narrow_vertebrae"


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What was found before labelling. Arrays are on the working grid.

    Attributes:
        hu: the patient on the working grid, HU.
        prediction: the network's output, with its grid.
        instances: number of the body at every voxel, 0 for none.
        chain: the bodies of the spine, from the head downward.
        inside: which voxels are inside the scanned volume.
    """

    hu: FloatArray
    prediction: Prediction
    instances: IntArray
    chain: list[Body]
    inside: npt.NDArray[np.bool_]


class EmbeddedSegmenter:
    """A 3D U-Net on 3 mm voxels finds the bodies, counting from sacrum and ribs labels them, a second network outlines each
    at 1 mm.

    Attributes:
        name: ``embedded``.
        version: first 12 hexadecimal digits of the SHA-256 of the weights, which :mod:`training` records.
        network: finds bodies, sacrum and ribs.
    """

    name = "embedded"

    def __init__(
        self,
        weights: bytes | None = None,
        outline_weights: bytes | None = None,
        convention: LevelConvention = "twelfth_rib",
    ) -> None:
        """Load the weights of the package, or the given contents of safetensors files.

        ``convention`` says how levels are counted where the anatomy is unusual.

        Raises:
            ConfigurationError: weights are missing from the installation, or do not fit the network.
        """
        spine = _packaged(WEIGHTS_FILE) if weights is None else weights
        outline = _packaged(OUTLINE_WEIGHTS_FILE) if outline_weights is None else outline_weights
        self.network, self._outline_network = SpineNet(), RefineNet()
        self._convention = convention
        self.version = hashlib.sha256(spine + outline).hexdigest()[:12]
        _fill(self.network, spine)
        _fill(self._outline_network, outline)

    def segment(self, volume: Volume, progress: Callable[[str], None]) -> Segmentation:
        """Find, outline and label the lumbar vertebral bodies of a volume.

        Args:
            volume: any orientation.
            progress: called with one short line per step.

        Returns:
            Labels on the volume's grid and the labelled bodies; no body and a reason if the levels are not certain.
        """
        found = self.find(volume.hu, volume.affine_lps_mm, progress)
        naming = name_bodies(found.prediction, found.instances, found.chain, found.inside, self._convention)
        drawn: list[tuple[Named, Refined]] = []
        for entry in naming.named:
            progress(f"segment: outline of {entry.level.name}")
            refined = refine_body(
                self._outline_network, volume.hu, volume.affine_lps_mm, found.prediction, found.instances, entry.body
            )
            drawn.append((entry, refined))
        doubts = outline_doubts(tuple(drawn))
        reasons = tuple(
            Reason(OUTLINE_NOT_CERTAIN, phrase("{level} is withheld: {doubt}.", level=level.name, doubt=doubt))
            for level, doubt in doubts.items()
            if level != Level.T12
        )
        narrow = narrow_throughout(tuple(drawn))
        if narrow:
            reasons = (*reasons, Reason(NARROW, narrow))
        kept = tuple((entry, refined) for entry, refined in drawn if entry.level not in doubts)
        return segmentation_of(volume, kept, (*naming.reasons, *reasons))

    def find(self, hu: HuArray, affine_lps_mm: Affine, progress: Callable[[str], None]) -> Found:
        """The vertebral bodies of a volume (arguments as in :class:`node.model.Volume`), not labelled yet."""
        shape = (hu.shape[0], hu.shape[1], hu.shape[2])
        progress("segment: resampling")
        whole = grid_around(affine_lps_mm, shape, SPACING_MM)
        working, grid = crop_to_patient(resample_to_grid(hu, affine_lps_mm, whole), whole)
        prediction = predict(self.network, working, grid, progress)
        instances, bodies = find_bodies(prediction)
        inside = inside_source(np.linalg.inv(affine_lps_mm) @ grid.affine_lps_mm(), grid.shape, shape)
        return Found(working, prediction, instances, spine_chain(bodies, grid.spacing_mm), inside)


def _packaged(name: str) -> bytes:
    try:
        return (resources.files("node.segment") / "weights" / name).read_bytes()
    except FileNotFoundError as error:
        message = f"Weights of the embedded segmenter ({name}) are missing: reinstall the package."
        raise ConfigurationError(message) from error


def _fill(network: nn.Module, weights: bytes) -> None:
    try:
        network.load_state_dict({key: value.float() for key, value in load_tensors(weights).items()})
    except RuntimeError as error:
        raise ConfigurationError(f"The weights do not fit the embedded network: {error}") from error
    network.eval()
