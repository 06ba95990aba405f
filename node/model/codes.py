"""Coded concepts of the objects: standard codes if they exist, otherwise a declared private scheme.

Volumetric trabecular BMD and the ACR category have no standard code (LOINC's BMD codes mean DXA); SCT osteoporosis names a
diagnosis, which a screening estimate is not.
"""

from __future__ import annotations

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.sr.coding import Code

from node.common.uids import derived_uid
from node.model import AcrCategory, Level

#: Manufacturer and model name of created objects; the receiver recognises them when a PACS sends them back.
MANUFACTURER = "bmd-node project"
MODEL_NAME = "bmd-node"

#: Designator of the private scheme in DICOM and HL7 v2, and its UID.
PRIVATE_SCHEME = "99BMDNODE"
PRIVATE_SCHEME_UID = derived_uid("bmd-node", "coding scheme")


def coding_scheme() -> CodingSchemeIdentificationItem:
    """Declares the private scheme (PS3.3 C.12.1.1.11)."""
    return CodingSchemeIdentificationItem(
        designator=PRIVATE_SCHEME,
        name="bmd-node concepts",
        version="1",
        uid=PRIVATE_SCHEME_UID,
        responsible_organization=MANUFACTURER,
    )


#: SNOMED CT structures of the levels (CID 7602). L6 has no specific code: it is a vertebra, and its label says which.
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

MEASURED_REGION = Code("REGION", PRIVATE_SCHEME, "Measured trabecular region of vertebral body")
TRABECULAR_BMD = Code("VBMD", PRIVATE_SCHEME, "Volumetric trabecular bone mineral density")
MEAN_TRABECULAR_BMD = Code("VBMD-MEAN", PRIVATE_SCHEME, "Mean trabecular BMD of the levels used")
BMD_LOWER_END = Code("VBMD-LOWER", PRIVATE_SCHEME, "Lower end of interval of trabecular BMD")
BMD_UPPER_END = Code("VBMD-UPPER", PRIVATE_SCHEME, "Upper end of interval of trabecular BMD")
ACR_CATEGORY = Code("ACR-CATEGORY", PRIVATE_SCHEME, "ACR category of lumbar trabecular BMD")
CATEGORY = {
    AcrCategory.OSTEOPOROSIS: Code("ACR-OSTEOPOROSIS", PRIVATE_SCHEME, "Osteoporosis range, below 80 mg/cm3"),
    AcrCategory.LOW_BONE_MASS: Code("ACR-LOW", PRIVATE_SCHEME, "Low bone mass range, 80 to 120 mg/cm3"),
    AcrCategory.NORMAL: Code("ACR-NORMAL", PRIVATE_SCHEME, "Normal range, above 120 mg/cm3"),
}
BORDERLINE = Code("BORDERLINE", PRIVATE_SCHEME, "Interval reaches into another ACR category")
# Quality Assessment (DCM 111050) does not fit: its values say "Usable - does not meet ..." or refer to image quality, but
# a fractured vertebra on a perfect image must not count either.
COUNTS_FOR_MEAN = Code("COUNTS", PRIVATE_SCHEME, "Level counts for the mean")
LEVEL_FINDING = Code("LEVEL-FINDING", PRIVATE_SCHEME, "Finding on the level")
LEVELS_USED = Code("LEVELS-USED", PRIVATE_SCHEME, "Levels used for the mean")
NO_BMD_REASON = Code("NO-BMD-REASON", PRIVATE_SCHEME, "Reason why there is no BMD or no category")
HU_REFERENCE = Code("HU-REFERENCE", PRIVATE_SCHEME, "Attenuation beside published limits")
HU_USUAL = Code("HU-USUAL", PRIVATE_SCHEME, "Attenuation beside what is usual at the patient's age")
HU_RANK = Code("HU-RANK", PRIVATE_SCHEME, "Attenuation beside the hospital's own patients")
REPORT_TEXT = Code("REPORT-TEXT", PRIVATE_SCHEME, "Text for the report of the CT")
CAVEAT = Code("CAVEAT", PRIVATE_SCHEME, "Caveat")
CALIBRATION_ID = Code("CAL-ID", PRIVATE_SCHEME, "Identifier of calibration equation")
CALIBRATION_SLOPE = Code("CAL-SLOPE", PRIVATE_SCHEME, "Slope of calibration equation")
CALIBRATION_INTERCEPT = Code("CAL-INTERCEPT", PRIVATE_SCHEME, "Intercept of calibration equation")
CONTRAST_CORRECTION = Code("CAL-CONTRAST", PRIVATE_SCHEME, "Taken off for contrast by the site")
CALIBRATION_MATERIAL = Code("CAL-MATERIAL", PRIVATE_SCHEME, "Reference material of calibration")
