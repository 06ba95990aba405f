"""Simultaneous calibration: the equation of one scan from the rods beneath the patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from node.calibrate.convert import convert
from node.calibrate.find_rods import find_rods
from node.calibrate.fit import fit_line
from node.calibrate.registry import Registry
from node.language.phrase import phrase
from node.model import Bmd, Calibration, ContrastConclusion, LevelMeasurement, Reason, Volume
from node.model.calibration_phantoms import CalibrationPhantom

ID_PREFIX = "simultaneous:"


def convert_with_rods(
    levels: Sequence[LevelMeasurement],
    volume: Volume,
    phantom: CalibrationPhantom,
    registry: Registry,
    contrast: ContrastConclusion | None = None,
) -> Bmd:
    """Convert measured levels with the rods in the same scan; if they cannot be used, with the registry and a reason.

    The rods contain no contrast, so contrast raises this BMD like any other.
    """
    own = simultaneous_calibration(volume, phantom)
    if isinstance(own, Calibration):
        return convert(levels, volume.facts, registry, own, contrast)
    bmd = convert(levels, volume.facts, registry, contrast=contrast)
    return replace(bmd, reasons=(*bmd.reasons, own))


def simultaneous_calibration(volume: Volume, phantom: CalibrationPhantom) -> Calibration | Reason:
    """The equation of a scan from its own rods, with the same acceptance criteria as a phantom scan.

    The rods calibrate the values of this scan directly, so manufacturer, model and KVP do not matter.

    Returns:
        The equation, valid for this scan only, or ``no_simultaneous_calibration`` with the reason.
    """
    rods = find_rods(volume, phantom)
    line = rods if isinstance(rods, Reason) else fit_line(phantom, rods)
    if isinstance(line, Reason):
        return Reason(
            "no_simultaneous_calibration",
            phrase(
                "the rods of {phantom} beneath the patient are not used: {why} [{code}]",
                phantom=phantom.name,
                why=line.detail,
                code=line.code,
            ),
        )
    return Calibration(
        id=f"{ID_PREFIX}{phantom.name}",
        slope=line.slope,
        intercept=line.intercept,
        material=phantom.material,
        source=(
            f"rods of {phantom.title} in this scan: n = {line.n}, R2 = {line.r2:.5f}, standard error of the slope "
            f"{line.slope_se:.4f}, of the intercept {line.intercept_se:.2f}"
        ),
        slope_se=line.slope_se,
        intercept_se=line.intercept_se,
        fit_points=line.n,
        of_this_scanner=True,
    )
