"""Inputs of the trainings: made from the data by :mod:`training.prepare`, stored in one file."""

from __future__ import annotations

import lzma
import pickle
from dataclasses import dataclass
from pathlib import Path

from training.anatomy import Anatomy
from training.refine_crops import Block
from training.synth import Sample


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Inputs of both trainings.

    Attributes:
        anatomies: people to paint.
        real: real CTs, with masks or labelled semi-automatically, for the first network.
        painted_blocks: bodies of masks, to be painted, for the second network.
        real_blocks: bodies of real CTs with masks, for the second network.
        digests: of the source data, for the header of the weights.
    """

    anatomies: tuple[Anatomy, ...]
    real: tuple[Sample, ...]
    painted_blocks: tuple[Block, ...]
    real_blocks: tuple[Block, ...]
    digests: dict[str, str]


def store_inputs(inputs: Inputs, folder: Path) -> None:
    """Store the inputs in a folder (about 30 MB)."""
    folder.mkdir(parents=True, exist_ok=True)
    path = _path(folder)
    path.with_suffix(".part").write_bytes(lzma.compress(pickle.dumps(inputs), preset=4))
    path.with_suffix(".part").rename(path)


def has_inputs(folder: Path) -> bool:
    """Whether a folder holds inputs."""
    return _path(folder).exists()


def load_inputs(folder: Path) -> Inputs:
    """The inputs of a folder.

    Raises:
        FileNotFoundError: the folder holds none.
    """
    if not has_inputs(folder):
        raise FileNotFoundError(f"There are no inputs in {folder}: give --data, or run training.prepare first.")
    inputs: Inputs = pickle.loads(lzma.decompress(_path(folder).read_bytes()))  # noqa: S301 - our own file
    return inputs


def _path(folder: Path) -> Path:
    return folder / "inputs.pickle.xz"
