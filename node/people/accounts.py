"""Checks a login: by the password of a local account, or by the directory; with a limit on failures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from node.common.errors import TransportError
from node.people.passwords import hash_password, is_outdated, is_password
from node.records.users import LoginFailures, Role, Source, User, UserRecords, key_of_name, user_name
from node.settings.login import LoginSettings

_LONGEST_NAME = 64


class Because(StrEnum):
    """Why a login was refused. What a person is told does not tell whether the account exists."""

    WRONG = "wrong name or password"
    LOCKED = "too many failed logins"
    DISABLED = "the account is disabled"
    NO_ROLE = "the account is in no group that has a role"
    OTHER_ACCOUNT = "the name belongs to an account of another source"
    UNREACHABLE = "the directory does not answer"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused login; ``name`` is that of a known account, or empty."""

    because: Because
    name: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """What the directory or the provider says of a person whose login it has checked.

    Attributes:
        subject: DN, or issuer and subject; it stays the same when the name changes.
    """

    name: str
    full_name: str
    subject: str
    roles: frozenset[Role]


#: Name and password; ``None`` if they are wrong. Raises TransportError.
AskDirectory = Callable[[str, str], Person | None]


class Logins:
    """Accounts, and the limit on failures."""

    def __init__(
        self, users: UserRecords, failures: LoginFailures, settings: LoginSettings, directory: AskDirectory | None = None
    ) -> None:
        self._users = users
        self._failures = failures
        self._settings = settings
        self._directory = directory

    def by_password(self, typed_name: str, password: str, address: str) -> User | Refusal:
        """Check a name and a password.

        Args:
            address: where it comes from; failures are counted for it, too.
        """
        name = user_name(typed_name)
        known = self._users.user(name) if _is_name(name) else None
        if not self._may_try(name, address):
            return Refusal(Because.LOCKED, known.name if known else "")
        found = self._checked(name, password, known)
        if isinstance(found, Refusal):
            return found
        self._failures.succeeded(key_of_name(name))
        self._failures.uncount(_key_of_address(address))
        self._users.logged_in(found.name)
        return found

    def by_provider(self, person: Person, source: Source) -> User | Refusal:
        """Take a person whose login the provider or the directory has checked: a new one gets an account."""
        name = user_name(person.name)
        if not _is_name(name):
            return Refusal(Because.WRONG)
        known = self._users.user(name)
        # a directory gives a name to one person, whose DN may change; a name at a provider may be anybody's choice
        is_other = source is Source.OIDC and known is not None and known.subject != person.subject
        if known is not None and (known.source is not source or is_other):
            return Refusal(Because.OTHER_ACCOUNT, name)
        if known is not None and known.is_disabled:
            return Refusal(Because.DISABLED, name)
        if not person.roles:
            if known is not None:
                self._users.set_roles(name, ())  # open sessions lose them, too
            return Refusal(Because.NO_ROLE, name)
        full_name = person.full_name[:128]
        if known is None:
            self._users.add(name, full_name, person.roles, source=source, subject=person.subject)
        else:
            self._users.set_roles(name, person.roles, full_name)
        self._users.logged_in(name)
        return self._users.user(name) or Refusal(Because.WRONG)

    def change_password(self, user: User, old: str, new: str, address: str) -> Refusal | None:
        """Set the password of a local account that knows its old one; ends its sessions."""
        if not self._may_try(user.name, address):
            return Refusal(Because.LOCKED, user.name)
        if not is_password(user.password_hash, old):
            return Refusal(Because.WRONG, user.name)
        self._failures.succeeded(key_of_name(user.name))
        self._failures.uncount(_key_of_address(address))
        self._users.set_password(user.name, hash_password(new))
        return None

    def _checked(self, name: str, password: str, known: User | None) -> User | Refusal:
        if known is None and self._directory is None:
            is_password("", password)
            return Refusal(Because.WRONG)
        if known is not None and known.source is not Source.LDAP:
            return self._by_own_password(known, password)
        if self._directory is None or not password:
            return Refusal(Because.WRONG, known.name if known else "")
        try:
            person = self._directory(name, password)
        except TransportError:
            return Refusal(Because.UNREACHABLE, known.name if known else "")
        return (
            Refusal(Because.WRONG, known.name if known else "") if person is None else self.by_provider(person, Source.LDAP)
        )

    def _by_own_password(self, known: User, password: str) -> User | Refusal:
        if not is_password(known.password_hash, password):
            return Refusal(Because.WRONG, known.name)
        if known.is_disabled:
            return Refusal(Because.DISABLED, known.name)
        if is_outdated(known.password_hash):
            self._users.rehashed(known.name, hash_password(password))
        return known

    def _may_try(self, name: str, address: str) -> bool:
        one, window_s = self._settings, self._settings.lock_minutes * 60
        if not self._failures.begin_attempt(_key_of_address(address), one.max_failures_per_address, window_s):
            return False
        return self._failures.begin_attempt(key_of_name(name), one.max_failures, window_s)


def _key_of_address(address: str) -> str:
    return f"address {address}"


def _is_name(name: str) -> bool:
    return 0 < len(name) <= _LONGEST_NAME and name.isprintable()
