"""``bmd-node alerts``: list what was sent, replay what would be sent, and acknowledge."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from node.cli.options import EXIT_CHECK_FAILED, config_option, existing_records, log_to_stderr
from node.common.errors import InputError

if TYPE_CHECKING:
    from node.alerts.dry_run import Step
    from node.records.alerts import MessageRecord

_DAY = click.DateTime(["%Y-%m-%d"])


@click.group()
def alerts() -> None:
    """Alerts before planned spine operations."""


@alerts.command("list")
@config_option
@click.option("--since", type=_DAY, help="Only messages decided on this day (local time) or later.")
@click.option("--open", "only_open", is_flag=True, help="Only alerts that nobody has acknowledged.")
def list_(config: Path | None, since: datetime | None, only_open: bool) -> None:
    """List what was sent to whom and when, what was answered, and whether it was acknowledged."""
    from node.records.alerts import AlertRecords

    records = AlertRecords.open(existing_records(config))
    found = [
        record
        for record in records.since(since.astimezone().timestamp() if since is not None else 0.0)
        if not only_open or (record.acknowledged_s is None and record.message.kind != "withdrawal")
    ]
    for record in found:
        click.echo(_line(record))
    if not found:
        click.echo("no alert")


@alerts.command()
@config_option
@click.argument("alert_id")
def acknowledge(config: Path | None, alert_id: str) -> None:
    """Acknowledge the alert with this number, which is in its messages and in `bmd-node alerts list`.

    Exit status: 0 acknowledged, now or before; 1 there is no such alert.
    """
    from node.records.alerts import AlertRecords

    if not AlertRecords.open(existing_records(config)).acknowledge(alert_id, "command line"):
        click.echo(f"there is no alert {alert_id}", err=True)
        sys.exit(EXIT_CHECK_FAILED)
    click.echo(f"alert {alert_id} is acknowledged")


@alerts.command("dry-run")
@config_option
@click.option("--since", type=_DAY, required=True, help="First day (local time).")
@click.option("--show", is_flag=True, help="Show the text of every message.")
@click.option("--unacknowledged", is_flag=True, help="Assume that nobody acknowledges anything, to see the escalations.")
def dry_run(config: Path | None, since: datetime, show: bool, unacknowledged: bool) -> None:
    """Show what would have been sent to whom and why, and why nothing for the others. Sends and changes nothing.

    Replays everything the node has learned since that day about patients it has measured, with the current settings. If no
    channel is switched on, mail is assumed. Messages count as delivered and acknowledged immediately, or with
    --unacknowledged as never acknowledged.
    Exit status: 0 done; 1 some patients cannot be examined, with the reasons.
    """
    from node.alerts import ChannelsOn, channels_on, second_recipients
    from node.alerts.dry_run import replay
    from node.alerts.service import AlertService

    settings = existing_records(config)
    log_to_stderr(settings.log_level)
    alerting = AlertService(settings)
    on = channels_on(settings)
    if not on.names:
        on = ChannelsOn(mail=True)
        click.echo("no channel is switched on; shown as if mail were switched on")
    second = ", ".join(str(recipient) for recipient in second_recipients(settings.alert, on)) or "nobody"
    click.echo(f"alerted if nobody acknowledges within {settings.alert.escalate_after_h:g} h: {second}")
    start, now = since.astimezone(), datetime.now(UTC)
    n_messages = n_silent = 0
    failed = []
    for key in alerting.records.patients_since(start.timestamp()):
        try:
            patient = alerting.known_patient(key)
        except InputError as error:
            failed.append(str(error))
            continue
        steps = replay(patient, start, now, alerting.issuers, settings.alert, on, acknowledged=not unacknowledged)
        studies = ", ".join(dict.fromkeys(study.study_instance_uid for study in patient.studies))
        click.echo(f"patient {key[:12]}, study {studies}")
        for step in steps:
            click.echo(f"  {_said(step)}")
            if step.action.alert is None:
                n_silent += 1
                continue
            n_messages += 1
            if show:
                click.echo("\n".join(f"      {line}".rstrip() for line in alerting.text_of(step.action.alert).splitlines()))
        if not steps:
            click.echo("  nothing: no measured result")
    for line in failed:
        click.echo(f"cannot be examined: {line}", err=True)
    click.echo(f"{n_messages} messages would have been sent; {n_silent} operations or orders without one")
    if failed:
        sys.exit(EXIT_CHECK_FAILED)


def _line(record: MessageRecord) -> str:
    message = record.message
    parts = [
        _clock(record.decided_s),
        f"{message.alert_id} {message.revision}",
        message.kind + (" (escalation)" if message.escalation else ""),
        message.rules,
        f"to {message.channel} {message.recipient}".rstrip(),
        f"study {message.study_instance_uid}",
        f"{record.state}, attempt {record.attempts}" + (f": {record.answer}" if record.answer else ""),
    ]
    if message.because:
        parts.append(message.because)
    if record.acknowledged_s is not None:
        parts.append(f"acknowledged {_clock(record.acknowledged_s)} ({record.acknowledged_by})")
    return "; ".join(parts)


def _said(step: Step) -> str:
    action = step.action
    when = step.when.astimezone().isoformat(sep=" ", timespec="minutes")
    to = f" to {action.recipient}" if action.recipient is not None else ""
    until = f" until {action.due.astimezone().isoformat(sep=' ', timespec='minutes')}" if action.due is not None else ""
    return (
        f"{when}  {action.kind}{to}{until}: {action.reason.detail} [{action.reason.code}; operation {action.operation_id}]"
    )


def _clock(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s).astimezone().isoformat(sep=" ", timespec="seconds")
