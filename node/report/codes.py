"""Coded concepts of the objects: standard ones where they exist, a declared private scheme where not.

Volumetric trabecular BMD and the ACR category have no standard code (LOINC's BMD codes mean DXA); SCT osteoporosis names a
diagnosis, which a screening estimate is not.
"""

from __future__ import annotations

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.sr.coding import Code

from node.model import AcrCategory, Level
from node.uids import derived_uid

#: Name under which the receiver recognises our own objects when a PACS sends them back.
MANUFACTURER = "bmd-node project"
MODEL_NAME = "bmd-node"

_PRIVATE = "99BMDNODE"


def coding_scheme() -> CodingSchemeIdentificationItem:
    """Declares the private scheme (PS3.3 C.12.1.1.11)."""
    return CodingSchemeIdentificationItem(
        designator=_PRIVATE,
        name="bmd-node concepts",
        version="1",
        uid=derived_uid("bmd-node", "coding scheme"),
        responsible_organization=MANUFACTURER,
    )


#: SNOMED CT structures of the levels (CID 7602). L6 has no code of its own: a vertebra, its label says which.
VERTEBRA = {
    Level.T12: Code("23215003", "SCT", "T12 vertebra"),
    Level.L1: Code("66794005", "SCT", "L1 vertebra"),
    Level.L2: Code("14293000", "SCT", "L2 vertebra"),
    Level.L3: Code("36470004", "SCT", "L3 vertebra"),
    Level.L4: Code("11994002", "SCT", "L4 vertebra"),
    Level.L5: Code("49668003", "SCT", "L5 vertebra"),
    Level.L6: Code("51282000", "SCT", "Vertebra"),
}
LUMBAR_SPINE = Code("122496007", "SCT", "Lumbar spine")
ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")

ATTENUATION = Code("112031", "DCM", "Attenuation Coefficient")
MEAN = Code("373098007", "SCT", "Mean")
ATTENUATION_DEVIATION = Code("112183", "DCM", "Standard Deviation of Attenuation Coefficient")
VOLUME = Code("118565006", "SCT", "Volume")
SUMMARY = Code("121111", "DCM", "Summary")
CONCLUSION = Code("121077", "DCM", "Conclusion")
CONTRAST_PHASE = Code("109058", "DCM", "Contrast Phase")
EQUATION = Code("121420", "DCM", "Equation")
EQUATION_CITATION = Code("121421", "DCM", "Equation Citation")
PREVIOUS_FINDING = Code("121069", "DCM", "Previous Finding")
STUDY_INSTANCE_UID = Code("110180", "DCM", "Study Instance UID")
STUDY_DATE = Code("111060", "DCM", "Study Date")
SOURCE = Code("260753009", "SCT", "Source")
#: Title, headings and elements of a diagnostic imaging report (context groups 7000, 7001, 7002).
CT_REPORT = Code("18747-6", "LN", "CT Report")
CONCLUSIONS = Code("121076", "DCM", "Conclusions")
FINDINGS = Code("121070", "DCM", "Findings")
FINDING = Code("121071", "DCM", "Finding")
YES = Code("373066001", "SCT", "Yes")
NO = Code("373067005", "SCT", "No")
#: In context group 100; a plain "Computed tomography" is not.
CT_PROCEDURE = Code("25045-6", "LN", "CT unspecified body region")

HOUNSFIELD = Code("[hnsf'U]", "UCUM", "Hounsfield unit")
MG_CM3 = Code("mg/cm3", "UCUM", "mg/cm3")
MG_CM3_PER_HOUNSFIELD = Code("mg/cm3/[hnsf'U]", "UCUM", "mg/cm3 per Hounsfield unit")
MM3 = Code("mm3", "UCUM", "cubic millimeter")

MEASURED_REGION = Code("REGION", _PRIVATE, "Measured trabecular region of vertebral body")
TRABECULAR_BMD = Code("VBMD", _PRIVATE, "Volumetric trabecular bone mineral density")
MEAN_TRABECULAR_BMD = Code("VBMD-MEAN", _PRIVATE, "Mean trabecular BMD of the levels used")
BMD_LOWER_END = Code("VBMD-LOWER", _PRIVATE, "Lower end of interval of trabecular BMD")
BMD_UPPER_END = Code("VBMD-UPPER", _PRIVATE, "Upper end of interval of trabecular BMD")
ACR_CATEGORY = Code("ACR-CATEGORY", _PRIVATE, "ACR category of lumbar trabecular BMD")
CATEGORY = {
    AcrCategory.OSTEOPOROSIS: Code("ACR-OSTEOPOROSIS", _PRIVATE, "Osteoporosis range, below 80 mg/cm3"),
    AcrCategory.LOW_BONE_MASS: Code("ACR-LOW", _PRIVATE, "Low bone mass range, 80 to 120 mg/cm3"),
    AcrCategory.NORMAL: Code("ACR-NORMAL", _PRIVATE, "Normal range, above 120 mg/cm3"),
}
BORDERLINE = Code("BORDERLINE", _PRIVATE, "Interval reaches into another ACR category")
# Quality Assessment (DCM 111050) won't do: its values say "Usable - does not meet ..." or blame the image, but a
# fractured vertebra on a perfect image must not count either.
COUNTS_FOR_MEAN = Code("COUNTS", _PRIVATE, "Level counts for the mean")
LEVEL_FINDING = Code("LEVEL-FINDING", _PRIVATE, "Finding on the level")
LEVELS_USED = Code("LEVELS-USED", _PRIVATE, "Levels used for the mean")
NO_BMD_REASON = Code("NO-BMD-REASON", _PRIVATE, "Reason why there is no BMD or no category")
HU_REFERENCE = Code("HU-REFERENCE", _PRIVATE, "Attenuation beside published limits")
CAVEAT = Code("CAVEAT", _PRIVATE, "Caveat")
CALIBRATION_ID = Code("CAL-ID", _PRIVATE, "Identifier of calibration equation")
CALIBRATION_SLOPE = Code("CAL-SLOPE", _PRIVATE, "Slope of calibration equation")
CALIBRATION_INTERCEPT = Code("CAL-INTERCEPT", _PRIVATE, "Intercept of calibration equation")
CONTRAST_CORRECTION = Code("CAL-CONTRAST", _PRIVATE, "Taken off for contrast by the site")
CALIBRATION_MATERIAL = Code("CAL-MATERIAL", _PRIVATE, "Reference material of calibration")
