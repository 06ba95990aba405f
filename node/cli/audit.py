"""``bmd-node audit``: who did what, and whether the trail is whole."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import click

from node.cli.options import DAY, EXIT_CHECK_FAILED, config_option, existing_records


@click.group()
def audit() -> None:
    """Show or verify the audit trail: who logged in, looked at, changed or exported what, when, and from where."""


@audit.command()
@config_option
@click.option(
    "--expect",
    metavar="NUMBER:HASH",
    help="What an earlier verification has printed. Without it nobody can tell whether the end of the trail was cut off.",
)
def verify(config: Path | None, expect: str | None) -> None:
    """Compute the chain of hashes again, and print the last number and hash: note them elsewhere.

    Exit status: 0 the trail is whole; 1 an entry was changed or is missing; 2 wrong usage.
    """
    from node.records.audit import AuditRecords

    known: tuple[int, str] | None = None
    if expect is not None:
        match = re.fullmatch(r"(\d{1,15}):([0-9a-f]{64})", expect.strip())
        if match is None:
            raise click.UsageError("--expect takes what an earlier verification has printed, NUMBER:HASH")
        known = (int(match[1]), match[2])
    chain = AuditRecords.open(existing_records(config)).verify(known)
    if chain.problem:
        click.echo(f"NOT WHOLE: {chain.problem}. Entries up to {chain.last_number} are as they were written.")
        sys.exit(EXIT_CHECK_FAILED)
    click.echo(f"{chain.n_rows} entries, none changed or missing. Last entry: {chain.last_number}:{chain.last_hash}")


@audit.command(name="list")
@config_option
@click.option("--since", type=DAY, help="First day.")
@click.option("--user", "user_name", help="Only what this account did.")
@click.option("--study", help="Only what concerns this Study Instance UID.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def list_(config: Path | None, since: datetime | None, user_name: str | None, study: str | None, as_json: bool) -> None:
    """List the trail, oldest first."""
    from node.records.audit import AuditRecords

    first = None if since is None else since.astimezone()
    for row in AuditRecords.open(existing_records(config)).rows():
        entry = row.entry
        is_meant = (first is None or row.at >= first) and study in (None, entry.subject)
        if not is_meant or user_name not in (None, entry.user_name):
            continue
        if as_json:
            click.echo(json.dumps({"number": row.number, "at": row.at.isoformat(), **asdict(entry), "hash": row.hash}))
            continue
        when = row.at.astimezone().isoformat(sep=" ", timespec="seconds")
        outcome = "" if entry.is_success else "REFUSED "
        what = " ".join(part for part in (entry.subject, entry.detail) if part)
        who = entry.user_name or "-"
        click.echo(f"{row.number:6}  {when}  {entry.action:11} {who:20} {entry.address:15} {outcome}{what}")
