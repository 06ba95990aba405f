"""``bmd-node users``."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from node.cli.main import main
from node.people import Because, Logins, Refusal
from node.records.audit import AuditRecords
from node.records.users import LoginFailures, Role, Source, User, UserRecords
from node.settings.login import LoginSettings
from node.settings.tree import Settings

PASSWORD = "nine green bottles"  # noqa: S105 - of tests


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(state_dir=tmp_path / "state")
    UserRecords.open(made)
    return made


def users(settings: Settings, *arguments: str, said: str = "") -> tuple[int, str]:
    config = settings.state_dir.parent / "bmd-node.toml"
    config.write_text(f'state_dir = "{settings.state_dir}"\n')
    result = CliRunner().invoke(main, ["users", *arguments, "--config", str(config)], input=said)
    return result.exit_code, result.output


def log_in(settings: Settings, name: str, password: str = PASSWORD) -> User | Refusal:
    logins = Logins(UserRecords.open(settings), LoginFailures.open(settings), LoginSettings(max_failures=2))
    return logins.by_password(name, password, "127.0.0.1")


def test_an_account_is_made_listed_disabled_and_gets_another_password(settings: Settings) -> None:
    assert "bmd-node users add" in users(settings, "list")[1]
    code, said = users(settings, "add", " Eva ", "--role", "radiologist", "--role", "viewer", said=f"{PASSWORD}\n" * 2)
    assert (code, PASSWORD in said) == (0, False)
    user = log_in(settings, "EVA")
    assert isinstance(user, User)
    assert user.roles == {Role.RADIOLOGIST, Role.VIEWER}
    assert PASSWORD not in user.password_hash
    assert user.password_hash.startswith("$argon2id$")
    assert users(settings, "add", "eva", "--role", "viewer", "--password-stdin", said=f"{PASSWORD}\n")[0] == 2, "taken"
    assert "radiologist, viewer" in users(settings, "list")[1]
    assert users(settings, "disable", "eva")[0] == 0
    assert log_in(settings, "eva") == Refusal(Because.DISABLED, "eva")
    assert "disabled" in users(settings, "list")[1]
    assert users(settings, "enable", "eva")[0] == 0
    assert [log_in(settings, "eva", "wrong") for _ in range(3)][-1] == Refusal(Because.LOCKED, "eva")
    assert users(settings, "unlock", "eva")[0] == 0
    assert isinstance(log_in(settings, "eva"), User)
    [log_in(settings, "eva", "wrong") for _ in range(3)]
    new = "eight green bottles"
    assert users(settings, "reset-password", "eva", "--password-stdin", said=f"{new}\n")[0] == 0, "unlocks, too"
    assert isinstance(log_in(settings, "eva", new), User)
    assert log_in(settings, "eva") == Refusal(Because.WRONG, "eva")
    assert users(settings, "set-roles", "eva", "--role", "administrator")[0] == 0
    changed = UserRecords.open(settings).user("eva")
    assert changed is not None
    assert changed.roles == {Role.ADMINISTRATOR}
    entries = [row.entry for row in AuditRecords.open(settings).rows()]
    assert [entry.detail for entry in entries] == [
        "added: radiologist, viewer",
        "disabled",
        "enabled",
        "unlocked",
        "password reset",
        "roles: administrator",
    ]
    assert {(entry.subject, entry.address) for entry in entries} == {("eva", "local")}


@pytest.mark.parametrize("password", ["short", "x" * 30, "somebody-somebody", "y" * 15 + "x" * 300])
def test_a_password_that_is_easy_or_endless_is_refused(settings: Settings, password: str) -> None:
    code, said = users(settings, "add", "somebody", "--role", "viewer", "--password-stdin", said=f"{password}\n")
    assert (code, "The password" in said) == (2, True)
    assert UserRecords.open(settings).is_empty()


def test_an_account_of_a_provider_can_be_removed_and_nothing_else_be_changed(settings: Settings) -> None:
    records = UserRecords.open(settings)
    records.add("eva", "Eva", [Role.VIEWER], source=Source.OIDC, subject="https://login.example 17")
    for command in (["reset-password", "eva"], ["set-roles", "eva", "--role", "viewer"]):
        assert users(settings, *command)[0] == 2
    assert users(settings, "remove", "Eva")[0] == 0
    assert records.is_empty()
    assert users(settings, "remove", "eva")[0] == 1
    records.add("local", "", [Role.VIEWER])
    assert users(settings, "remove", "local")[0] == 2


def test_who_is_not_known_or_has_no_role_is_an_error(settings: Settings) -> None:
    for command in ("disable", "enable", "reset-password"):
        assert users(settings, command, "nobody")[0] == 1
    assert users(settings, "add", "eva")[0] == 2
    assert users(settings, "add", "eva", "--role", "king")[0] == 2
    assert users(settings, "add", " ", "--role", "viewer")[0] == 2
