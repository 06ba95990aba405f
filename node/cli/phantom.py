"""``bmd-node phantom``: a CT with known densities."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from node.model import FractureKind, Level, Orientation

if TYPE_CHECKING:
    from node.phantom import Fracture

#: A height loss in the middle of each grade (Genant; limits in :mod:`node.measure.fracture`).
_LOSS_OF_GRADE = {"1": 0.225, "2": 0.325, "3": 0.475}


def _fractures(_context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[Fracture, ...]:
    """Read ``LEVEL:GRADE`` or ``LEVEL:GRADE:KIND``."""
    from node.phantom import Fracture

    fractures = []
    for value in values:
        name, grade, kind = (*value.split(":"), FractureKind.WEDGE)[:3] if value.count(":") in (1, 2) else ("", "", "")
        if name.upper() not in Level.__members__ or grade not in _LOSS_OF_GRADE or kind.lower() not in set(FractureKind):
            raise click.BadParameter(
                f"{value!r} is not a level and a grade from 1 to 3, such as L2:2, or L2:2:crush ({', '.join(FractureKind)})",
                param=parameter,
            )
        fractures.append(Fracture(Level[name.upper()], FractureKind(kind.lower()), _LOSS_OF_GRADE[grade]))
    if len({fracture.level for fracture in fractures}) < len(fractures):
        raise click.BadParameter("a level is named twice", param=parameter)
    return tuple(fractures)


@click.command()
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the CT and its true values."
)
@click.option("--density", type=float, default=100.0, show_default=True, help="Trabecular BMD of every vertebra, mg/cm3.")
@click.option("--kvp", type=float, default=120.0, show_default=True, help="Tube voltage in the header.")
@click.option("--manufacturer", default="Philips", show_default=True)
@click.option("--model", default="Brilliance 64", show_default=True, help="Manufacturer's model name.")
@click.option("--noise", type=float, default=20.0, show_default=True, help="Standard deviation of the noise, HU.")
@click.option("--pixel-spacing", type=float, default=0.8, show_default=True, help="In the image plane, mm.")
@click.option("--slice-distance", type=float, default=1.0, show_default=True, help="Also the slice thickness, mm.")
@click.option("--orientation", type=click.Choice([o.value for o in Orientation]), default="axial", show_default=True)
@click.option("--screws", is_flag=True, help="Pedicle screws and rods from L3 to L5.")
@click.option(
    "--fracture",
    "fractures",
    callback=_fractures,
    metavar="LEVEL:GRADE",
    multiple=True,
    help="Fractured vertebra and its grade, such as L2:2; repeatable. A wedge, unless it ends in :crush or :biconcave.",
)
@click.option("--calibration-phantom", help="Calibration phantom on the table, by name (see `calibrate --help`).")
@click.option("--no-patient", is_flag=True, help="With --calibration-phantom: a water body instead of the patient.")
@click.option("--field-of-view", type=click.Choice(["lumbar", "spine", "rods", "abdomen", "trunk"]), help="Imaged region.")
@click.option("--slope", type=float, default=0.78, show_default=True, help="Of the scanner, mg/cm3 per HU.")
@click.option("--intercept", type=float, default=0.0, show_default=True, help="Of the scanner, mg/cm3.")
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed of noise and bowel.")
def phantom(
    out: Path,
    density: float,
    kvp: float,
    manufacturer: str,
    model: str,
    noise: float,
    pixel_spacing: float,
    slice_distance: float,
    orientation: str,
    screws: bool,
    fractures: tuple[Fracture, ...],
    calibration_phantom: str | None,
    no_patient: bool,
    field_of_view: str | None,
    slope: float,
    intercept: float,
    seed: int,
) -> None:
    """Create the CT of a digital lumbar spine with known densities; the true values are in truth.json.

    With --calibration-phantom the rods are beneath the patient, or beneath a water body as for `bmd-node calibrate`.
    """
    from node.model.calibration_phantoms import known_phantom
    from node.phantom import (
        FIELDS_OF_VIEW,
        CalibrationSetup,
        Pathology,
        PhantomParameters,
        Scanner,
        Screws,
        make_phantom,
        write_series,
        write_truth,
    )

    if no_patient and calibration_phantom is None:
        raise click.UsageError("--no-patient needs --calibration-phantom")
    setup = None
    if calibration_phantom is not None:
        setup = CalibrationSetup(known_phantom(calibration_phantom), patient=not no_patient)
    made = make_phantom(
        PhantomParameters(
            density_mg_cm3=density,
            scanner=Scanner(manufacturer, model, kvp, slope, intercept),
            noise_sd_hu=noise,
            pixel_spacing_mm=pixel_spacing,
            slice_distance_mm=slice_distance,
            orientation=Orientation(orientation),
            screws=Screws() if screws else None,
            pathology=Pathology(fractures=fractures),
            calibration=setup,
            field_of_view=FIELDS_OF_VIEW[field_of_view or ("rods" if setup else "lumbar")],
            seed=seed,
        )
    )
    paths = write_series(made, out)
    write_truth(made, out / "truth.json")
    click.echo(f"{len(paths)} images and truth.json in {out}")
