"""The structures of a phantom, and the parts that it is painted from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from node.phantom.shapes import Frame, Solid


class Anatomy(IntEnum):
    """Value in the full label map of a phantom.

    Vertebral bodies and the sacrum have the numbers of VerSe (T7 = 14 to L6 = 25, sacrum 26); posterior elements are 100
    higher than their body, the disc below a vertebra is 140 higher, and rib n is 60 + n on both sides.
    """

    AIR = 0
    TABLE = 1
    FAT = 2
    MUSCLE = 3
    LUNG = 4
    HEART = 5
    LIVER = 6
    SPLEEN = 7
    KIDNEY = 8
    STOMACH = 9
    BOWEL = 10
    BLADDER = 11
    T7 = 14
    T8 = 15
    T9 = 16
    T10 = 17
    T11 = 18
    T12 = 19
    L1 = 20
    L2 = 21
    L3 = 22
    L4 = 23
    L5 = 24
    L6 = 25
    SACRUM = 26
    CANAL = 31
    ILIUM = 32
    FEMUR = 33
    AORTA = 40
    VENA_CAVA = 41
    ILIAC_VESSELS = 42
    PSOAS = 43
    PARASPINAL_MUSCLE = 44
    QUADRATUS_LUMBORUM = 45
    RIB_7 = 67
    RIB_8 = 68
    RIB_9 = 69
    RIB_10 = 70
    RIB_11 = 71
    RIB_12 = 72
    POSTERIOR_T7 = 114
    POSTERIOR_T8 = 115
    POSTERIOR_T9 = 116
    POSTERIOR_T10 = 117
    POSTERIOR_T11 = 118
    POSTERIOR_T12 = 119
    POSTERIOR_L1 = 120
    POSTERIOR_L2 = 121
    POSTERIOR_L3 = 122
    POSTERIOR_L4 = 123
    POSTERIOR_L5 = 124
    POSTERIOR_L6 = 125
    DISC_T7 = 154
    DISC_T8 = 155
    DISC_T9 = 156
    DISC_T10 = 157
    DISC_T11 = 158
    DISC_T12 = 159
    DISC_L1 = 160
    DISC_L2 = 161
    DISC_L3 = 162
    DISC_L4 = 163
    DISC_L5 = 164
    DISC_L6 = 165
    CALIBRATION_PHANTOM = 180
    ROD = 181


@dataclass(frozen=True, slots=True)
class Layer:
    """What fills a solid from ``inset_mm`` below its surface inward; ``anatomy`` ``None`` keeps the label."""

    hu: float
    anatomy: Anatomy | None
    inset_mm: float = 0.0


@dataclass(frozen=True, slots=True)
class Part:
    """A solid in the patient, with its layers; a later part covers an earlier one.

    Attributes:
        least_depth_mm: the part is cut off this far below the skin; ``None`` for no limit.
    """

    solid: Solid
    frame: Frame
    layers: tuple[Layer, ...]
    least_depth_mm: float | None = None


def filled(solid: Solid, frame: Frame, hu: float, anatomy: Anatomy | None) -> Part:
    """A part of one material."""
    return Part(solid, frame, (Layer(hu, anatomy),))
