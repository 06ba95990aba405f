"""``bmd-node users``: the accounts that may open the pages."""

from __future__ import annotations

import getpass
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from node.cli.options import EXIT_CHECK_FAILED, config_option, existing_records
from node.settings.tree import Settings

if TYPE_CHECKING:
    from node.records.users import User, UserRecords

_ROLES = ("viewer", "radiologist", "administrator")
_NAME = click.argument("name")
_ROLE = click.option(
    "--role",
    "roles",
    type=click.Choice(_ROLES),
    multiple=True,
    required=True,
    help="viewer: look at studies; radiologist: also correct and sign; administrator: look at studies, destinations and "
    "metrics. May be given several times.",
)
_STDIN = click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input: one line, instead of asking."
)


@click.group()
def users() -> None:
    """Add, disable and list the accounts that may open the pages.

    There is no default account. Passwords are asked for at the terminal, never given as an argument. Accounts of a
    directory or provider (login_ldap, login_oidc) appear here after their first login; their roles follow their groups.
    """


@users.command()
@config_option
@_NAME
@_ROLE
@click.option("--full-name", default="", help="Name that reports and pages show.")
@_STDIN
def add(config: Path | None, name: str, roles: tuple[str, ...], full_name: str, password_stdin: bool) -> None:
    """Add a local account. Exit status: 0 done; 2 the name is taken, or the password cannot be used."""
    from node.people import hash_password
    from node.records.users import Role, UserRecords, user_name

    settings = existing_records(config)
    name = user_name(name)
    if not name.isprintable() or not 0 < len(name) <= 64:
        raise click.UsageError("the name needs 1 to 64 characters")
    records = UserRecords.open(settings)
    if records.user(name) is not None:
        raise click.UsageError(f"there is an account {name} already")
    password_hash = hash_password(_password(settings, name, password_stdin))
    if not records.add(name, full_name.strip()[:128], [Role(role) for role in roles], password_hash=password_hash):
        raise click.UsageError(f"there is an account {name} already")
    _note(settings, name, f"added: {', '.join(sorted(set(roles)))}")
    click.echo(f"added {name}")


@users.command(name="list")
@config_option
def list_(config: Path | None) -> None:
    """List the accounts, their roles, and when they last logged in."""
    records = _records(existing_records(config))
    for user in records.users():
        last = "never" if user.last_login_s is None else _when(user.last_login_s)
        state = "  disabled" if user.is_disabled else ""
        click.echo(f"{user.name:20} {', '.join(sorted(user.roles)):35} {user.source:6} last login {last}{state}")
    if records.is_empty():
        click.echo("there is no account yet: bmd-node users add NAME --role administrator")


@users.command()
@config_option
@_NAME
def disable(config: Path | None, name: str) -> None:
    """Disable an account; its sessions end at once. Exit status: 0 done; 1 there is no such account."""
    _set_disabled(config, name, is_disabled=True)


@users.command()
@config_option
@_NAME
def enable(config: Path | None, name: str) -> None:
    """Enable an account that was disabled. Exit status: 0 done; 1 there is no such account."""
    _set_disabled(config, name, is_disabled=False)


@users.command()
@config_option
@_NAME
def remove(config: Path | None, name: str) -> None:
    """Remove an account of a directory or provider that belongs to somebody else now; the next login with this name makes a
    new one. To keep somebody out, use disable. Exit status: 0 done; 1 there is no such account."""
    from node.records.users import Source

    settings = existing_records(config)
    user = _known(settings, name)
    if user.source is Source.LOCAL:
        raise click.UsageError(f"{user.name} is a local account: disable it, so that the audit trail stays unambiguous")
    _records(settings).remove(user.name)
    _note(settings, user.name, f"removed ({user.source})")
    click.echo(f"removed {user.name}")


@users.command(name="set-roles")
@config_option
@_NAME
@_ROLE
def set_roles(config: Path | None, name: str, roles: tuple[str, ...]) -> None:
    """Replace the roles of a local account. Exit status: 0 done; 1 there is no such account."""
    from node.records.users import Role, Source

    settings = existing_records(config)
    user = _known(settings, name)
    if user.source is not Source.LOCAL:
        raise click.UsageError(f"the roles of {user.name} follow the groups of its {user.source} account")
    _records(settings).set_roles(user.name, [Role(role) for role in roles])
    _note(settings, user.name, f"roles: {', '.join(sorted(set(roles)))}")
    click.echo(f"{user.name}: {', '.join(sorted(set(roles)))}")


@users.command(name="reset-password")
@config_option
@_NAME
@_STDIN
def reset_password(config: Path | None, name: str, password_stdin: bool) -> None:
    """Set another password for a local account, and unlock it; its sessions end. Exit status: 0 done; 1 there is no such
    account; 2 the password cannot be used."""
    from node.people import hash_password
    from node.records.users import LoginFailures, Source

    settings = existing_records(config)
    user = _known(settings, name)
    if user.source is not Source.LOCAL:
        raise click.UsageError(f"the password of {user.name} is kept by its {user.source} account")
    _records(settings).set_password(user.name, hash_password(_password(settings, user.name, password_stdin)))
    LoginFailures.open(settings).unlock(user.name)
    _note(settings, user.name, "password reset")
    click.echo(f"password of {user.name} is set")


@users.command()
@config_option
@_NAME
def unlock(config: Path | None, name: str) -> None:
    """Let a name log in again that was locked after failed logins."""
    from node.records.users import LoginFailures, user_name

    settings = existing_records(config)
    LoginFailures.open(settings).unlock(name)
    _note(settings, user_name(name), "unlocked")
    click.echo(f"unlocked {user_name(name)}")


def _records(settings: Settings) -> UserRecords:
    from node.records.users import UserRecords

    return UserRecords.open(settings)


def _set_disabled(config: Path | None, name: str, *, is_disabled: bool) -> None:
    settings = existing_records(config)
    user = _known(settings, name)
    _records(settings).set_disabled(user.name, is_disabled=is_disabled)
    done = "disabled" if is_disabled else "enabled"
    _note(settings, user.name, done)
    click.echo(f"{done} {user.name}")


def _known(settings: Settings, name: str) -> User:
    user = _records(settings).user(name)
    if user is None:
        click.echo(f"there is no account {name}: bmd-node users list", err=True)
        sys.exit(EXIT_CHECK_FAILED)
    return user


def _password(settings: Settings, name: str, from_stdin: bool) -> str:
    from node.people import password_problem

    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    problem = password_problem(password, name, settings.login.min_password_length)
    if problem:
        raise click.UsageError(problem)
    return password


def _note(settings: Settings, name: str, what: str) -> None:
    """Write a change into the audit trail."""
    from node.records.audit import Action, AuditEntry, AuditRecords

    AuditRecords.open(settings).add(AuditEntry(Action.ACCOUNT, True, command_line_user(), "local", name, what))


def command_line_user() -> str:
    """Who runs the command, for the audit trail."""
    try:
        return f"{getpass.getuser()} (command line)"
    except (OSError, KeyError):
        return "command line"


def _when(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s).astimezone().isoformat(sep=" ", timespec="minutes")
