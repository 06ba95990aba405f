"""Types of arrays and positions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

HuArray = npt.NDArray[np.int16]

LabelArray = npt.NDArray[np.uint8]

Affine = npt.NDArray[np.float64]

Vector = tuple[float, float, float]
