"""The values passed between rooms: frozen, typed, with units in their names; sentences are translatable phrases.

Positions are in the DICOM patient coordinate system (PS3.3 C.7.6.2.1.1), LPS, in millimetres. Arrays of a volume have axis 0
along the slices, axis 1 along the rows and axis 2 along the columns of the source images.
"""

from node.model.arrays import Affine, HuArray, LabelArray, Vector
from node.model.bodies import Segmentation, VertebralBody
from node.model.density import ACR_THRESHOLDS_MG_CM3, ADULT_FROM_YEARS, AcrCategory, Bmd, Calibration, ContrastCorrection
from node.model.finding_codes import NO_BMD_CODES, LevelFindingCode, ScanFindingCode
from node.model.levels import MEASURED_LEVELS, Level
from node.model.measurement import (
    NOTHING_READ,
    ContrastConclusion,
    FractureKind,
    LevelMeasurement,
    Measurement,
    ScanReadings,
)
from node.model.reasons import Reason
from node.model.result import PatientRank, PriorComparison, Software, StudyResult
from node.model.series import (
    NIFTI_IMAGE_TYPE,
    AgeDoubt,
    Candidate,
    ContrastPhase,
    Orientation,
    Selection,
    SeriesFacts,
    SeriesLeftOut,
    SourceFrame,
    Volume,
)

__all__ = [
    "ACR_THRESHOLDS_MG_CM3",
    "ADULT_FROM_YEARS",
    "MEASURED_LEVELS",
    "NIFTI_IMAGE_TYPE",
    "NOTHING_READ",
    "NO_BMD_CODES",
    "AcrCategory",
    "Affine",
    "AgeDoubt",
    "Bmd",
    "Calibration",
    "Candidate",
    "ContrastConclusion",
    "ContrastCorrection",
    "ContrastPhase",
    "FractureKind",
    "HuArray",
    "LabelArray",
    "Level",
    "LevelFindingCode",
    "LevelMeasurement",
    "Measurement",
    "Orientation",
    "PatientRank",
    "PriorComparison",
    "Reason",
    "ScanFindingCode",
    "ScanReadings",
    "Segmentation",
    "Selection",
    "SeriesFacts",
    "SeriesLeftOut",
    "Software",
    "SourceFrame",
    "StudyResult",
    "Vector",
    "VertebralBody",
    "Volume",
]
