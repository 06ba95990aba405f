"""Quality findings of the scan as a whole. Effects and limits are set in ``[quality]``."""

from __future__ import annotations

from dataclasses import dataclass

from node.language.phrase import Phrase, phrase
from node.measure.contrast_phase import conclude_contrast
from node.measure.effects import scan_effect
from node.measure.hu_scale import off_scale
from node.measure.scan import ScanView, read_scan
from node.model import ContrastConclusion, LabelArray, Reason, ScanFindingCode, ScanReadings, Volume
from node.settings.tree import QualitySettings

#: Air by definition of the HU scale; scanners are calibrated to it every day (Loeffler et al. 2021).
_AIR_HU = -1000.0


def scan_findings(
    view: ScanView,
    slice_thickness_mm: float,
    sharp_kernel: str | None,
    quality: QualitySettings,
    scale_doubt: Phrase | None = None,
    hu_doubt: Phrase | None = None,
) -> tuple[tuple[Reason, ...], bool]:
    """Findings of the scan, and whether one of them refuses the study.

    Args:
        view: readings of the image.
        slice_thickness_mm: nominal thickness of the slices, or their distance if that is not known.
        sharp_kernel: name of the reconstruction kernel, if it is sharp.
        quality: limits and effects.
        scale_doubt: what the frequencies of the values say against the scale.
        hu_doubt: what the header says against certain HU.
    """
    readings = view.readings
    checks = (
        _hu_not_certain(hu_doubt),
        off_scale(readings, scale_doubt),
        _air(readings, quality),
        _noise(readings, quality),
        _sharp_kernel(sharp_kernel),
        _thick_slices(slice_thickness_mm, quality),
        _patient_truncated(view, quality),
        _myelography(readings, quality),
    )
    found = tuple(finding for finding in checks if finding is not None)
    return found, any(scan_effect(ScanFindingCode(finding.code), quality) == "refuse" for finding in found)


def _air(readings: ScanReadings, quality: QualitySettings) -> Reason | None:
    if readings.air_hu is None or abs(readings.air_hu - _AIR_HU) <= quality.air_tolerance_hu:
        return None
    detail = phrase(
        "air around the patient measures {air:.0f} HU, more than {tolerance:g} HU away from -1000 HU: the HU "
        "scale of the scanner may be wrong",
        air=readings.air_hu,
        tolerance=quality.air_tolerance_hu,
    )
    return Reason(ScanFindingCode.AIR, detail)


def _hu_not_certain(doubt: Phrase | None) -> Reason | None:
    if doubt is None:
        return None
    detail = phrase("{doubt}: HU are reported, and no bone density is concluded from them", doubt=doubt)
    return Reason(ScanFindingCode.HU_NOT_CERTAIN, detail)


def _noise(readings: ScanReadings, quality: QualitySettings) -> Reason | None:
    if readings.noise_sd_hu is None or readings.noise_sd_hu <= quality.noise_limit_hu:
        return None
    detail = phrase(
        "noise of {noise:.0f} HU (SD in soft tissue), above {limit:g} HU",
        noise=readings.noise_sd_hu,
        limit=quality.noise_limit_hu,
    )
    return Reason(ScanFindingCode.NOISE, detail)


def _sharp_kernel(kernel: str | None) -> Reason | None:
    if kernel is None:
        return None
    detail = phrase(
        "the reconstruction kernel {kernel} is sharp: it enhances edges and changes attenuation near them", kernel=kernel
    )
    return Reason(ScanFindingCode.SHARP_KERNEL, detail)


def _thick_slices(thickness_mm: float, quality: QualitySettings) -> Reason | None:
    if thickness_mm <= quality.slice_thickness_limit_mm:
        return None
    detail = phrase(
        "slices of {thickness:g} mm, thicker than {limit:g} mm",
        thickness=thickness_mm,
        limit=quality.slice_thickness_limit_mm,
    )
    return Reason(ScanFindingCode.THICK_SLICES, detail)


def _patient_truncated(view: ScanView, quality: QualitySettings) -> Reason | None:
    if view.field_mm < quality.full_field_mm or view.cut_off_mm <= quality.cut_off_limit_mm:
        return None
    detail = phrase(
        "the patient is cut off over {cut_off:.0f} mm at the edge of an image of {field:.0f} mm: tissue "
        "outside the scan field makes attenuation unreliable",
        field=view.field_mm,
        cut_off=view.cut_off_mm,
    )
    return Reason(ScanFindingCode.PATIENT_TRUNCATED, detail)


def _myelography(readings: ScanReadings, quality: QualitySettings) -> Reason | None:
    if readings.canal_hu is None or readings.canal_hu <= quality.canal_limit_hu:
        return None
    detail = phrase(
        "the spinal canal measures {canal:.0f} HU, above {limit:g} HU: intrathecal contrast (myelography)",
        canal=readings.canal_hu,
        limit=quality.canal_limit_hu,
    )
    return Reason(ScanFindingCode.MYELOGRAPHY, detail)


@dataclass(frozen=True, slots=True)
class ScanJudgement:
    """The assessment of a scan before its levels are measured.

    Attributes:
        readings: in HU, from the image.
        contrast: the conclusion about contrast, from image and header.
        findings: about contrast, then about the scan.
        refused: whether one of them refuses the study.
    """

    readings: ScanReadings
    contrast: ContrastConclusion
    findings: tuple[Reason, ...]
    refused: bool


def judge_scan(volume: Volume, labels: LabelArray, sharp_kernel: str | None, quality: QualitySettings) -> ScanJudgement:
    """Take the readings of a scan, conclude its contrast phase, and collect its findings.

    Args:
        volume: the image and its header facts.
        labels: uint8, on its grid; value of :class:`~node.model.Level` inside a body.
        sharp_kernel: name of the reconstruction kernel, if it is sharp.
        quality: limits and effects.
    """
    facts = volume.facts
    view = read_scan(volume.hu, labels, volume.affine_lps_mm)
    contrast, said = conclude_contrast(view.readings, facts.contrast_phase, facts.contrast_bolus_agent)
    thickness_mm = facts.slice_thickness_mm or facts.spacing_mm[2]
    found, refused = scan_findings(view, thickness_mm, sharp_kernel, quality, volume.scale_doubt, facts.hu_doubt)
    return ScanJudgement(view.readings, contrast, said + found, refused)
