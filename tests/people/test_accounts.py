"""The limit on failed logins."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.people import Because, Logins, Refusal
from node.records.users import LoginFailures, Role, User, UserRecords
from node.settings.login import LoginSettings
from node.settings.tree import Settings
from tests.receive.conftest import postgres_url
from tests.records.test_migrations import DATABASES, settings
from tests.web.people import PASSWORD, add_account

__all__ = ["postgres_url", "settings"]


@DATABASES
def test_an_address_that_tries_many_names_is_locked(settings: Settings) -> None:
    add_account(settings, "eva", Role.VIEWER)
    limits = LoginSettings(max_failures_per_address=3)
    logins = Logins(UserRecords.open(settings), LoginFailures.open(settings), limits)
    for _ in range(5):
        assert isinstance(logins.by_password("eva", PASSWORD, "10.0.0.1"), User), "successes are not counted"
    found = [logins.by_password(name, "guess", "10.0.0.1") for name in ("anna", "berta", "clara", "dora")]
    assert [one.because for one in found if isinstance(one, Refusal)] == [*[Because.WRONG] * 3, Because.LOCKED]
    assert logins.by_password("eva", PASSWORD, "10.0.0.1") == Refusal(Because.LOCKED, "eva")
    assert isinstance(logins.by_password("eva", PASSWORD, "10.0.0.2"), User), "others are not"


@pytest.mark.parametrize("name", ["", " ", "x" * 65, "a\nb", "a\0b", "\ud800"])
def test_what_is_no_name_is_refused_and_counted(tmp_path: Path, name: str) -> None:
    own = Settings(state_dir=tmp_path)
    logins = Logins(UserRecords.open(own), LoginFailures.open(own), LoginSettings(max_failures=1))
    assert logins.by_password(name, PASSWORD, "10.0.0.1") == Refusal(Because.WRONG)
    assert logins.by_password(name, PASSWORD, "10.0.0.1") == Refusal(Because.LOCKED)
