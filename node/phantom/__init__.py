"""A digital lumbar spine with known densities, as a CT series, for the demo, the tests and the training.

``make_phantom(PhantomParameters(...))`` returns the image and its truth; ``write_series`` and ``write_truth`` write them.
"""

from node.phantom.anatomy import Anatomy
from node.phantom.calibration import CalibrationSetup, Flaw, RodTruth
from node.phantom.ct_series import CtHeader, write_ct_series
from node.phantom.parameters import (
    ABDOMEN,
    ARTERIAL,
    BONE_KERNEL,
    CONTRASTS,
    FIELDS_OF_VIEW,
    KERNELS,
    MYELOGRAPHY,
    NARROW_SPINE,
    PORTAL_VENOUS,
    SPINE_AND_RODS,
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
from node.phantom.pathology import Cement, Degeneration, Fracture, Lesion, Pathology
from node.phantom.phantom import Phantom, make_phantom
from node.phantom.random_parameters import random_parameters
from node.phantom.series import header_of, write_series, write_truth
from node.phantom.truth import LevelTruth, PhantomTruth

__all__ = [
    "ABDOMEN",
    "ARTERIAL",
    "BONE_KERNEL",
    "CONTRASTS",
    "FIELDS_OF_VIEW",
    "KERNELS",
    "MYELOGRAPHY",
    "NARROW_SPINE",
    "PORTAL_VENOUS",
    "SPINE_AND_RODS",
    "STANDARD_KERNEL",
    "UNENHANCED",
    "WHOLE_TRUNK",
    "Anatomy",
    "CalibrationSetup",
    "Cement",
    "Contrast",
    "CtHeader",
    "Degeneration",
    "FieldOfView",
    "Flaw",
    "Fracture",
    "Kernel",
    "Lesion",
    "LevelTruth",
    "Pathology",
    "PatientPosition",
    "Phantom",
    "PhantomParameters",
    "PhantomTruth",
    "RodTruth",
    "Scanner",
    "Screws",
    "Spine",
    "header_of",
    "make_phantom",
    "random_parameters",
    "write_ct_series",
    "write_series",
    "write_truth",
]
