"""Single vertebral bodies from the network's classes and offsets, and the chain that they form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.segment.inference import Prediction
from node.segment.network import Tissue

IntArray = npt.NDArray[np.int32]
PositionArray = npt.NDArray[np.float64]

#: A voxel belongs to a body if the two body classes together are at least this likely.
BODY_PROBABILITY = 0.5
#: Votes for centres are smoothed with this SD; two centres lie at least SEPARATION_MM apart (a cervical body and its disc
#: are about 17 mm high).
VOTE_SD_MM = 4.0
SEPARATION_MM = 12.0
#: A voxel whose vote lies further than this from every centre belongs to no body.
VOTE_REACH_MM = 15.0
#: The smallest volume that counts as a body, cm3: half of an upper thoracic one.
LEAST_VOLUME_CM3 = 3.0
#: Distance between the centres of neighbouring bodies in mm: from cervical to tall lumbar vertebrae.
LINK_MM = (13.0, 58.0)
#: The step from one body to the next runs along the patient for at least this share of its length: to a crushed L5 in a deep
#: lordosis it runs more backward than downward. A body that is skipped there would shift every level.
LEAST_ALONG = 0.4


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """A vertebral body that was found, not labelled yet.

    Attributes:
        number: its value in the instance map, from 1.
        centre: mean of its voxels, index on the prediction's grid.
        volume_cm3: volume of its voxels.
        thoracic: 0 to 1, how much it looks like a body with ribs to the network.
        certainty: mean probability of its voxels.
    """

    number: int
    centre: PositionArray
    volume_cm3: float
    thoracic: float
    certainty: float


def find_bodies(prediction: Prediction) -> tuple[IntArray, list[Body]]:
    """Group the body voxels by the centres that they point to.

    Returns:
        Instance map on the prediction's grid (0 = none) and the bodies, from the head downward.
    """
    grid = prediction.grid
    probability = prediction.of(Tissue.UPPER_BODY, Tissue.LUMBAR_BODY)
    index = np.argwhere(probability >= BODY_PROBABILITY)
    instances = np.zeros(grid.shape, dtype=np.int32)
    if len(index) == 0:
        return instances, []
    at = (index[:, 0], index[:, 1], index[:, 2])
    offsets = np.stack([axis[at] for axis in prediction.offset_mm], axis=1).astype(np.float64)
    votes = index + offsets / grid.spacing_mm
    centres = _centres(votes, grid.shape, grid.spacing_mm)
    if len(centres) == 0:
        return instances, []
    distance = np.linalg.norm(votes[:, None, :] - centres[None], axis=2) * grid.spacing_mm
    owner = distance.argmin(axis=1)
    owner[distance.min(axis=1) > VOTE_REACH_MM] = -1
    instances[at] = owner + 1
    voxel_cm3 = grid.spacing_mm**3 / 1000.0
    bodies: list[Body] = []
    for number in range(1, len(centres) + 1):
        own = instances == number
        parts, count = ndimage.label(own)
        if count > 1:
            largest = 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
            instances[own & (parts != largest)] = 0
            own = parts == largest
        volume = float(own.sum()) * voxel_cm3
        if volume < LEAST_VOLUME_CM3:
            instances[own] = 0
            continue
        bodies.append(_body(number, own, prediction))
    _add_overlooked(instances, bodies, prediction, (probability >= BODY_PROBABILITY) & (instances == 0))
    bodies.sort(key=lambda body: -body.centre[0])
    return instances, bodies


def _body(number: int, own: npt.NDArray[np.bool_], prediction: Prediction) -> Body:
    upper = prediction.probability[Tissue.UPPER_BODY][own]
    both = upper + prediction.probability[Tissue.LUMBAR_BODY][own]
    volume = float(own.sum()) * prediction.grid.spacing_mm**3 / 1000.0
    return Body(number, np.argwhere(own).mean(axis=0), volume, float((upper / both).mean()), float(both.mean()))


def _add_overlooked(
    instances: IntArray, bodies: list[Body], prediction: Prediction, left_over: npt.NDArray[np.bool_]
) -> None:
    """Bodies whose voxels point to a neighbour's centre, as in crushed ones, although discs separate them from it.

    A remaining piece that is as large as a body and lies above, between or below the others is a body. Pieces next to, in
    front of or behind a body (halves next to metal, osteophytes) are not, nor is a remainder at the edge of the scan.
    """
    spacing = prediction.grid.spacing_mm
    parts, count = ndimage.label(left_over)
    volumes = np.bincount(parts.ravel(), minlength=count + 1) * spacing**3 / 1000.0
    for part in np.flatnonzero(volumes[1:] >= LEAST_VOLUME_CM3) + 1:
        own = parts == part
        index = np.argwhere(own)
        if index[0, 0] == 0 or index[-1, 0] == own.shape[0] - 1:
            continue
        steps = [(index.mean(axis=0) - body.centre) * spacing for body in bodies]
        if all(np.linalg.norm(step) >= LINK_MM[0] and abs(step[0]) >= LEAST_ALONG * np.linalg.norm(step) for step in steps):
            number = int(instances.max()) + 1
            instances[own] = number
            bodies.append(_body(number, own, prediction))


def _centres(votes: PositionArray, shape: tuple[int, int, int], spacing_mm: float) -> PositionArray:
    """Peaks of the density of votes, (n, 3), refined to the mean of the votes around them."""
    cell = np.round(votes).astype(int)
    inside = ((cell >= 0) & (cell < np.array(shape))).all(axis=1)
    density = np.zeros(shape, dtype=np.float32)
    np.add.at(density, tuple(cell[inside].T), 1.0)
    density = ndimage.gaussian_filter(density, VOTE_SD_MM / spacing_mm, mode="constant")
    size = 2 * int(SEPARATION_MM / spacing_mm) + 1
    peak = (density == ndimage.maximum_filter(density, size=size)) & (density > 0)
    strength = density[peak]
    # A body of LEAST_VOLUME_CM3 whose votes have the accepted spread has a peak far above this.
    places = np.argwhere(peak)[strength > 0.05 * strength.max()] if strength.size else np.empty((0, 3))
    refined = []
    for place in places:
        near = votes[np.linalg.norm(votes - place, axis=1) * spacing_mm < SEPARATION_MM / 2]
        refined.append(near.mean(axis=0) if len(near) else place)
    return np.array(refined).reshape(-1, 3)


def spine_chain(bodies: list[Body], spacing_mm: float) -> list[Body]:
    """The chain of neighbouring bodies with the largest volume, from the head downward, without bodies off the spine."""
    best: list[tuple[float, int]] = []
    for i, body in enumerate(bodies):
        choice = (0.0, -1)
        for j in range(i):
            step = (bodies[j].centre - body.centre) * spacing_mm
            length = float(np.linalg.norm(step))
            # Downward, and not much more sideways or backward than along the patient.
            if LINK_MM[0] <= length <= LINK_MM[1] and step[0] >= LEAST_ALONG * length and best[j][0] > choice[0]:
                choice = (best[j][0], j)
        best.append((choice[0] + body.volume_cm3 * body.certainty, choice[1]))
    if not best:
        return []
    at = int(np.argmax([score for score, _ in best]))
    chain = []
    while at >= 0:
        chain.append(bodies[at])
        at = best[at][1]
    return chain[::-1]
