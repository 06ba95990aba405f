"""Phantoms as volumes of the pipeline."""

from __future__ import annotations

import numpy as np

from node.model import HuArray, Orientation, SeriesFacts, Volume
from node.phantom import Phantom


def volume_of(phantom: Phantom, hu: HuArray) -> Volume:
    """An image of a phantom, with a header that contains only the geometry."""
    a, b, c = np.linalg.norm(phantom.affine_lps_mm[:3, :3], axis=0)
    orientation = Orientation(phantom.parameters.orientation)
    facts = SeriesFacts("", "", None, None, None, None, None, None, (float(c), float(b), float(a)), orientation)
    return Volume(hu, phantom.affine_lps_mm, facts, ())
