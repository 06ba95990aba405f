"""A digital lumbar spine with known densities, as a CT series, for the demo, the tests and the training.

``make_phantom(PhantomParameters(...))`` gives the image and its truth.
"""

from node.phantom.anatomy import Anatomy
from node.phantom.parameters import (
    ABDOMEN,
    ARTERIAL,
    BONE_KERNEL,
    MYELOGRAPHY,
    NARROW_SPINE,
    PORTAL_VENOUS,
    STANDARD_KERNEL,
    UNENHANCED,
    WHOLE_TRUNK,
    Contrast,
    FieldOfView,
    Kernel,
    PatientPosition,
    PhantomParameters,
    Scanner,
    Screws,
    Spine,
)
from node.phantom.phantom import Phantom, make_phantom
from node.phantom.random_parameters import random_parameters
from node.phantom.truth import LevelTruth, PhantomTruth

__all__ = [
    "ABDOMEN",
    "ARTERIAL",
    "BONE_KERNEL",
    "MYELOGRAPHY",
    "NARROW_SPINE",
    "PORTAL_VENOUS",
    "STANDARD_KERNEL",
    "UNENHANCED",
    "WHOLE_TRUNK",
    "Anatomy",
    "Contrast",
    "FieldOfView",
    "Kernel",
    "LevelTruth",
    "PatientPosition",
    "Phantom",
    "PhantomParameters",
    "PhantomTruth",
    "Scanner",
    "Screws",
    "Spine",
    "make_phantom",
    "random_parameters",
]
