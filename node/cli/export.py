"""``bmd-node export``: the results of the node as tables."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from pathlib import Path

import click

from node.cli.options import DAY, config_option, existing_records
from node.common.errors import ConfigurationError


@click.command()
@config_option
@click.option("--since", type=DAY, required=True, help="Results of this day or later (local time).")
@click.option("--until", type=DAY, help="Results of this day or earlier [default: all].")
@click.option("--format", "form", type=click.Choice(["csv", "parquet", "xlsx"]), default="csv", show_default=True)
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the tables.")
@click.option(
    "--pseudonymise",
    is_flag=True,
    help="Replace identifiers by keyed hashes, shift dates, leave out free text. Needs --key.",
)
@click.option("--key", type=click.Path(path_type=Path, dir_okay=False), help="File of the key; created if it is missing.")
@click.option(
    "--links",
    type=click.Path(path_type=Path, file_okay=False),
    help="Also write a table, for the site alone, of pseudonyms and the studies they stand for (links.csv in this folder).",
)
def export(
    config: Path | None,
    since: datetime,
    until: datetime | None,
    form: str,
    out: Path,
    pseudonymise: bool,
    key: Path | None,
    links: Path | None,
) -> None:
    """Write the results of the node as tables: studies (a row per study), levels (a row per level), and the data dictionary.

    Every study appears once, with its latest result; studies that were not measured say why. The dictionary says what each
    column means. Without --pseudonymise the tables hold patient data in clear.

    Parquet and Excel need libraries that the node does not: pip install 'bmd-node[research]'.
    """
    from node.records.runs import RunRecords
    from node.research.export import dictionary, links_of, rows_of, tables_of
    from node.research.pseudonyms import Pseudonyms, read_or_make_key
    from node.research.write_tables import Format, write_tables

    if pseudonymise != (key is not None):
        raise click.UsageError("--pseudonymise and --key FILE go together")
    if links is not None and not pseudonymise:
        raise click.UsageError("--links is for --pseudonymise")
    for path, what in ((key, "--key"), (links, "--links")):
        if path is not None and out.resolve() in (path.resolve(), *path.resolve().parents):
            raise ConfigurationError(
                f"{what} {path} must not be inside of --out: who gets the tables could undo the pseudonyms"
            )
    settings = existing_records(config)
    until_s = math.inf if until is None else (until + timedelta(days=1)).timestamp()
    rows = tuple(rows_of(RunRecords.open(settings).latest_ended(since.timestamp(), until_s)))
    pseudonyms = None
    if key is not None:
        secret, is_new = read_or_make_key(key)
        pseudonyms = Pseudonyms(secret)
        if is_new:
            click.echo(
                f"{key} is new. Keep it: without it a later export has other pseudonyms, and who has it can find patients.",
                err=True,
            )
    tables = tables_of(rows, pseudonyms)
    files = write_tables(tables, Format(form), out) + write_tables([dictionary()], Format.CSV, out)
    if links is not None and pseudonyms is not None:
        files += write_tables([links_of(rows, pseudonyms)], Format.CSV, links)
    n_measured = sum(row.status == "measured" for row in rows)
    click.echo(f"{len(rows)} studies, {n_measured} of them measured; {len(tables[1].rows)} levels")
    for file in files:
        click.echo(str(file))
    if pseudonyms is None and rows:
        click.echo("the tables hold patient data in clear; --pseudonymise replaces it", err=True)
