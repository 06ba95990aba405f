"""Levels and outlines from the vertebra labels of another segmenter, which are not trusted alone.

Its labels are converted to the output of the embedded network (classes on the 3 mm grid), and the bodies are counted in the
same way. A level is reported only if the count and the label of the other segmenter agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from node.language.phrase import Phrase, joined, phrase
from node.model import Affine, LabelArray, Level, Reason, Segmentation, Volume
from node.segment.body_cut import cut_bodies
from node.segment.grid import IsoGrid, grid_around, inside_source, sample_nearest
from node.segment.inference import Prediction
from node.segment.instances import LEAST_VOLUME_CM3, Body, IntArray, spine_chain
from node.segment.masks import BodyOutline
from node.segment.naming import name_bodies
from node.segment.network import SPACING_MM, Tissue
from node.segment.reach import NOT_CERTAIN, Named
from node.segment.result import segmentation_of
from node.segment.ribs import Flanks, find_flanks
from node.settings.tree import LevelConvention

#: Labels in addition to those of vertebrae, which are VerSe's: C1 to C7 = 1 to 7, T1 to T12 = 8 to 19, L1 to L6 = 20 to 25.
LAST_VERTEBRA = 25
SACRUM = 26
RIB = 27
#: Voxel size in mm on which whole vertebrae are cut down to bodies.
BODY_SPACING_MM = 1.0
#: Margin around a body in voxels, so that its surface is inside its crop.
MARGIN_VOXELS = 3


@dataclass(frozen=True, slots=True, eq=False)
class SpineLabels:
    """Labels from another segmenter.

    Attributes:
        labels: uint8, three axes in any orientation; see :data:`LAST_VERTEBRA`; 0 elsewhere.
        affine_lps_mm: 4 x 4, from array index (axis 0, 1, 2, 1) to LPS mm.
        whole_vertebrae: the labels hold posterior elements, which must be cut off.
    """

    labels: LabelArray
    affine_lps_mm: Affine
    whole_vertebrae: bool


def name_and_draw(
    volume: Volume,
    spine: SpineLabels,
    who: str,
    progress: Callable[[str], None],
    convention: LevelConvention = "twelfth_rib",
) -> Segmentation:
    """Count the labelled vertebrae, and outline those whose label agrees with the count.

    Args:
        volume: the source.
        spine: its labels.
        who: name of the segmenter that made them, for the reasons and the evidence.
        progress: called with one short line per step.
        convention: how levels are counted where the anatomy is unusual.

    Returns:
        As :meth:`node.segment.Segmenter.segment`.
    """
    progress("segment: bodies of the labelled vertebrae")
    labels, fine = body_labels(spine)
    masks = _masks(labels, fine)
    shape = (volume.hu.shape[0], volume.hu.shape[1], volume.hu.shape[2])
    grid = grid_around(volume.affine_lps_mm, shape, SPACING_MM)
    bodies = sorted((_body(label, mask, grid) for label, mask in masks.items()), key=lambda body: -body.centre[0])
    chain = spine_chain([body for body in bodies if body.volume_cm3 >= LEAST_VOLUME_CM3], grid.spacing_mm)
    prediction, instances = _as_prediction(spine, labels, fine, grid)
    inside = inside_source(np.linalg.inv(volume.affine_lps_mm) @ grid.affine_lps_mm(), grid.shape, shape)
    chain, doubt = _checked_by_ribs(chain, find_flanks(prediction, chain, inside), who)
    if doubt:
        return segmentation_of(volume, (), (Reason(NOT_CERTAIN, doubt),))
    naming = name_bodies(prediction, instances, chain, inside, convention)
    wrong = [
        phrase("{name} instead of {level}", name=_name(entry.body.number), level=entry.level.name)
        for entry in naming.named
        if entry.body.number != entry.level
    ]
    if wrong:
        detail = phrase(
            "{who} and the count of the vertebral bodies label the levels differently ({names}), so no level is reported.",
            who=who,
            names=joined(wrong, ", "),
        )
        return segmentation_of(volume, (), (Reason(NOT_CERTAIN, detail),))
    outlined = tuple(
        (
            Named(
                e.level, e.body, e.confidence, joined((e.evidence, phrase("{who} labels the same levels", who=who)), "; ")
            ),
            masks[int(e.level)],
        )
        for e in naming.named
    )
    return segmentation_of(volume, outlined, naming.reasons)


def body_labels(spine: SpineLabels) -> tuple[LabelArray, IsoGrid]:
    """Labels of the bodies alone, on an isotropic grid of :data:`BODY_SPACING_MM` around all vertebrae."""
    vertebrae = np.where(spine.labels <= LAST_VERTEBRA, spine.labels, 0).astype(np.uint8)
    sides = [np.flatnonzero(vertebrae.any(axis=other)) for other in ((1, 2), (0, 2), (0, 1))]
    if sides[0].size == 0:
        return np.zeros((1, 1, 1), dtype=np.uint8), grid_around(spine.affine_lps_mm, (1, 1, 1), BODY_SPACING_MM)
    first = np.array([side[0] for side in sides])
    extent = tuple(int(side[-1] - side[0] + 1) for side in sides)
    start = spine.affine_lps_mm.copy()
    start[:3, 3] += spine.affine_lps_mm[:3, :3] @ first
    grid = _with_margin(grid_around(start, extent, BODY_SPACING_MM))
    iso = sample_nearest(vertebrae, np.linalg.inv(spine.affine_lps_mm) @ grid.affine_lps_mm(), grid.shape)
    if not spine.whole_vertebrae:
        return iso, grid
    return np.where(cut_bodies(iso, BODY_SPACING_MM), iso, 0).astype(np.uint8), grid


def _with_margin(grid: IsoGrid) -> IsoGrid:
    """The grid enlarged on all sides, so that surfaces are inside it despite rounding."""
    x, y, z = (value - MARGIN_VOXELS * grid.spacing_mm for value in grid.origin_lps_mm)
    rows, columns, planes = (size + 2 * MARGIN_VOXELS + 1 for size in grid.shape)
    return IsoGrid((x, y, z), grid.spacing_mm, (rows, columns, planes))


def _masks(labels: LabelArray, grid: IsoGrid) -> dict[int, BodyOutline]:
    """The largest piece of every body, by its label."""
    out: dict[int, BodyOutline] = {}
    boxes = ndimage.find_objects(labels)
    for label in (int(value) for value in np.unique(labels) if value):
        box = boxes[label - 1]
        own = labels[box] == label
        parts, count = ndimage.label(own)
        if count > 1:
            own = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
        padded = np.pad(own, MARGIN_VOXELS).astype(np.float32)
        corner = np.array([[s.start - MARGIN_VOXELS for s in box]], dtype=np.float64)
        x, y, z = grid.to_lps_mm(corner)[0]
        size = (padded.shape[0], padded.shape[1], padded.shape[2])
        out[label] = BodyOutline(padded, IsoGrid((float(x), float(y), float(z)), grid.spacing_mm, size))
    return out


def _body(label: int, mask: BodyOutline, grid: IsoGrid) -> Body:
    """A body for the count; its number is its label, its centre an index on ``grid``."""
    centre = mask.grid.to_lps_mm(np.argwhere(mask.probability > 0).mean(axis=0)[None])[0]
    index = (centre - np.array(grid.origin_lps_mm))[::-1] / grid.spacing_mm
    volume_cm3 = float(mask.probability.sum()) * mask.grid.spacing_mm**3 / 1000.0
    return Body(label, index, volume_cm3, thoracic=float(label < Level.L1), certainty=1.0)


def _as_prediction(spine: SpineLabels, bodies: LabelArray, fine: IsoGrid, grid: IsoGrid) -> tuple[Prediction, IntArray]:
    """The labels as classes of the embedded network, all of them certain, and the instance map, on a grid."""
    to_lps = grid.affine_lps_mm()
    labels = sample_nearest(spine.labels, np.linalg.inv(spine.affine_lps_mm) @ to_lps, grid.shape)
    body = sample_nearest(bodies, np.linalg.inv(fine.affine_lps_mm()) @ to_lps, grid.shape)
    tissue = np.zeros(grid.shape, dtype=np.uint8)
    tissue[(labels > 0) & (labels <= LAST_VERTEBRA)] = Tissue.POSTERIOR_ELEMENTS
    tissue[labels == SACRUM] = Tissue.SACRUM
    tissue[labels == RIB] = Tissue.RIB
    tissue[(body > 0) & (body < Level.L1)] = Tissue.UPPER_BODY
    tissue[body >= Level.L1] = Tissue.LUMBAR_BODY
    probability = (tissue[None] == np.arange(len(Tissue), dtype=np.uint8)[:, None, None, None]).astype(np.float32)
    # Bodies are separated by their labels: nothing reads the offsets, so they take no memory.
    offsets = np.broadcast_to(np.float32(0.0), (3, *grid.shape))
    return Prediction(grid, probability, offsets), body.astype(np.int32)


def _checked_by_ribs(chain: list[Body], flanks: list[Flanks], who: str) -> tuple[list[Body], Phrase | None]:
    """The bodies to count, or why they must not be counted.

    Here a body is known to be thoracic only from its label. The shape of T12 is no independent evidence, so the last rib
    must confirm it.
    """
    thoracic = [body for body in chain if body.number < Level.L1]
    ribbed = [body for body, beside in zip(chain, flanks, strict=True) if beside.bears_rib]
    if ribbed and ribbed[-1].number != Level.T12:
        name = _name(ribbed[-1].number)
        return chain, phrase("The last rib is at the body that {who} labels {name}, not at T12.", who=who, name=name)
    if ribbed or not thoracic:
        return chain, None
    if len(thoracic) > 1:
        return chain, phrase(
            "No rib was found at any of the {n} bodies that {who} labels thoracic.", n=len(thoracic), who=who
        )
    # A single one is usually cut by the edge, and its rib with it, so it is not counted.
    return [body for body in chain if body.number >= Level.L1], None


def _name(label: int) -> str:
    """Usual name of a vertebra with a number of VerSe."""
    if label < 8:
        return f"C{label}"
    return f"T{label - 7}" if label < Level.L1 else f"L{label - Level.L1 + 1}"
