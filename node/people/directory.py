"""The directory (LDAP): looks up a name, then binds with the password that was typed (RFC 4513 5.1.3)."""

from __future__ import annotations

import ssl
from collections.abc import Collection, Iterable
from pathlib import Path

import ldap3
from ldap3.core.exceptions import LDAPException, LDAPInvalidCredentialsResult
from ldap3.utils.conv import escape_filter_chars

from node.common.errors import ConfigurationError, TransportError
from node.people.accounts import Person
from node.records.users import Role
from node.settings.files import secret_of, trusting
from node.settings.login import LoginLdapSettings, LoginOidcSettings

_WAIT_S = 10


def roles_of(groups: Iterable[str], settings: LoginLdapSettings | LoginOidcSettings) -> frozenset[Role]:
    """The roles of the groups that a person is in; names of groups are compared without case (RFC 4517 4.2.15)."""
    mine = {group.casefold() for group in groups}

    def has(wanted: Collection[str]) -> bool:
        return any(group.casefold() in mine for group in wanted)

    found = {
        Role.VIEWER: has(settings.viewer_groups),
        Role.RADIOLOGIST: has(settings.radiologist_groups),
        Role.ADMINISTRATOR: has(settings.administrator_groups),
    }
    return frozenset(role for role, is_so in found.items() if is_so)


class Directory:
    """The directory of the settings."""

    def __init__(self, settings: LoginLdapSettings) -> None:
        """Read the password of the node's own account.

        Raises:
            ConfigurationError: its file, or that of the authorities, cannot be used.
        """
        self._settings = settings
        self._password = (
            secret_of(Path(settings.bind_password_file), "login_ldap.bind_password_file")
            if settings.bind_password_file
            else None
        )
        if settings.bind_dn and self._password is None:
            raise ConfigurationError("login_ldap.bind_dn needs login_ldap.bind_password_file")
        trusting(settings.ca_file, "login_ldap.ca_file")
        tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, version=ssl.PROTOCOL_TLS_CLIENT, ca_certs_file=settings.ca_file or None)
        self._server = ldap3.Server(settings.url, tls=tls, connect_timeout=_WAIT_S, get_info=ldap3.NONE)

    def person(self, name: str, password: str) -> Person | None:
        """Check a name and a password. Returns ``None`` if they are wrong, or the name is not unique.

        Raises:
            TransportError: the directory does not answer, or refuses the node.
        """
        if not password:
            return None  # a bind with a name and no password succeeds for everybody (RFC 4513 5.1.2)
        try:
            return self._person(name, password)
        except LDAPException as error:
            raise TransportError(f"the directory does not answer, or refuses the node ({type(error).__name__})") from error

    def _person(self, name: str, password: str) -> Person | None:
        one = self._settings
        names = {"name": escape_filter_chars(name)}
        with self._connection(one.bind_dn or None, self._password) as lookup:
            wanted = [one.full_name_attribute] + ([] if one.group_base_dn else [one.group_attribute])
            found = _entries(lookup, one.base_dn, _filled(one.user_filter, names), wanted)
            if len(found) != 1:
                return None
            [(dn, attributes)] = found
            if not self._binds(dn, password):
                return None
            if one.group_base_dn:
                inside = _filled(one.group_filter, names | {"dn": escape_filter_chars(dn)})
                groups = [group for group, _ in _entries(lookup, one.group_base_dn, inside, [])]
            else:
                groups = attributes.get(one.group_attribute, [])
        full_name = next(iter(attributes.get(one.full_name_attribute, [])), name)
        return Person(name, full_name, dn, roles_of(groups, one))

    def _binds(self, dn: str, password: str) -> bool:
        try:
            with self._connection(dn, password):
                return True
        except LDAPInvalidCredentialsResult:
            return False

    def _connection(self, dn: str | None, password: str | None) -> ldap3.Connection:
        mode = ldap3.AUTO_BIND_NO_TLS if self._server.ssl else ldap3.AUTO_BIND_TLS_BEFORE_BIND
        return ldap3.Connection(
            self._server,
            user=dn,
            password=password,
            authentication=ldap3.SIMPLE if dn else ldap3.ANONYMOUS,
            auto_bind=mode,
            raise_exceptions=True,
            read_only=True,
            auto_referrals=False,
            receive_timeout=_WAIT_S,
        )


def _filled(template: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        template = template.replace(f"{{{name}}}", value)
    return template


def _entries(
    connection: ldap3.Connection, base_dn: str, search_filter: str, attributes: list[str]
) -> list[tuple[str, dict[str, list[str]]]]:
    connection.search(base_dn, search_filter, attributes=attributes or None, size_limit=0)
    return [
        (entry["dn"], {key: _texts(value) for key, value in entry["attributes"].items()})
        for entry in connection.response
        if entry["type"] == "searchResEntry"
    ]


def _texts(value: object) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for text in values]
