"""The command line ``bmd-node``: thin, everything it does stands in the rooms."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import click

from node import __version__
from node.commands.alerts import alerts
from node.commands.calibrations import calibrate, calibrations
from node.commands.destinations import destinations
from node.commands.doctor import doctor, health
from node.commands.options import EXIT_NOT_MEASURED, EXIT_USAGE
from node.commands.options import config_option as _config
from node.commands.options import log_to_stderr as _log_to_stderr
from node.commands.options import stop_on_signal as _stop_on_signal
from node.commands.plans import intake, plans
from node.commands.retrieve import puller, retrieve
from node.commands.upkeep import recalculate, rerun, stability
from node.errors import NodeError
from node.model import Orientation
from node.settings.tree import load_settings


class _Commands(click.Group):
    """Turns the node's own errors into one line and exit status 2; a traceback is for bugs."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except NodeError as error:
            click.echo(f"bmd-node: {error}", err=True)
            ctx.exit(EXIT_USAGE)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="bmd-node")
def main() -> None:
    """Screens lumbar CT for osteoporosis: trabecular BMD of L1 to L4 as DICOM SEG, Structured Report and summary page.

    A screening estimate, not a diagnosis. Where the node does not know, it says so and reports less.
    """


@main.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the results.")
@_config
@click.option("--json", "as_json", is_flag=True, help="Print result.json alone on stdout.")
@click.option("--kvp", type=float, help="NIfTI only: tube voltage.")
@click.option("--manufacturer", help="NIfTI only: manufacturer of the scanner.")
@click.option("--model", help="NIfTI only: manufacturer's model name.")
@click.option(
    "--labels-out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the label map of the bodies (NIfTI; T12 = 19, L1 to L6 = 20 to 25) on the grid of the measured series.",
)
def process(
    path: Path,
    out: Path,
    config: Path | None,
    as_json: bool,
    kvp: float | None,
    manufacturer: str | None,
    model: str | None,
    labels_out: Path | None,
) -> None:
    """Measure one study: PATH is a folder or file of DICOM (any mixture of series), or one NIfTI.

    Writes result.json, seg.dcm, sr.dcm, summary.dcm and summary.png into the folder given by --out.
    Exit status: 0 measured; 3 not measured, with the reasons; 2 wrong usage or unreadable input.
    """
    from node.process import NiftiHeader, process_path

    settings = load_settings(config)
    _log_to_stderr(settings.log_level)
    outcome = process_path(
        path,
        out,
        settings,
        NiftiHeader(kvp, manufacturer, model),
        labels_out,
        lambda text: click.echo(text, err=True),
    )
    click.echo(outcome.json_text if as_json else outcome.table)
    if outcome.status != "measured":
        sys.exit(EXIT_NOT_MEASURED)


@main.command()
@_config
def serve(config: Path | None) -> None:
    """Run the node until it is stopped: listener, worker, status page, and where the settings ask for them the intake of
    plans and the link with Orthanc, each in its own process."""
    from node.serve import parts_of, refuse_without_segmenter, supervise

    settings = load_settings(config)
    _log_to_stderr(settings.log_level)
    refuse_without_segmenter(settings.segment)
    supervise(parts_of(settings), config, _stop_on_signal())


@main.command()
@_config
def listener(config: Path | None) -> None:
    """Run the DICOM listener alone (C-ECHO, C-STORE)."""
    from node.receive import serve_listener

    settings = load_settings(config)
    _log_to_stderr(settings.log_level)
    serve_listener(settings, _stop_on_signal(), lambda: None)


@main.command()
@_config
def worker(config: Path | None) -> None:
    """Run a worker alone: takes studies that are complete through the rooms and delivers the results."""
    from node.durable import run_worker

    settings = load_settings(config)
    _log_to_stderr(settings.log_level)
    run_worker(settings, _stop_on_signal())


@main.command()
@_config
def web(config: Path | None) -> None:
    """Run the status page alone."""
    from node.web import serve_web

    settings = load_settings(config)
    _log_to_stderr(settings.log_level)
    serve_web(settings, _stop_on_signal())


@main.command()
@click.option("--ct", type=click.Path(path_type=Path, exists=True), help="Send this CT instead of a digital phantom.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="Folder for everything the demo makes.",
)
@click.option(
    "--density",
    type=float,
    default=75.0,
    show_default=True,
    help="BMD of the phantom in mg/cm3 (L2; L1 to L4 differ a little).",
)
def demo(ct: Path | None, out: Path, density: float) -> None:
    """Show the whole way: a CT is sent to the node, SEG, SR and summary page come back to a PACS."""
    from node.demo import run_demo

    if not run_demo(ct, out, density, click.echo):
        sys.exit(EXIT_NOT_MEASURED)


@main.command()
@_config
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many of the latest runs.")
def status(config: Path | None, limit: int) -> None:
    """What happened to the latest studies, and why."""
    from node.records.runs import Records

    for run in Records.open(load_settings(config)).runs(limit):
        when = datetime.fromtimestamp(run.queued_s).astimezone().isoformat(sep=" ", timespec="seconds")
        click.echo(f"{when}  {run.state:12} {run.step:10} {run.study_instance_uid}")
        if run.detail:
            click.echo(f"    {run.detail}")
        for delivery in run.deliveries:
            click.echo(
                f"    to {delivery.destination}: {delivery.state}, attempt {delivery.attempts} {delivery.detail}".rstrip()
            )


@main.command()
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the CT and its truth."
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
@click.option("--calibration-phantom", help="A calibration phantom on the table, by its name (see `calibrate --help`).")
@click.option("--no-patient", is_flag=True, help="With --calibration-phantom: a body of water instead of the patient.")
@click.option("--field-of-view", type=click.Choice(["lumbar", "spine", "rods", "abdomen", "trunk"]), help="Imaged box.")
@click.option("--slope", type=float, default=0.78, show_default=True, help="Of the scanner, mg/cm3 per HU.")
@click.option("--intercept", type=float, default=0.0, show_default=True, help="Of the scanner, mg/cm3.")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws the noise and the bowel.")
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
    calibration_phantom: str | None,
    no_patient: bool,
    field_of_view: str | None,
    slope: float,
    intercept: float,
    seed: int,
) -> None:
    """Make the CT of a digital lumbar spine with known densities, with its truth in truth.json.

    With --calibration-phantom the rods lie beneath the patient, or beneath a body of water as for `bmd-node calibrate`.
    """
    from node.calibration_phantoms import known_phantom
    from node.phantom import (
        FIELDS_OF_VIEW,
        CalibrationSetup,
        PhantomParameters,
        Scanner,
        Screws,
        make_phantom,
        write_series,
        write_truth,
    )

    if no_patient and calibration_phantom is None:
        raise click.UsageError("--no-patient goes with --calibration-phantom")
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
            calibration=setup,
            field_of_view=FIELDS_OF_VIEW[field_of_view or ("rods" if setup else "lumbar")],
            seed=seed,
        )
    )
    paths = write_series(made, out)
    write_truth(made, out / "truth.json")
    click.echo(f"{len(paths)} images and truth.json in {out}")


@main.command()
@_config
def settings(config: Path | None) -> None:
    """Print every setting with its value in use."""
    click.echo(load_settings(config).model_dump_json(indent=2))


main.add_command(stability)
main.add_command(recalculate)
main.add_command(rerun)
main.add_command(destinations)
main.add_command(alerts)


for _command in (puller, retrieve, calibrations, calibrate, intake, plans, doctor, health):
    main.add_command(_command)

if __name__ == "__main__":
    main()
