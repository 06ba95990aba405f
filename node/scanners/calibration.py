"""``bmd-node calibrate``: from scans of a calibration phantom to a pending entry in the site's file of equations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from node.calibrate import (
    EntryOptions,
    Equation,
    PhantomScan,
    add_entry,
    draw_calibration,
    entry_text,
    equivalent_hu,
    find_rods,
    fit_line,
    load_registry,
    pending_entry,
)
from node.common.errors import ConfigurationError, InputError
from node.model import Candidate, Orientation, Reason, Volume
from node.model.calibration_phantoms import CalibrationPhantom
from node.select import find_dicom, load_volume, select_series
from node.settings.tree import SelectSettings

#: A phantom is short, and a few slices suffice.
_SELECT = SelectSettings(min_slices=3, min_extent_mm=10.0, max_slice_distance_mm=10.0)
PICTURE_NAME = "calibration.png"
ENTRY_NAME = "entry.toml"

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class CalibrationRun:
    """Result of the command: the pending entry, and the lines of the printed table."""

    equation: Equation
    table: tuple[str, ...]


def calibrate_scanner(
    paths: Sequence[Path],
    phantom: CalibrationPhantom,
    options: EntryOptions,
    out: Path,
    site_file: Path | None,
    progress: Progress,
) -> CalibrationRun:
    """Find the rods in every axial series, fit them, average the repeats, draw them, and add the pending entry.

    Args:
        paths: DICOM files or folders, one study in each; every axial series counts as a repeat.
        phantom: the scanned phantom.
        options: user choices for the entry.
        out: folder for the picture and the entry, created if it does not exist.
        site_file: the site's file of equations; ``None``: the entry is only written to ``out``.
        progress: called with progress messages.

    Raises:
        InputError: a series cannot be read or used, the rods are not found, or the fit is not acceptable; nothing is added.
        ConfigurationError: the registry or the entry is invalid.
    """
    if site_file is not None and site_file.exists():
        load_registry(site_file)
    scans: list[PhantomScan] = []
    volume: Volume | None = None
    for candidate in _repeats(paths, progress):
        uid = candidate.facts.series_instance_uid
        progress(f"series {uid}: looking for the rods of {phantom.name} in {len(candidate.frames)} slices")
        volume = load_volume(candidate)
        scans.append(_scan(volume, phantom))
    if volume is None:
        raise InputError(
            "there is no axial CT series with at least 3 slices; the excluded series are listed above with reasons"
        )
    equation = pending_entry(phantom, scans, options)
    try:
        out.mkdir(parents=True, exist_ok=True)
        draw_calibration(out / PICTURE_NAME, phantom, scans, volume, options.insert)
        (out / ENTRY_NAME).write_text(entry_text(equation), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"--out {out} cannot be written: {error.strerror}") from error
    if site_file is not None:
        add_entry(site_file, equation)
    return CalibrationRun(equation, _table(phantom, scans, equation))


def _repeats(paths: Sequence[Path], progress: Progress) -> list[Candidate]:
    """Every axial series once, in the order given."""
    found: dict[str, Candidate] = {}
    for path in dict.fromkeys(paths):
        selection = select_series(find_dicom(path), _SELECT)
        for left_out in selection.left_out:
            progress(f"series {left_out.series_instance_uid} excluded: {left_out.detail} [{left_out.code}]")
        if any(left_out.code == "other_study" for left_out in selection.left_out):
            raise InputError(f"{path} contains several studies: give the folder of each as a separate path")
        for candidate in sorted(selection.candidates, key=lambda one: one.facts.series_number or 0):
            uid = candidate.facts.series_instance_uid
            if candidate.facts.orientation is not Orientation.AXIAL:
                progress(f"series {uid} excluded: {candidate.facts.orientation}; rods are read in axial slices")
            elif uid in found and found[uid].frames != candidate.frames:
                raise InputError(f"series {uid} contains several scans: give one scan per series")
            else:
                found[uid] = candidate
    return list(found.values())


def _scan(volume: Volume, phantom: CalibrationPhantom) -> PhantomScan:
    rods = find_rods(volume, phantom)
    if isinstance(rods, Reason):
        raise _refused(volume, rods)
    line = fit_line(phantom, rods)
    if isinstance(line, Reason):
        raise _refused(volume, line)
    return PhantomScan(volume.facts, rods, line)


def _refused(volume: Volume, reason: Reason) -> InputError:
    return InputError(f"series {volume.facts.series_instance_uid} is refused: {reason.detail} [{reason.code}]")


def _table(phantom: CalibrationPhantom, scans: Sequence[PhantomScan], equation: Equation) -> tuple[str, ...]:
    lines = [f"{'mg/cm3':>9} {'HU':>9} {'SD along':>9} {'line':>9} {'off':>7}"]
    for number, scan in enumerate(scans, start=1):
        left_out = f", {scan.rods.left_out} slices excluded" if scan.rods.left_out else ""
        sections = f"{len(scan.rods.slices)} sections{left_out}"
        lines.append(f"scan {number}: series {scan.facts.series_instance_uid}, {sections}")
        equivalent = equivalent_hu(phantom, np.asarray(scan.rods.hu))
        for k, rod in enumerate(phantom.rods):
            fitted = scan.line.bmd_mg_cm3(float(equivalent[k]))
            lines.append(
                f"{rod.density_mg_cm3:9.2f} {scan.rods.hu[k]:9.1f} {scan.rods.sd_along_hu[k]:9.2f} {fitted:9.1f} "
                f"{fitted - rod.density_mg_cm3:+7.1f}"
            )
        lines.append(f"  slope {scan.line.slope:.4f}, intercept {scan.line.intercept:.2f}, R2 {scan.line.r2:.5f}")
    sign = "-" if equation.intercept < 0 else "+"
    formula = f"BMD = {equation.slope:.4f} x HU {sign} {abs(equation.intercept):.2f} mg/cm3, {equation.material}"
    lines.append(f"{equation.id}: {formula}")
    lines.append(f"  {equation.fit}")
    lines += [f"  {note}" for note in (equation.message, *equation.doubts) if note]
    return tuple(lines)
