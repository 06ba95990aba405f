"""Random scans with a known contrast phase and known faults, to evaluate the scan findings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from node.model import HuArray
from node.phantom import Contrast, FieldOfView, PatientPosition, PhantomParameters, Spine, random_parameters
from node.phantom.phantom import Phantom

#: Limits were set with seeds below this one and on real CT; figures use this seed and above.
FIRST_UNSEEN_SEED = 7000
#: What a scanner writes outside its reconstruction circle: nothing, air, or values that air cannot have.
_FILLERS = (None, -1024, -2000, -3024)


class Given(StrEnum):
    """The contrast that was given, and the time of the scan after it."""

    NONE = "none"
    ARTERIAL = "arterial"
    PORTAL_VENOUS = "portal venous"
    LATE = "late"
    MYELOGRAPHY = "myelography"


#: Of ten scans.
_SHARES = {Given.NONE: 0.36, Given.ARTERIAL: 0.18, Given.PORTAL_VENOUS: 0.22, Given.LATE: 0.1, Given.MYELOGRAPHY: 0.14}


@dataclass(frozen=True, slots=True)
class ScanCase:
    """A scan.

    Attributes:
        parameters: the phantom.
        given: contrast.
        air_hu: attenuation of air, near -1000.
        off_air_hu: the same with a wrong HU scale.
        filler_hu: value outside the reconstruction circle; ``None`` if there is no such circle.
        cut_off: whether parts of the patient are outside the scan field.
    """

    parameters: PhantomParameters
    given: Given
    air_hu: float
    off_air_hu: float
    filler_hu: int | None
    cut_off: bool


def scan_case(seed: int) -> ScanCase:
    """A scan drawn at random; equal seeds give equal scans.

    Patients, fields of view, slices, orientations and kernels are those of :func:`node.phantom.random_parameters`, blood and
    kidneys are drawn around published means (``node/measure/contrast_phase.py``), a fifth of the patients is prone, noise
    is 4 to 80 HU. Air is off by up to 20 HU, or by 40 to 90 HU upward; lower values are clipped at -1024 HU. One in eight
    patients is too wide for a field of 500 mm.
    """
    rng = np.random.default_rng((seed, 7))
    base = random_parameters(seed)
    given = Given(str(rng.choice([g.value for g in _SHARES], p=list(_SHARES.values()))))
    cut_off = bool(rng.uniform() < 0.125)
    spine, field = base.spine, base.field_of_view
    pixel_mm, slice_mm = max(base.pixel_spacing_mm, 0.7), max(base.slice_distance_mm, 1.0)
    orientation = base.orientation
    if cut_off:
        spine = Spine(size=1.05, fat_mm=45.0, girth=float(rng.uniform(1.75, 2.0)))
        field = FieldOfView((0.0, 0.0, 0.0), (500.0, 500.0, 220.0))
        pixel_mm, slice_mm, orientation = 1.2, 3.0, type(orientation).AXIAL
    elif rng.uniform() < 0.3:
        field = FieldOfView((0.0, -5.0, 0.0), (500.0, 500.0, 220.0))
        pixel_mm, slice_mm, orientation = 1.2, 3.0, type(orientation).AXIAL
    air_hu = -1000.0 + float(rng.uniform(-20, 20))
    off_air_hu = -1000.0 + float(rng.uniform(40, 90))
    prone = rng.uniform() < 0.2
    parameters = replace(
        base,
        contrast=_contrast(given, rng),
        noise_sd_hu=round(float(rng.uniform(4, 40) if rng.uniform() < 0.7 else rng.uniform(40, 80)), 2),
        patient_position=PatientPosition.HEAD_FIRST_PRONE if prone else PatientPosition.HEAD_FIRST_SUPINE,
        spine=spine,
        field_of_view=field,
        pixel_spacing_mm=pixel_mm,
        slice_distance_mm=slice_mm,
        slice_thickness_mm=None,
        orientation=orientation,
    )
    square = field.extent_mm[0] == field.extent_mm[1] and orientation.value == "axial"
    filler = _FILLERS[int(rng.integers(len(_FILLERS)))] if square else None
    return ScanCase(parameters, given, air_hu, off_air_hu, filler, cut_off)


def image_of(phantom: Phantom, case: ScanCase, air_hu: float) -> HuArray:
    """The image as this scanner delivers it: scale, range and reconstruction circle."""
    # a scale that is wrong for air and correct for water
    hu = np.rint(np.where(phantom.hu < 0, phantom.hu * np.float32(-air_hu / 1000), phantom.hu))
    hu = np.clip(hu, -1024, 3071).astype(np.int16)
    if case.filler_hu is not None:
        hu[:, _outside_circle(hu.shape[1], hu.shape[2])] = case.filler_hu
    return hu


def _contrast(given: Given, rng: np.random.Generator) -> Contrast:
    plain = float(rng.uniform(28, 52))
    bowel = float(rng.uniform(20, 400))
    values = {"aorta_hu": plain, "vena_cava_hu": plain - 1.5, "kidney_hu": float(rng.uniform(25, 38)), "bowel_hu": bowel}
    if given is Given.ARTERIAL:
        values |= {
            "aorta_hu": float(rng.uniform(240, 420)),
            "vena_cava_hu": float(rng.uniform(40, 90)),
            "kidney_hu": float(rng.uniform(110, 180)),
        }
    elif given is Given.PORTAL_VENOUS:
        aorta = float(rng.uniform(115, 210))
        values |= {
            "aorta_hu": aorta,
            "vena_cava_hu": aorta * float(rng.uniform(0.75, 1.0)),
            "kidney_hu": float(rng.uniform(150, 220)),
        }
    elif given is Given.LATE:
        aorta = float(rng.uniform(82, 98))
        values |= {"aorta_hu": aorta, "vena_cava_hu": aorta * 0.97, "kidney_hu": float(rng.uniform(110, 150))}
    sac = float(rng.uniform(160, 700)) if given is Given.MYELOGRAPHY else float(rng.uniform(5, 40))
    agent = None if given is Given.NONE else "Iohexol"
    return Contrast(agent=agent, dural_sac_hu=sac, **values)


def _outside_circle(rows: int, columns: int) -> npt.NDArray[np.bool_]:
    y, x = np.ogrid[:rows, :columns]
    outside: npt.NDArray[np.bool_] = np.hypot((y - (rows - 1) / 2) / rows, (x - (columns - 1) / 2) / columns) > 0.5
    return outside
