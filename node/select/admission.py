"""Which images are a valid source of Hounsfield units: decided per frame, from the header alone.

The rules refuse everything that cannot be shown to be true HU. A wrong refusal loses one series, with a reason; a wrong
admission gives a wrong density. Between the two are images whose HU are credible and not certain: these are measured, and no
bone density is concluded (:func:`hu_doubt`). ``docs/admission.md`` has the rules as a table.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydicom.uid import HTJ2K, JPEG2000, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

from node.language.phrase import Phrase, phrase
from node.model import Reason
from node.select.geometry import orientation_fault
from node.select.headers import CT_SOP_CLASSES, FrameHeader
from node.select.image_types import Worth, is_accepted, row_of, spaced

#: PS3.4 B.5: the Secondary Capture SOP classes begin with this.
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
#: PS3.5 8.2: JPEG processes 1, 2 and 4 are always lossy; the others may be, and only the header says so.
_LOSSY_SYNTAXES = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit})
_PERHAPS_LOSSY_SYNTAXES = frozenset({JPEGLSNearLossless, JPEG2000, HTJ2K})

#: Named in every refusal for the sake of Image Type.
_SETTING = "select.accept_image_types"

_Rule = tuple[str, Phrase, re.Pattern[str]]


def _rule(code: str, what: Phrase, pattern: str) -> _Rule:
    return code, what, re.compile(pattern, re.IGNORECASE)


#: Words that mark an image without true HU wherever they occur: in Image Type, Frame Type, Volume Based Calculation
#: Technique, Series Description, Derivation Description or the meaning of a derivation code. Multi-energy terms are those of
#: Image Type value 4 (PS3.3 C.8.2.1.1.1) and of the scanners' own series names.
_WORDS = (
    _rule(
        "projection",
        phrase("an intensity projection"),
        r"\b(mip|mnip|minip|aip|(min|max|mean|avg) ?ip|(maximum|minimum|average|mean) (intensity|value)|intensity projection"
        r"|ray ?sum)\b",
    ),
    _rule(
        "spectral_image",
        phrase("computed from several energies"),
        r"\bvmi\b|\bmono ?e(nergetic)?\b|\bmono ?(chromatic|plus|\d)|\d ?kev\b|\bvirtual (non|un|native|mono)"
        r"|\b(vnc|vncca|vue|tnc)\b|iodine|iodmap|\bca(lcium)? ?supp?(r\w*)?\b|\bz ?eff|effective (atomic|z)"
        r"|\beff atomic num\b|electron density|\bmat (specific|removed|fractional|modified|value based)\b|uric ?acid"
        r"|\bsbi\b|\b(water|fat|hap|calcium) ?\(",
    ),
    _rule(
        "functional_map",
        phrase("a perfusion or subtraction image"),
        r"\bperfusion\b|\b(cbf|cbv|mtt|ttp|tmax)\b|subtract|\bdsa\b|permeability|parametric|washout map",
    ),
    _rule(
        "rendering",
        phrase("a rendering or a screenshot"),
        r"\b(vrt|vr|ssd|cpr)\b|(volume|surface) render|\bscreen ?(save|shot|capture)|\bcurved\b|\bcinematic",
    ),
)
#: Words that mark such an image in Image Type, but are harmless in the series description.
_IMAGE_TYPE_WORDS = (
    _rule("projection", phrase("an intensity projection"), r"\b(average|mean|maximum|minimum|projection|std deviation)\b"),
    _rule("functional_map", phrase("a computed map"), r"\b(subtraction|addition|division|multiplication|quantity|masked)\b"),
    _rule("secondary_capture", phrase("a screenshot"), r"\b(screen|capture|protocol|dose)\b"),
    _rule("localizer", phrase("a localizer"), r"\b(localizer|scout|topogram|surview|scanogram|topo)\b"),
)
#: Compact, lower-case parts of Manufacturer and Manufacturer's Model Name that a workstation, a planning system or an
#: anonymiser wrote instead of the scanner's: how it processed the values is unknown. ``mim`` is appended to a maker's name.
_WORKSTATIONS = (
    *("osirix", "horos", "intellispace", "syngo3d", "syngo.via", "syngovia", "somaris/53d", "safect", "vitrea"),
    *("vitalimages", "voxar", "inteleviewer", "mckesson", "riverain", "cerr"),
    *("/mim", "mimsoftware", "terarecon", "aquariusnet", "mevislab", "matlab", "imagej"),
    *("certegra", "volumeaccess", "patientverification", "imagequalitytb", "xlab", "advantageworkstation"),
    *("advantagewindows", "radiant"),
)
#: Programs that resample or copy a CT and keep its HU, which they need themselves: planning systems for radiation (XiO,
#: Pinnacle, Eclipse, RayStation, Monaco, Oncentra, iPlan), 3D Slicer, Plastimatch and converters. HU are reported, without a
#: bone density: the scanner and its processing are unknown. 3D Slicer writes "Unknown manufacturer".
_KEEPERS = (
    *("cms,inc", "computerizedmedicalsystems", "pinnacle", "ariaradonc", "eclipse", "varian", "raystation"),
    *("raysearch", "monaco", "elekta", "oncentra", "nucletron", "prowess", "isogray", "brainlab", "iplan", "velocity"),
    *(
        "accuray",
        "3dslicer",
        "slicer",
        "plastimatch",
        "simpleitk",
        "dcm2niix",
        "nibabel",
        "highdicom",
        "unknownmanufacturer",
    ),
    *("unknownmodel",),
)
#: Cone-beam, angiography, mammography and small-animal machines that call their images CT; because of scatter their values
#: are not HU.
_NO_BODY_CT = (
    *("conebeam", "cone-beam", "cbct", "truebeam", "halcyon", "axiom-artis", "artiszee", "selenia", "inveon"),
    *("o-arm", "newtom", "i-cat", "planmeca", "on-boardimager", "onboardimager", "tomotherapy", "hi-art", "mvct"),
)
_KEEPER_WORDS = re.compile(r"\b(xio|itk|gdcm)\b", re.IGNORECASE)
_NO_BODY_CT_WORDS = re.compile(r"\b(obi|xvi)\b", re.IGNORECASE)


def refusal(frame: FrameHeader, accepted: Sequence[str] = ()) -> Reason | None:
    """Why a frame is not a source of Hounsfield units; ``None`` if it is, according to its header.

    Args:
        frame: the header.
        accepted: ``select.accept_image_types``, Image Types that the site takes for true HU.
    """
    return _no_ct(frame) or _no_true_hu(frame, accepted) or _no_values(frame) or _no_place(frame)


def hu_doubt(frame: FrameHeader, accepted: Sequence[str] = ()) -> Phrase | None:
    """Why the HU of an admitted frame are credible but not certain; ``None`` if they are certain."""
    row = row_of(frame.image_type, frame.calculation_technique or "")
    if row.worth is Worth.HU and row.why is not None and not is_accepted(frame.image_type, accepted):
        return phrase(
            "{why} (Image Type {named}; a site may accept it with {setting})",
            why=row.why,
            named="\\".join(frame.image_type),
            setting=_SETTING,
        )
    name = f"{frame.manufacturer or ''} {frame.manufacturer_model_name or ''}".strip()
    compact = "".join(name.lower().split())
    if _KEEPER_WORDS.search(name) or any(part in compact for part in _KEEPERS):
        return phrase("written by {name}, and not by the scanner", name=name)
    return None


def is_multi_energy(frame: FrameHeader) -> bool:
    """Whether an image was computed from several energies, so that KVP does not define its scale (PS3.3 C.8.15.3.12).

    Old scanners do not write the attribute for it, so the names that Siemens, GE and Philips use for blended images and
    dual-energy kernels count as well.
    """
    kernel, description = frame.convolution_kernel or "", spaced(frame.series_description or "")
    return (
        frame.multi_energy
        or re.match(r"[DQ]\d\d", kernel) is not None
        or re.search(r"\bdual ?energy\b|\bdect\b|\bgsi\b|\bspectral\b|^de \b|\b[mf] ?0\.\d", description, re.IGNORECASE)
        is not None
    )


def _no_ct(frame: FrameHeader) -> Reason | None:
    source = frame.source
    if source.sop_class_uid.startswith(_SECONDARY_CAPTURE) or frame.conversion_type is not None:
        return Reason("secondary_capture", phrase("Secondary Capture: a picture without CT values"))
    if frame.modality != "CT" or source.sop_class_uid not in CT_SOP_CLASSES:
        said = phrase(
            "modality {modality}, SOP class {sop_class}: not a CT image",
            modality=frame.modality or phrase("missing"),
            sop_class=source.sop_class_uid,
        )
        return Reason("not_ct", said)
    return None


def _no_true_hu(frame: FrameHeader, accepted: Sequence[str]) -> Reason | None:
    texts = {"Series Description": frame.series_description or "", "Derivation": frame.derivation}
    by_type = None if is_accepted(frame.image_type, accepted) else _wrong_type(frame)
    if by_type is not None:
        detail = phrase("{what}; a site may accept it with {setting}", what=by_type.detail, setting=_SETTING)
        return Reason(by_type.code, detail)
    for name, text in texts.items():
        for code, what, pattern in _WORDS:
            if found := pattern.search(spaced(text)):
                said = phrase("{what}: {name} contains the word '{word}'", what=what, name=name, word=found.group())
                return Reason(code, said)
    return _wrong_maker(frame)


def _wrong_type(frame: FrameHeader) -> Reason | None:
    image_type = " ".join(map(spaced, frame.image_type[2:]))
    named = "\\".join(frame.image_type)
    technique = spaced(frame.calculation_technique or "")
    for code, what, pattern in (*_WORDS, *_IMAGE_TYPE_WORDS):
        if found := pattern.search(f"{image_type} / {technique}"):
            said = phrase("{what}: Image Type {named} ({word})", what=what, named=named, word=found.group())
            return Reason(code, said)
    if row_of(frame.image_type, technique).worth is Worth.NOTHING:
        said = phrase("derived, and not a plain reformat of the scan: Image Type {named}", named=named)
        return Reason("derived_image", said)
    return None


def _wrong_maker(frame: FrameHeader) -> Reason | None:
    manufacturer, model = frame.manufacturer or "", frame.manufacturer_model_name or ""
    compact = "".join(f"{manufacturer} {model}".lower().split())
    name = f"{manufacturer} {model}".strip()
    if _NO_BODY_CT_WORDS.search(model) or any(part in compact for part in _NO_BODY_CT):
        return Reason(
            "no_body_ct", phrase("made by {name}, whose values are not the Hounsfield units of a body CT", name=name)
        )
    if any(part in compact for part in _WORKSTATIONS):
        said = phrase("the header names {name}, not the scanner: how the values were processed is unknown", name=name)
        return Reason("rewritten_by_workstation", said)
    return None


def _no_values(frame: FrameHeader) -> Reason | None:
    perhaps_lossy = frame.lossy is None and frame.transfer_syntax_uid in _PERHAPS_LOSSY_SYNTAXES
    if frame.lossy or perhaps_lossy or frame.transfer_syntax_uid in _LOSSY_SYNTAXES:
        if perhaps_lossy:
            said = phrase(
                "compressed, possibly with loss (the header does not say): the values may differ from those of the scan"
            )
        elif frame.lossy_ratio:
            said = phrase(
                "compressed with loss (ratio {ratio}): the values may differ from those of the scan", ratio=frame.lossy_ratio
            )
        else:
            said = phrase("compressed with loss: the values may differ from those of the scan")
        return Reason("lossy_compression", said)
    if frame.samples_per_pixel != 1 or frame.bits_allocated != 16:
        said = phrase(
            "{samples} samples of {bits} bits per pixel: CT has one of 16 bits",
            samples=str(frame.samples_per_pixel),
            bits=str(frame.bits_allocated),
        )
        return Reason("pixel_format", said)
    if not 1 < frame.bits_stored <= 16 or frame.high_bit not in (None, frame.bits_stored - 1):
        # PS3.3 C.7.6.3.1.1: High Bit is one less than Bits Stored; else it is not known where the values lie
        said = phrase(
            "Bits Stored {bits}, High Bit {high}: where the values lie in 16 bits is not clear",
            bits=frame.bits_stored,
            high=phrase("missing") if frame.high_bit is None else str(frame.high_bit),
        )
        return Reason("pixel_format", said)
    if frame.rescale_slope is None or frame.rescale_intercept is None or frame.rescale_slope <= 0:
        return Reason(
            "no_rescale",
            phrase(
                "no usable rescale to Hounsfield units (slope {slope}, intercept {intercept})",
                slope=_or_missing(frame.rescale_slope),
                intercept=_or_missing(frame.rescale_intercept),
            ),
        )
    # absent means HU for all but multi-energy images (PS3.3 C.11.1.1.2, C.8.2.1)
    if frame.rescale_type is not None and frame.rescale_type.upper() != "HU":
        return Reason("not_hounsfield", phrase("Rescale Type is {type}, not HU", type=frame.rescale_type))
    return None


def _no_place(frame: FrameHeader) -> Reason | None:
    if frame.image_position_mm is None or frame.image_orientation is None:
        said = phrase("Image Position (Patient) or Image Orientation (Patient) is missing or not numeric")
        return Reason("no_geometry", said)
    if frame.pixel_spacing_mm is None or min(frame.pixel_spacing_mm) <= 0 or min(frame.rows, frame.columns) < 2:
        spacing = phrase("missing") if frame.pixel_spacing_mm is None else str(frame.pixel_spacing_mm)
        said = phrase(
            "Pixel Spacing is {spacing} for {rows} x {columns} pixels",
            spacing=spacing,
            rows=frame.rows,
            columns=frame.columns,
        )
        return Reason("no_geometry", said)
    if fault := orientation_fault(frame.image_orientation):
        return Reason("no_geometry", phrase("Image Orientation (Patient) is wrong: {fault}", fault=fault))
    return None


def _or_missing(value: float | None) -> float | Phrase:
    return phrase("missing") if value is None else value
