"""The pictures of a page as arrays, so that the page can be redrawn with new numbers after the images are deleted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from node.model import Level
from node.report.page_views import Outline, PageViews, View

#: Attenuation is kept to 1 HU and masks to 1/255: finer than the page can show.
_MASK_STEPS = 255.0
_KINDS = ("bodies", "regions")

AnyArray = npt.NDArray[np.generic]


def arrays_of_views(views: PageViews) -> dict[str, AnyArray]:
    """The pictures as named arrays for ``numpy.savez``: no text, no numbers, no patient data."""
    pictures = [views.sagittal, *([] if views.coronal is None else [views.coronal]), *views.axials]
    arrays: dict[str, AnyArray] = {"has_coronal": np.array(views.coronal is not None)}
    for n, view in enumerate(pictures):
        arrays[f"{n}_hu"] = np.rint(view.hu).astype(np.int16)
        arrays[f"{n}_edges_mm"] = np.array([view.left_mm, view.right_mm, view.top_mm, view.bottom_mm])
        for kind, outlines in zip(_KINDS, (view.bodies, view.regions), strict=True):
            arrays[f"{n}_{kind}_levels"] = np.array([int(outline.level) for outline in outlines], dtype=np.uint8)
            masks = [np.rint(outline.mask * _MASK_STEPS).astype(np.uint8) for outline in outlines]
            arrays[f"{n}_{kind}"] = np.array(masks, dtype=np.uint8).reshape(-1, *view.hu.shape)
    return arrays


def views_of_arrays(arrays: Mapping[str, AnyArray]) -> PageViews:
    """Restore the pictures.

    Raises:
        KeyError: an array is missing.
        ValueError: an array has unexpected content.
    """
    n_views = sum(name.endswith("_hu") for name in arrays)
    first, *others = [_view(arrays, n) for n in range(n_views)]
    if not arrays["has_coronal"]:
        return PageViews(first, None, tuple(others))
    return PageViews(first, others[0], tuple(others[1:]))


def _view(arrays: Mapping[str, AnyArray], n: int) -> View:
    left_mm, right_mm, top_mm, bottom_mm = (float(edge) for edge in arrays[f"{n}_edges_mm"].astype(np.float64))
    bodies, regions = (_outlines(arrays[f"{n}_{kind}_levels"], arrays[f"{n}_{kind}"]) for kind in _KINDS)
    return View(arrays[f"{n}_hu"].astype(np.float32), left_mm, right_mm, top_mm, bottom_mm, bodies, regions)


def _outlines(levels: AnyArray, masks: AnyArray) -> tuple[Outline, ...]:
    named: Sequence[int] = levels.astype(int).tolist()
    scaled = masks.astype(np.float32) / np.float32(_MASK_STEPS)
    return tuple(Outline(Level(value), mask) for value, mask in zip(named, scaled, strict=True))
