"""``bmd-node evaluate``: results and outcomes of a cohort, as in the study."""

from __future__ import annotations

from pathlib import Path

import click


def _print_example(context: click.Context, _parameter: click.Parameter, is_wanted: bool) -> None:
    if is_wanted:
        from node.research.plan_example import EXAMPLE

        click.echo(EXAMPLE, nl=False)
        context.exit()


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--outcomes", type=click.Path(path_type=Path, dir_okay=False), help="Table with a row per patient.")
@click.option("--plan", required=True, type=click.Path(path_type=Path, dir_okay=False), help="Plan of the evaluation, TOML.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the report.")
@click.option(
    "--example", is_flag=True, is_eager=True, expose_value=False, callback=_print_example, help="Print a plan and exit."
)
def evaluate(results: Path, outcomes: Path | None, plan: Path, out: Path) -> None:
    """Evaluate a cohort: RESULTS of the node against outcomes, or against another method.

    RESULTS is the folder that bmd-node process or export wrote, or its table of studies. Tables are CSV, Excel or Parquet.
    The plan says which column is which, whom to exclude, and how to match. Writes report.html, its figures
    as PNG and its tables as CSV.

    It needs libraries that the node does not: pip install 'bmd-node[research]'.
    Exit status: 0 evaluated; 2 wrong usage, unreadable input, or too few patients.
    """
    from node.research.plan_file import load_plan
    from node.research.read_tables import find_studies, needs_research, read_table

    wanted = load_plan(plan)
    studies = find_studies(results)
    table, others = read_table(studies), None if outcomes is None else read_table(outcomes)
    try:
        from node.cohort.evaluation import evaluate as evaluated
        from node.research.write_report import source, write_report
    except ModuleNotFoundError as error:
        raise needs_research(error) from error
    found = evaluated(table, others, wanted)
    sources = [source("results", studies), source("plan", plan)]
    if outcomes is not None:
        sources.insert(1, source("outcomes", outcomes))
    files = write_report(found, sources, plan.read_text(encoding="utf-8"), out)
    for warning in found.warnings:
        click.echo(f"- {warning}", err=True)
    click.echo(f"{files[0]}, and {len(files) - 1} figures and tables beside it")
