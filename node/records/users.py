"""People who may open the pages: accounts, their sessions, and failed logins.

The tables hold no password and no token that could be used: passwords as argon2 hashes, session tokens as SHA-256.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from node.records.database import Store, insert_or_keep, metadata

_users = sa.Table(
    "users",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("full_name", sa.String(128), nullable=False),
    sa.Column("source", sa.String(16), nullable=False),
    # of the directory or the provider: DN, or issuer and subject; empty for local accounts
    sa.Column("subject", sa.String(512), nullable=False),
    # empty: the account has no password here
    sa.Column("password_hash", sa.String(256), nullable=False),
    sa.Column("roles", sa.String(128), nullable=False),
    sa.Column("is_disabled", sa.Boolean, nullable=False),
    sa.Column("created_s", sa.Double, nullable=False),
    sa.Column("last_login_s", sa.Double),
)

_sessions = sa.Table(
    "web_sessions",
    metadata,
    sa.Column("session_key", sa.String(64), primary_key=True),
    sa.Column("user_name", sa.String(64), nullable=False, index=True),
    sa.Column("csrf_token", sa.String(64), nullable=False),
    sa.Column("created_s", sa.Double, nullable=False),
    sa.Column("seen_s", sa.Double, nullable=False),
    sa.Column("expires_s", sa.Double, nullable=False, index=True),
    sa.Column("ended_because", sa.String(32), nullable=False),
)

#: Counts by a key: a user name or an address, both hashed, since people type passwords into the wrong field.
_failures = sa.Table(
    "login_failures",
    metadata,
    sa.Column("failure_key", sa.String(64), primary_key=True),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("first_s", sa.Double, nullable=False),
    sa.Column("last_s", sa.Double, nullable=False),
)

#: A session is written again only when it was seen this long ago.
_SEEN_EVERY_S = 60.0


class Role(StrEnum):
    """What a person may do.

    ``VIEWER``: look at studies. ``RADIOLOGIST``: also correct and sign. ``ADMINISTRATOR``: look at studies, destinations and
    metrics. One account may have several.
    """

    VIEWER = "viewer"
    RADIOLOGIST = "radiologist"
    ADMINISTRATOR = "administrator"


class Source(StrEnum):
    """Who checks the password of an account."""

    LOCAL = "local"
    LDAP = "ldap"
    OIDC = "oidc"


@dataclass(frozen=True, slots=True)
class User:
    """An account; times in seconds since the epoch.

    Attributes:
        name: for the login, in lower case.
        subject: how the directory or the provider names it; empty for local accounts.
        password_hash: argon2; empty if the account has no password here.
    """

    name: str
    full_name: str
    source: Source
    subject: str
    password_hash: str
    roles: frozenset[Role]
    is_disabled: bool
    created_s: float
    last_login_s: float | None


@dataclass(frozen=True, slots=True)
class Session:
    """A session and its account; ``ended_because`` is empty while it can be used."""

    user: User
    csrf_token: str
    ended_because: str


def user_name(text: str) -> str:
    """A name as accounts are known by: without spaces around it, in lower case."""
    return text.strip().lower()


class UserRecords(Store):
    """The table of accounts; every call is one transaction."""

    def add(
        self,
        name: str,
        full_name: str,
        roles: Iterable[Role],
        *,
        source: Source = Source.LOCAL,
        subject: str = "",
        password_hash: str = "",
    ) -> bool:
        """Add an account. Returns ``False`` if the name is taken."""
        with self._engine.begin() as connection:
            return insert_or_keep(
                connection,
                _users,
                name=user_name(name),
                full_name=full_name,
                source=source,
                subject=subject,
                password_hash=password_hash,
                roles=_roles_text(roles),
                is_disabled=False,
                created_s=time.time(),
                last_login_s=None,
            )

    def user(self, name: str) -> User | None:
        """Return an account, or ``None``."""
        with self._reading.connect() as connection:
            row = connection.execute(sa.select(_users).where(_users.c.name == user_name(name))).one_or_none()
        return None if row is None else _user(row)

    def users(self) -> tuple[User, ...]:
        """Return all accounts by name."""
        with self._reading.connect() as connection:
            return tuple(_user(row) for row in connection.execute(sa.select(_users).order_by(_users.c.name)))

    def is_empty(self) -> bool:
        """Whether there is no account yet."""
        with self._reading.connect() as connection:
            return connection.execute(sa.select(_users.c.name).limit(1)).one_or_none() is None

    def set_password(self, name: str, password_hash: str) -> None:
        """Set the password and end the sessions of the account."""
        self._change(name, "password changed", password_hash=password_hash)

    def rehashed(self, name: str, password_hash: str) -> None:
        """Keep the same password under a newer hash; sessions stay."""
        self._change(name, "", password_hash=password_hash)

    def set_disabled(self, name: str, *, is_disabled: bool) -> None:
        """Disable an account and end its sessions, or enable it."""
        self._change(name, "disabled" if is_disabled else "", is_disabled=is_disabled)

    def set_roles(self, name: str, roles: Iterable[Role], full_name: str | None = None) -> None:
        """Set the roles, which open sessions follow at once."""
        names = {} if full_name is None else {"full_name": full_name}
        self._change(name, "", roles=_roles_text(roles), **names)

    def remove(self, name: str) -> None:
        """Remove an account and its sessions; the audit trail keeps its name."""
        with self._engine.begin() as connection:
            connection.execute(sa.delete(_sessions).where(_sessions.c.user_name == user_name(name)))
            connection.execute(sa.delete(_users).where(_users.c.name == user_name(name)))

    def logged_in(self, name: str) -> None:
        """Record the time of a login."""
        self._change(name, "", last_login_s=time.time())

    def _change(self, name: str, ends_sessions: str, **values: object) -> None:
        name = user_name(name)
        with self._engine.begin() as connection:
            connection.execute(sa.update(_users).where(_users.c.name == name).values(**values))
            if ends_sessions:
                _end(connection, _sessions.c.user_name == name, ends_sessions)


class SessionRecords(Store):
    """The table of sessions; a session is found by its token, of which only the hash is kept."""

    def begin(self, token: str, name: str, csrf_token: str, lasts_s: float) -> None:
        """Record a session, and forget those that ended more than a week ago."""
        now_s = time.time()
        with self._engine.begin() as connection:
            connection.execute(sa.delete(_sessions).where(_sessions.c.expires_s < now_s - 7 * 86_400))
            connection.execute(
                sa.insert(_sessions).values(
                    session_key=_hash(token),
                    user_name=user_name(name),
                    csrf_token=csrf_token,
                    created_s=now_s,
                    seen_s=now_s,
                    expires_s=now_s + lasts_s,
                    ended_because="",
                )
            )

    def session(self, token: str, idle_s: float) -> Session | None:
        """Return the session of a token; ``None`` if there is none.

        Args:
            idle_s: a session that was not used for longer has ended.
        """
        query = sa.select(_sessions, _users).join(_users, _users.c.name == _sessions.c.user_name)
        with self._reading.connect() as connection:
            row = connection.execute(query.where(_sessions.c.session_key == _hash(token))).one_or_none()
        if row is None:
            return None
        now_s, user = time.time(), _user(row)
        because = row.ended_because
        if not because and user.is_disabled:
            because = "disabled"
        if not because and (now_s > row.expires_s or now_s > row.seen_s + idle_s):
            because = "expired"
        return Session(user, row.csrf_token, because)

    def seen(self, token: str) -> None:
        """Record that a person uses the session now, at most once a minute."""
        is_meant = (_sessions.c.session_key == _hash(token)) & (_sessions.c.seen_s < time.time() - _SEEN_EVERY_S)
        with self._reading.connect() as connection:
            if connection.execute(sa.select(_sessions.c.seen_s).where(is_meant)).one_or_none() is None:
                return
        with self._engine.begin() as connection:
            connection.execute(sa.update(_sessions).where(is_meant).values(seen_s=time.time()))

    def end(self, token: str, because: str) -> None:
        """End a session for good."""
        with self._engine.begin() as connection:
            _end(connection, _sessions.c.session_key == _hash(token), because)


class LoginFailures(Store):
    """Failed logins by name and by address. An attempt is counted before the password is checked, so that many at the same
    time do not get around the limit."""

    def begin_attempt(self, key: str, most: int, window_s: float) -> bool:
        """Count an attempt. Returns ``False`` if there were too many within the window, which then begins anew.

        Args:
            most: attempts within the window; 0: no limit.
        """
        if most == 0:
            return True
        now_s, failure_key = time.time(), _hash(key)
        is_meant = _failures.c.failure_key == failure_key
        with self._engine.begin() as connection:
            connection.execute(sa.delete(_failures).where(_failures.c.last_s < now_s - window_s))
            insert_or_keep(connection, _failures, failure_key=failure_key, attempts=0, first_s=now_s, last_s=now_s)
            # the lock of the row is held from here on, so others wait
            connection.execute(sa.update(_failures).where(is_meant).values(attempts=_failures.c.attempts + 1))
            attempts = connection.execute(sa.select(_failures.c.attempts).where(is_meant)).scalar_one()
            if attempts <= most:
                connection.execute(sa.update(_failures).where(is_meant).values(last_s=now_s))
        return bool(attempts <= most)

    def succeeded(self, key: str) -> None:
        """The attempt was no failure: what was counted before it is forgotten."""
        self._forget(key)

    def uncount(self, key: str) -> None:
        """The attempt was no failure, and the others stay."""
        is_meant = (_failures.c.failure_key == _hash(key)) & (_failures.c.attempts > 0)
        with self._engine.begin() as connection:
            connection.execute(sa.update(_failures).where(is_meant).values(attempts=_failures.c.attempts - 1))

    def unlock(self, name: str) -> None:
        """Forget the failures of a name."""
        self._forget(key_of_name(name))

    def _forget(self, key: str) -> None:
        with self._engine.begin() as connection:
            connection.execute(sa.delete(_failures).where(_failures.c.failure_key == _hash(key)))


def key_of_name(name: str) -> str:
    """Under which the failures of a name are counted."""
    return f"name {user_name(name)}"


def _end(connection: sa.Connection, is_meant: sa.ColumnElement[bool], because: str) -> None:
    is_open = _sessions.c.ended_because == ""
    connection.execute(sa.update(_sessions).where(is_meant, is_open).values(ended_because=because))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _roles_text(roles: Iterable[Role]) -> str:
    return ",".join(sorted(set(roles)))


def _user(row: sa.Row[tuple[object, ...]]) -> User:
    return User(
        row.name,
        row.full_name,
        Source(row.source),
        row.subject,
        row.password_hash,
        frozenset(Role(role) for role in row.roles.split(",") if role),
        row.is_disabled,
        row.created_s,
        row.last_login_s,
    )
