"""Which images are a valid source of Hounsfield units: decided per frame, from the header alone.

The rules refuse everything that cannot be shown to be true HU. A wrong refusal loses one series, with a reason; a wrong
admission gives a wrong density.
"""

from __future__ import annotations

import re

from pydicom.uid import HTJ2K, JPEG2000, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

from node.language.phrase import Phrase, phrase
from node.model import Reason
from node.select.geometry import orientation_fault
from node.select.headers import CT_SOP_CLASSES, FrameHeader

#: PS3.4 B.5: the Secondary Capture SOP classes begin with this.
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
#: PS3.5 8.2: JPEG processes 1, 2 and 4 are always lossy; the others may be, and only the header says so.
_LOSSY_SYNTAXES = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit})
_PERHAPS_LOSSY_SYNTAXES = frozenset({JPEGLSNearLossless, JPEG2000, HTJ2K})

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
#: A derived image may be measured if its header says that it is a plain reformat of the volume.
_PLAIN_REFORMAT = re.compile(r"\b(reformatted|mpr|resampled|oblique|sagittal|coronal)\b", re.IGNORECASE)

#: Compact, lower-case parts of Manufacturer and Manufacturer's Model Name that a workstation, a planning system or an
#: anonymiser wrote instead of the scanner's: how it processed the values is unknown. ``mim`` is appended to a maker's name.
_WORKSTATIONS = (
    *("osirix", "horos", "intellispace", "syngo3d", "syngo.via", "syngovia", "somaris/53d", "safect", "vitrea"),
    *("vitalimages", "voxar", "inteleviewer", "mckesson", "plastimatch", "riverain", "cerr", "pinnacle", "cms,inc"),
    *("ariaradonc", "/mim", "mimsoftware", "terarecon", "aquariusnet", "3dslicer", "mevislab", "matlab", "imagej"),
    *("certegra", "volumeaccess", "patientverification", "imagequalitytb", "xlab", "advantageworkstation"),
    *("advantagewindows", "radiant"),
)
#: Cone-beam, angiography, mammography and small-animal machines that call their images CT; because of scatter their values
#: are not HU.
_NO_BODY_CT = (
    *("conebeam", "cone-beam", "cbct", "truebeam", "halcyon", "axiom-artis", "artiszee", "selenia", "inveon"),
    *("o-arm", "newtom", "i-cat", "planmeca"),
)
_NO_BODY_CT_WORDS = re.compile(r"\b(obi|xvi)\b", re.IGNORECASE)


def refusal(frame: FrameHeader) -> Reason | None:
    """Why a frame is not a source of Hounsfield units; ``None`` if it is, according to its header."""
    return _no_ct(frame) or _no_true_hu(frame) or _no_values(frame) or _no_place(frame)


def is_multi_energy(frame: FrameHeader) -> bool:
    """Whether an image was computed from several energies, so that KVP does not define its scale (PS3.3 C.8.15.3.12).

    Old scanners do not write the attribute for it, so the names that Siemens, GE and Philips use for blended images and
    dual-energy kernels count as well.
    """
    kernel, description = frame.convolution_kernel or "", _spaced(frame.series_description or "")
    return (
        frame.multi_energy
        or re.match(r"[DQ]\d\d", kernel) is not None
        or re.search(r"\bdual ?energy\b|\bdect\b|\bgsi\b|\bspectral\b|^de \b|\b[mf] ?0\.\d", description, re.IGNORECASE)
        is not None
    )


def _spaced(text: str) -> str:
    return text.replace("_", " ").replace("-", " ")


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


def _no_true_hu(frame: FrameHeader) -> Reason | None:
    image_type = " ".join(map(_spaced, frame.image_type[2:]))
    named = "\\".join(frame.image_type)
    technique = _spaced(frame.calculation_technique or "")
    for code, what, pattern in (*_WORDS, *_IMAGE_TYPE_WORDS):
        if found := pattern.search(f"{image_type} / {technique}"):
            said = phrase("{what}: Image Type {named} ({word})", what=what, named=named, word=found.group())
            return Reason(code, said)
    texts = {"Series Description": frame.series_description or "", "Derivation": frame.derivation}
    for name, text in texts.items():
        for code, what, pattern in _WORDS:
            if found := pattern.search(_spaced(text)):
                said = phrase("{what}: {name} contains the word '{word}'", what=what, name=name, word=found.group())
                return Reason(code, said)
    if frame.image_type[:1] == ("DERIVED",) and not _PLAIN_REFORMAT.search(f"{image_type} {technique}"):
        said = phrase("derived, and not a plain reformat of the scan: Image Type {named}", named=named)
        return Reason("derived_image", said)
    return _wrong_maker(frame)


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
