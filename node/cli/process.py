"""``bmd-node process``: measure the studies in a folder or file."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from node.cli.options import EXIT_NOT_MEASURED, config_option, log_to_stderr
from node.common.errors import ConfigurationError
from node.settings.tree import Settings, load_settings

if TYPE_CHECKING:
    from node.select import StudyFiles
    from node.study.process import ProcessOutcome

#: Memory for each study at a time: enough for about 400 slices of 512 x 512 with the margin of the compute process.
_BYTES_PER_WORKER = 4 * 1024**3


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the results.")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print result.json on stdout instead of the table.")
@click.option("--kvp", type=float, help="NIfTI only: tube voltage.")
@click.option("--manufacturer", help="NIfTI only: manufacturer of the scanner.")
@click.option("--model", help="NIfTI only: manufacturer's model name.")
@click.option(
    "--labels-out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the label map of the bodies (NIfTI; T12 = 19, L1 to L6 = 20 to 25) on the grid of the measured series.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=0,
    help="Studies at a time, if there are several; 0: as many as there are cores, and 4 GB of memory for each  [default: 0]",
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
    workers: int,
) -> None:
    """Measure every study below PATH: a DICOM folder or file (any mix of series), or one NIfTI file.

    Writes result.json, seg.dcm, sr.dcm, summary.dcm and summary.png to the folder given by --out. If PATH holds several
    studies with CT images, each gets a folder of its own there, named by its Study Instance UID, beside studies.csv and
    levels.csv; --json then prints an array with one object per study. A run that was stopped goes on where it stopped if it
    is started again; studies with the same files and settings are not measured again.
    Exit status: 0 measured (any of several); 3 not measured, with the reasons; 2 wrong usage or unreadable input.
    """
    from node.study.process import NiftiHeader, find_input, process_one

    settings = load_settings(config)
    log_to_stderr(settings.log_level)

    def say(text: str) -> None:
        click.echo(text, err=True)

    found = find_input(path, out, NiftiHeader(kvp, manufacturer, model), say)
    if len(found.studies) > 1:
        if labels_out is not None:
            raise ConfigurationError(f"--labels-out is for one study; {path} holds {len(found.studies)}")
        if out.resolve() == path.resolve():
            raise ConfigurationError(f"--out {out} is the folder that is measured: results of several studies need another")
        if found.n_ignored:
            say(f"{found.n_ignored} files are unreadable, or of studies without CT images: ignored")
        outcome = _several(found.studies, out, settings, workers or default_workers())
    else:
        outcome = process_one(found.paths, out, settings, labels_out, say)
    click.echo(outcome.json_text if as_json else outcome.table)
    if outcome.status != "measured":
        sys.exit(EXIT_NOT_MEASURED)


def default_workers() -> int:
    """As many studies at a time as there are cores and memory for."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(len(os.sched_getaffinity(0)), memory // _BYTES_PER_WORKER))


def _several(studies: Sequence[StudyFiles], out: Path, settings: Settings, workers: int) -> ProcessOutcome:
    from node.study.batch import Watch, run_batch
    from node.study.pipeline import Pipeline
    from node.worker.measure import measuring

    workers = min(workers, len(studies))
    stopped = threading.Event()
    with _bar(len(studies), workers, stopped) as (said, done), measuring(settings, workers) as measure:
        digest = Pipeline(settings).settings_digest
        return run_batch(studies, out, measure, digest, workers, Watch(said, done, stopped))


@contextlib.contextmanager
def _bar(
    n_studies: int, workers: int, stopped: threading.Event
) -> Iterator[tuple[Callable[[str], None], Callable[[int], None]]]:
    """A bar on a terminal, and lines elsewhere. After Ctrl-C no study is begun; after a second one, all end."""

    def stop(*_: object) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()
        click.echo("\nstopping after the studies that are running; press Ctrl-C again to stop now", err=True)

    before = signal.signal(signal.SIGINT, stop)
    try:
        click.echo(f"{n_studies} studies, {workers} at a time", err=True)
        if not sys.stderr.isatty():
            yield lambda text: click.echo(text, err=True), lambda _: None
            return
        with click.progressbar(length=n_studies, label="studies", file=sys.stderr, show_pos=True) as bar:

            def said(text: str) -> None:
                # in the place of the bar, which the next study draws again below
                click.echo(f"\r\033[K{text}", err=True)

            yield said, lambda n: bar.update(n - bar.pos)
    finally:
        signal.signal(signal.SIGINT, before)
