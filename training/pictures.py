"""Overlays of bodies on CTs, for visual inspection."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt


def overlay(
    hu: npt.NDArray[np.float32], regions: npt.NDArray[np.int32], centres: npt.NDArray[np.float64], title: str, path: Path
) -> None:
    """Sagittal and coronal planes through the spine and axial planes through up to six bodies.

    Args:
        hu: on an LPS grid (superior, posterior, left).
        regions: labels to outline; every value has its own colour.
        centres: voxel positions of bodies, (n, 3), from the head downward; the planes follow them.
        title: written above.
        path: of the PNG.
    """
    middle = centres[len(centres) // 2] if len(centres) else np.array(hu.shape) / 2
    figure, axes = plt.subplots(2, 4, figsize=(22, 13))
    plain = {"cmap": "gray", "vmin": -150, "vmax": 400}
    # Curved planes: every row is taken at the spine's position at that height.
    order = np.argsort(centres[:, 0]) if len(centres) else []
    rows = np.arange(hu.shape[0])
    along = [
        np.interp(rows, centres[order, 0], centres[order, axis]) if len(centres) else np.full(len(rows), middle[axis])
        for axis in (1, 2)
    ]
    y, x = (np.clip(np.round(a).astype(int), 0, n - 1) for a, n in zip(along, hu.shape[1:], strict=True))
    views = [
        (hu[rows, :, x], regions[rows, :, x], "lower"),
        (hu[rows, y, :], regions[rows, y, :], "lower"),
    ]
    picked = np.unique(np.linspace(0, len(centres) - 1, 6).round().astype(int)) if len(centres) else []
    for i in picked:
        z = int(np.clip(round(float(centres[i, 0])), 0, hu.shape[0] - 1))
        views.append((hu[z], regions[z], "upper"))
    for axis, (plane, region, origin) in zip(axes.ravel(), views, strict=False):
        axis.imshow(plane, origin=origin, **plain)
        for value in np.unique(region):
            if value:
                axis.contour(region == value, levels=[0.5], colors=[plt.get_cmap("tab20")(int(value) % 20)], linewidths=1)
    for axis in axes.ravel()[len(views) :]:
        axis.axis("off")
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(path, dpi=55)
    plt.close(figure)
