"""Small scans of digital calibration phantoms."""

from __future__ import annotations

import dataclasses

from node.calibrate import FoundRods, Line, find_rods, fit_line
from node.model import Orientation, Reason, SeriesFacts, Volume
from node.model.calibration_phantoms import CalibrationPhantom, known_phantoms
from node.phantom import CalibrationSetup, FieldOfView, Phantom, PhantomParameters, Scanner, make_phantom

PHANTOMS = {phantom.name: phantom for phantom in known_phantoms()}
#: Plate, table, and the back of the patient.
NARROW = FieldOfView((0.0, 120.0, 0.0), (190.0, 100.0, 60.0))
#: A scanner that no default would give.
SCANNER = Scanner("Philips", "Brilliance 64", 120.0, slope_mg_cm3_per_hu=0.83, intercept_mg_cm3=-4.0)
SMALL = PhantomParameters(
    noise_sd_hu=15.0, pixel_spacing_mm=1.0, slice_distance_mm=3.0, field_of_view=NARROW, scanner=SCANNER
)


def scan_of(phantom: CalibrationPhantom, changes: dict[str, object] | None = None, **setup: object) -> Phantom:
    """A scan of a calibration phantom; ``changes`` are to the image, ``setup`` to how the phantom lies."""
    calibration = CalibrationSetup(phantom, **setup)  # type: ignore[arg-type]
    return make_phantom(dataclasses.replace(SMALL, calibration=calibration, **(changes or {})))  # type: ignore[arg-type]


def volume_of(made: Phantom) -> Volume:
    """The image of a phantom with as much of a header as the rods need."""
    scanner = made.parameters.scanner
    facts = SeriesFacts(
        study_instance_uid="2.25.1",
        series_instance_uid="2.25.2",
        frame_of_reference_uid=None,
        manufacturer=scanner.manufacturer,
        manufacturer_model_name=scanner.model,
        kvp=scanner.kvp,
        convolution_kernel="B",
        slice_thickness_mm=made.parameters.thickness_mm,
        spacing_mm=(1.0, 1.0, made.parameters.slice_distance_mm),
        orientation=Orientation(made.parameters.orientation),
    )
    return Volume(made.hu, made.affine_lps_mm, facts, ())


def found(made: Phantom, phantom: CalibrationPhantom) -> FoundRods:
    """The rods, which must be found."""
    rods = find_rods(volume_of(made), phantom)
    assert isinstance(rods, FoundRods), rods
    return rods


def line_or_reason(made: Phantom, phantom: CalibrationPhantom) -> Line | Reason:
    """The line, or the first reason against it."""
    rods = find_rods(volume_of(made), phantom)
    return rods if isinstance(rods, Reason) else fit_line(phantom, rods)
