"""Phantoms as label maps of another segmenter."""

from __future__ import annotations

import numpy as np

from node.model import LabelArray
from node.phantom import Anatomy, Phantom


def vertebra_names(phantom: Phantom) -> dict[str, LabelArray]:
    """Masks of whole vertebrae by name (``L1``), and of ``sacrum`` and ``rib``, on the phantom's grid."""
    anatomy = phantom.truth.anatomy
    masks: dict[str, LabelArray] = {}
    for value in Anatomy:
        name = value.name.removeprefix("POSTERIOR_")
        name = "rib" if name.startswith("RIB_") else name.lower() if name == "SACRUM" else name
        if name in {"rib", "sacrum"} or (name[0] in "TL" and name[1:].isdigit()):
            masks[name] = masks.get(name, np.zeros(anatomy.shape, dtype=bool)) | (anatomy == value)
    return {name: mask for name, mask in masks.items() if mask.any()}


def total_labels(phantom: Phantom, classes: dict[int, str], called: dict[str, str] | None = None) -> LabelArray:
    """The phantom as labelled by TotalSegmentator, with some vertebrae mislabelled.

    Args:
        phantom: with its truth.
        classes: the package's labels and names.
        called: true name to the one given; ``""`` leaves a vertebra, or the ribs, out.
    """
    numbers = {name: value for value, name in classes.items()}
    out = np.zeros(phantom.hu.shape, dtype=np.uint8)
    for name, mask in vertebra_names(phantom).items():
        given = (called or {}).get(name, name)
        if given:
            known = {"rib": "rib_left_10", "sacrum": "sacrum"}
            out[mask.astype(bool)] = numbers[known.get(given, f"vertebrae_{given}")]
    return out
