"""The sacrum, and whether the lowest body of a chain is the one above it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.language.phrase import Phrase, phrase
from node.segment.inference import Prediction
from node.segment.instances import Body
from node.segment.network import Tissue
from node.segment.seen import THORACIC_FROM

BoolArray = npt.NDArray[np.bool_]

#: A smaller sacrum is not one, or only its tip or edge: the upper two segments of a small adult are larger.
LEAST_SACRUM_CM3 = 20.0
#: Less than this is not worth a word.
LEAST_SAID_CM3 = 2.0
#: Largest distance in mm between the surfaces of the lowest body and the sacrum: the L5/S1 disc is at most about 15 mm high.
MOST_SACRUM_GAP_MM = 16.0
#: With more sacrum than this above the middle of the lowest body, in cm3, that body may be S1: the wings next to the upper
#: half of S1 have 12 to 100 cm3 (real CTs, phantoms, painted people); next to the upper half of L5 there is none.
MOST_SACRUM_BESIDE_CM3 = 8.0


def find_sacrum(prediction: Prediction) -> tuple[BoolArray, float]:
    """The largest connected region of sacrum, and its volume in cm3, which is 0 if there is none."""
    parts, count = ndimage.label(prediction.probability[Tissue.SACRUM] > 0.5)
    if count == 0:
        return np.zeros(prediction.grid.shape, dtype=bool), 0.0
    sizes = np.bincount(parts.ravel())[1:]
    return np.asarray(parts == 1 + int(np.argmax(sizes))), float(sizes.max()) * prediction.grid.spacing_mm**3 / 1000.0


def sacrum_doubt(
    prediction: Prediction, instances: npt.NDArray[np.int32], chain: list[Body], sacrum: BoolArray
) -> Phrase | None:
    """Why the lowest body of the chain may not be the one above the sacrum; ``None`` if it is."""
    spacing = prediction.grid.spacing_mm
    lowest = chain[-1]
    around = ndimage.distance_transform_edt(~sacrum) * spacing
    gap = float(around[instances == lowest.number].min())
    if gap > MOST_SACRUM_GAP_MM:
        return phrase(
            "The lowest vertebral body found lies {gap:.0f} mm from the sacrum: a vertebra may have been missed.", gap=gap
        )
    # The sacrum's wings and articular processes reach up behind L5, but not above its middle; next to S1 they do. Up is the
    # direction of the next body: in the scanner's frame one wing is higher if the pelvis is tilted.
    up = chain[-2].centre - lowest.centre if len(chain) > 1 else np.array([1.0, 0.0, 0.0])
    above_cm3 = float(((np.argwhere(sacrum) - lowest.centre) @ up >= 0).sum()) * spacing**3 / 1000.0
    if above_cm3 > MOST_SACRUM_BESIDE_CM3:
        return phrase(
            "The sacrum reaches above the middle of the lowest vertebral body, so that body may be part of the sacrum."
        )
    if lowest.thoracic >= THORACIC_FROM:
        return phrase("The body above the sacrum does not look lumbar.")
    return None
