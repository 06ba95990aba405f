"""Real CTs without masks: labelled by an earlier network, corrected by manual annotation, and checked visually.

The manual annotations are in ``annotations.json``: per CT the heights (LPS z in mm) between which the spine lies, where the
thoracic bodies end, and where the sacrum begins. The network gives the outlines; the heights decide their class. Voxels
of which the network is not sure are left out of the loss.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.segment.embedded import EmbeddedSegmenter, Found
from node.segment.network import Tissue
from training.cases import real_cts
from training.ct import Ct
from training.synth import IGNORED, Sample, centres_of

ANNOTATIONS = Path(__file__).with_name("annotations.json")
#: Voxels whose most likely class has a lower probability are ignored.
SURE = 0.6
T12, L1 = 19, 20
#: A CT in which fewer bodies were found is ignored.
LEAST_CHAIN = 3
#: On the 3 mm grid: certainly bone, and possibly.
BONE_HU, MAYBE_BONE_HU = 190.0, 110.0
#: A piece of fewer voxels next to the spine is ignored.
LEAST_RIB_VOXELS = 12
#: Nearer to the middle of the spine than this, a piece below T12 is a transverse process.
RIB_NEAR_MM = 60.0


@dataclass(frozen=True, slots=True)
class Annotation:
    """Manual annotation of one CT; all heights are LPS z in mm.

    Attributes:
        bone_from_mm, bone_to_mm: nothing below or above is spine, sacrum, hip or rib (legs, head).
        t12_l1_mm: height of the disc between the last body with ribs and the first without.
        sacrum_mm: height of the upper edge of the sacrum in the midline; ``None`` if it is not in view.
        ribs_from_mm: nothing below is a rib.
    """

    bone_from_mm: float
    bone_to_mm: float
    t12_l1_mm: float
    sacrum_mm: float | None
    ribs_from_mm: float


def annotations() -> dict[str, Annotation]:
    """The annotations of all CTs, by name."""
    return {name: Annotation(**values) for name, values in json.loads(ANNOTATIONS.read_text()).items()}


def label_semi_automatically(data: Path, weights: bytes, report: Callable[[str], None]) -> list[Sample]:
    """Samples of every annotated CT, labelled by the network of ``weights`` (a safetensors file)."""
    known = annotations()
    segmenter = EmbeddedSegmenter(weights)
    samples = []
    for ct in real_cts(data, tuple(known)):
        if ct.name in known:
            report(f"labelling {ct.name}")
            found = segmenter.find(ct.hu, ct.affine_lps_mm, report)
            if len(found.chain) < LEAST_CHAIN:
                report(f"{ct.name} is left out: its spine was not found, and all of it would be taught as background")
                continue
            samples.append(corrected(ct, found, known[ct.name]))
    return samples


def corrected(ct: Ct, found: Found, annotation: Annotation) -> Sample:
    """The network's classes, corrected by the heights of the annotation."""
    prediction = found.prediction
    grid = prediction.grid
    heights = grid.origin_lps_mm[2] + grid.spacing_mm * np.arange(grid.shape[0])
    classes = prediction.probability.argmax(axis=0).astype(np.uint8)
    bodies = np.zeros(grid.shape, dtype=np.uint8)
    either = np.isin(classes, (Tissue.UPPER_BODY, Tissue.LUMBAR_BODY))
    # Body voxels outside accepted instances are specks or fragments.
    classes[either & (found.instances == 0)] = IGNORED
    upper = [b for b in found.chain if grid.to_lps_mm(b.centre[None])[0, 2] > annotation.t12_l1_mm]
    for body in found.chain:
        z = float(grid.to_lps_mm(body.centre[None])[0, 2])
        own = (found.instances == body.number) & either
        if annotation.sacrum_mm is not None and z < annotation.sacrum_mm:
            classes[own] = Tissue.SACRUM
            continue
        above = body in upper
        classes[own] = Tissue.UPPER_BODY if above else Tissue.LUMBAR_BODY
        label = T12 - (len(upper) - 1 - upper.index(body)) if above else L1 + found.chain.index(body) - len(upper)
        if 1 <= label <= L1 + 5:
            bodies[own] = label
    off_chain = either & ~np.isin(found.instances, [0, *(b.number for b in found.chain)])
    classes[off_chain] = Tissue.BACKGROUND
    either = np.isin(classes, (Tissue.UPPER_BODY, Tissue.LUMBAR_BODY))
    unsure = (prediction.probability.max(axis=0) < SURE) & ~either
    if annotation.sacrum_mm is None:
        classes[np.isin(classes, (Tissue.SACRUM, Tissue.HIP))] = Tissue.BACKGROUND
    else:
        above_sacrum = heights > annotation.sacrum_mm + 35.0
        classes[above_sacrum] = np.where(classes[above_sacrum] == Tissue.SACRUM, Tissue.BACKGROUND, classes[above_sacrum])
    no_ribs = heights < annotation.ribs_from_mm
    classes[no_ribs] = np.where(classes[no_ribs] == Tissue.RIB, Tissue.BACKGROUND, classes[no_ribs])
    classes[unsure] = IGNORED
    _teach_ribs(classes, found, heights, annotation)
    classes[(heights < annotation.bone_from_mm) | (heights > annotation.bone_to_mm)] = Tissue.BACKGROUND
    return Sample(ct.name, found.hu.astype(np.float16), classes, bodies, centres_of(bodies))


def _teach_ribs(
    classes: npt.NDArray[np.uint8], found: Found, heights: npt.NDArray[np.float64], annotation: Annotation
) -> None:
    """Add ribs that the network missed: thin dense pieces next to and behind the thoracic bodies.

    As background they would teach the next network to miss them too. Thick pieces (an enhanced kidney) are unchanged;
    pieces that may be bone are left out of the loss.
    """
    centres = np.array([body.centre for body in found.chain])
    order = np.argsort(centres[:, 0])
    z, y, x = np.indices(classes.shape, dtype=np.float32)
    spine_y, spine_x = (np.interp(z, centres[order, 0], centres[order, axis]) for axis in (1, 2))
    spacing = found.prediction.grid.spacing_mm
    aside = abs(x - spine_x) * spacing
    lowest = np.where(aside < RIB_NEAR_MM, annotation.t12_l1_mm, annotation.ribs_from_mm)
    band = (aside > 15.0) & (aside < 110.0) & ((y - spine_y) * spacing > -8.0) & (heights[:, None, None] > lowest)
    free = band & np.isin(classes, (Tissue.BACKGROUND, IGNORED))
    thick = ndimage.binary_opening(found.hu > MAYBE_BONE_HU, iterations=3)
    dense = free & (found.hu > BONE_HU) & ~thick
    parts, _ = ndimage.label(dense | (classes == Tissue.RIB), np.ones((3, 3, 3)))
    large = np.bincount(parts.ravel()) >= LEAST_RIB_VOXELS
    large[0] = False
    classes[free & (found.hu > MAYBE_BONE_HU) & ~thick] = IGNORED
    classes[dense & large[parts]] = Tissue.RIB
