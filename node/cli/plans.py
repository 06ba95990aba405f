"""``bmd-node plans``: planned operations and refused messages."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import click

from node.cli.options import config_option, existing_records

if TYPE_CHECKING:
    from node.clinical.planned_operation import PlannedOperation


@click.command()
@config_option
@click.option("--all", "with_all", is_flag=True, help="Include operations that are past, cancelled or done.")
@click.option("--identity", is_flag=True, help="Include the patient's identity. Prints patient data.")
@click.option("--refused", is_flag=True, help="List refused messages instead, with the reasons.")
def plans(config: Path | None, with_all: bool, identity: bool, refused: bool) -> None:
    """List the planned operations that the node knows, the next one first.

    Per operation: time at the site, status, source and its id, then procedure codes and levels. Without --identity, neither
    the patient is shown nor procedure texts, which are free text and may name the patient.
    """
    from node.clinical.planned_operation import PlanStatus
    from node.records.plan_refusals import PlanRefusals
    from node.records.planned_operations import PlannedOperations

    settings = existing_records(config)
    zone = settings.plans.zone
    if refused:
        refusals = PlanRefusals.open(settings)
        found = refusals.refusals()
        for one in found:
            click.echo(
                f"{_at(one.last_at, zone)}  {one.source:12} {one.digest[:12]}  {one.times} times: {one.detail} ({one.code})"
            )
        for count in refusals.only_counted():
            what = "older ones, removed because of plans.max_refused" if count.was_removed else f"more: {count.detail}"
            click.echo(f"{_at(count.last_at, zone)}  {count.source:12} not stored    {count.times} {what}")
        click.echo(f"{len(found)} refused, stored in {refusals.folder}")
        return
    now = dt.datetime.now(dt.UTC)
    known = PlannedOperations.open(settings).current()
    shown = [
        one
        for one in known
        if with_all or ((one.is_active or one.status is PlanStatus.VANISHED) and not _is_over(one, now, zone))
    ]
    for operation in shown:
        for line in _lines(operation, zone, identity=identity):
            click.echo(line)
    click.echo(f"{len(shown)} of {len(known)} planned operations")


def _is_over(operation: PlannedOperation, now: dt.datetime, zone: dt.tzinfo) -> bool:
    """Whether the day of the operation is over."""
    return operation.starts is not None and operation.starts.astimezone(zone).date() < now.astimezone(zone).date()


def _lines(operation: PlannedOperation, zone: dt.tzinfo, *, identity: bool) -> list[str]:
    key = operation.key
    if operation.starts is None:
        when = "time not known"
    else:
        day = f"{operation.starts.astimezone(zone):%Y-%m-%d} (day only)"
        when = _at(operation.starts, zone) if operation.time_known else day
    lines = [f"{when:25}  {operation.status:9}  {key.source} {key.source_name} {key.operation_id}"]
    codes = [
        f"{one.code} ({one.coding_system})" if one.coding_system else one.code for one in operation.procedures if one.code
    ]
    details = [", ".join(codes), f"levels {', '.join(operation.levels)}" if operation.levels else ""]
    if any(details):
        lines.append("    " + "; ".join(detail for detail in details if detail))
    if identity:
        patient = operation.patient
        numbers = ", ".join(
            f"{one.value} ({one.issuer or one.issuer_universal_id or 'no issuer'})" for one in patient.identifiers
        )
        lines.append(f"    patient: {'; '.join([numbers, *patient.names, str(patient.birth_date or 'no birth date')])}")
        lines += [f"    {one.role}: {one.name} {one.id}".rstrip() for one in operation.participants]
        lines += [f"    {one.text}" for one in operation.procedures if one.text]
    return lines


def _at(when: dt.datetime, zone: dt.tzinfo) -> str:
    return when.astimezone(zone).isoformat(sep=" ", timespec="minutes")
