"""Colours of the levels in SEG and on the page: Okabe and Ito, distinguishable with colour blindness."""

from __future__ import annotations

from node.model import Level

Rgb = tuple[int, int, int]

LEVEL_RGB: dict[Level, Rgb] = {
    Level.T12: (160, 160, 160),
    Level.L1: (230, 159, 0),
    Level.L2: (86, 180, 233),
    Level.L3: (0, 158, 115),
    Level.L4: (240, 228, 66),
    Level.L5: (204, 121, 167),
    Level.L6: (0, 114, 178),
}


def region_rgb(level: Level) -> Rgb:
    """Colour of a measured region: that of the level, darkened to be visible inside the body."""
    red, green, blue = LEVEL_RGB[level]
    return (int(red * 0.45), int(green * 0.45), int(blue * 0.45))
