"""The picture of a calibration: outlined rods in the scan, and the fitted line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from node.calibrate.entry import PhantomScan
from node.calibrate.fit import Insert, equivalent_hu, mean_line
from node.model import Volume
from node.model.calibration_phantoms import CalibrationPhantom

#: Window that shows plate and rods, HU.
_WINDOW_HU = (-200.0, 700.0)
_MARGIN_MM = 30.0
_COLOUR = "#e8590c"
#: Omitted, so that equal scans give equal files.
_METADATA = {"Software": None}


def draw_calibration(
    path: Path, phantom: CalibrationPhantom, scans: Sequence[PhantomScan], volume: Volume, insert: Insert | None = None
) -> None:
    """Write a PNG with the rods of the last scan, whose image is ``volume``, and the points and line of all scans."""
    figure = Figure(figsize=(9.0, 3.9), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    image_axes, line_axes = figure.subplots(1, 2, width_ratios=(1.25, 1.0))
    _draw_rods(image_axes, phantom, scans[-1], volume)
    _draw_line(line_axes, phantom, scans, insert)
    figure.savefig(path, metadata=_METADATA)


def _draw_rods(axes: Axes, phantom: CalibrationPhantom, scan: PhantomScan, volume: Volume) -> None:
    rods = scan.rods
    middle = len(rods.slices) // 2
    first, last = (int(k) for k in rods.slices[middle])
    image = volume.hu[first : last + 1].mean(axis=0)
    _, row_mm, column_mm = volume.axis_spacing_mm
    extent = (-0.5 * column_mm, (image.shape[1] - 0.5) * column_mm, (image.shape[0] - 0.5) * row_mm, -0.5 * row_mm)
    axes.imshow(image, cmap="gray", vmin=_WINDOW_HU[0], vmax=_WINDOW_HU[1], extent=extent, interpolation="nearest")
    places = rods.places[middle] * np.array([row_mm, column_mm])
    for rod, (y, x) in zip(phantom.rods, places, strict=True):
        axes.add_patch(Circle((x, y), rods.region_radius_mm, fill=False, color=_COLOUR, linewidth=1.4))
        label_at = (x, y - phantom.rod_diameter_mm * 0.75)
        axes.text(*label_at, f"{rod.density_mg_cm3:g}", color=_COLOUR, ha="center", va="bottom", fontsize=8)
    margin = _MARGIN_MM + phantom.rod_diameter_mm
    axes.set_xlim(max(extent[0], places[:, 1].min() - margin), min(extent[1], places[:, 1].max() + margin))
    axes.set_ylim(min(extent[2], places[:, 0].max() + margin), max(extent[3], places[:, 0].min() - margin * 1.4))
    axes.set_axis_off()
    axes.set_title(f"{phantom.title}: slices {first + 1} to {last + 1} of {len(volume.hu)}", fontsize=9)


def _draw_line(axes: Axes, phantom: CalibrationPhantom, scans: Sequence[PhantomScan], insert: Insert | None) -> None:
    line = mean_line([scan.line for scan in scans])
    density = np.array([rod.density_mg_cm3 for rod in phantom.rods])
    for scan in scans:
        axes.plot(equivalent_hu(phantom, scan.rods.hu), density, "o", color=_COLOUR, markersize=5, alpha=0.7)
    hu = np.array([equivalent_hu(phantom, scan.rods.hu) for scan in scans])
    ends = np.array([hu.min(), hu.max()])
    axes.plot(ends, line.slope * ends + line.intercept, "-", color="0.3", linewidth=1)
    if insert is not None:
        axes.plot([insert.hu], [insert.density_mg_cm3], "s", color="#1971c2", label="independent insert")
        axes.legend(fontsize=8, loc="lower right")
    sign = "-" if line.intercept < 0 else "+"
    axes.set_title(
        f"BMD = {line.slope:.4f} x HU {sign} {abs(line.intercept):.2f}   R2 = {line.r2:.5f}, n = {line.n}", fontsize=9
    )
    what = " of water and the density alone" if phantom.has_water_values else ""
    axes.set_xlabel(f"HU{what}", fontsize=9)
    axes.set_ylabel(f"{phantom.material}, mg/cm3", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
