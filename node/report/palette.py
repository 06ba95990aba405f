"""Colours of the levels, in SEG and on the page: after Okabe and Ito, told apart without telling red from green."""

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
    """Colour of a measured region: the level's, darkened, so that it shows inside the body's."""
    red, green, blue = LEVEL_RGB[level]
    return (int(red * 0.45), int(green * 0.45), int(blue * 0.45))
