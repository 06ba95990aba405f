"""Puts together what the login needs, from the settings and the database."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from node.people import Directory, Logins
from node.records.audit import AuditRecords
from node.records.node_secret import node_secret
from node.records.users import LoginFailures, SessionRecords, UserRecords
from node.settings.files import secret_of
from node.settings.login import LoginSettings
from node.settings.tree import Settings, WebSettings
from node.study.find import StudyFinder
from node.web.access import Gate, MetricsAccess, Trail
from node.web.login import LoginPages, Render
from node.web.oidc import Provider


@dataclass(frozen=True, slots=True)
class People:
    """Who may open the pages.

    Attributes:
        cookie_secret: signs the cookies.
        uses_https: whether browsers may send cookies over TLS alone.
    """

    gate: Gate
    trail: Trail
    finder: StudyFinder
    users: UserRecords
    logins: Logins
    settings: LoginSettings
    provider: Provider | None
    has_directory: bool
    cookie_secret: str
    cookie_name: str
    uses_https: bool

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the records, and read the secrets.

        Raises:
            ConfigurationError: the database cannot be opened, or a secret cannot be read.
        """
        web = settings.web
        users, trail = UserRecords.open(settings), Trail(AuditRecords.open(settings))
        directory = Directory(settings.login_ldap) if settings.login_ldap.url else None
        logins = Logins(users, LoginFailures.open(settings), settings.login, directory.person if directory else None)
        provider = Provider(settings.login_oidc, web.public_url) if settings.login_oidc.issuer else None
        uses_https = bool(web.tls_certificate_file) or web.public_url.startswith("https:")
        # __Host-: no other host of the domain can set it (RFC 6265bis 4.1.3.2)
        cookie_name = "__Host-bmd-node" if uses_https else "bmd-node"
        gate = Gate(SessionRecords.open(settings), trail, settings.login, cookie_name, _metrics_access(web))
        secret = node_secret(settings, "web-session", "everybody must log in again").hex()
        return cls(
            gate,
            trail,
            StudyFinder.open(settings),
            users,
            logins,
            settings.login,
            provider,
            directory is not None,
            secret,
            cookie_name,
            uses_https,
        )

    @property
    def cookie_lasts_s(self) -> int:
        """Longest time that a cookie is accepted."""
        return int(self.settings.session_hours * 3600)

    def pages(self, render: Render) -> LoginPages:
        """The pages for logging in and out."""
        return LoginPages(
            render,
            self.gate,
            self.trail,
            self.users,
            self.logins,
            self.settings,
            self.provider,
            has_directory=self.has_directory,
        )


def _metrics_access(web: WebSettings) -> MetricsAccess:
    token = secret_of(Path(web.metrics_token_file), "web.metrics_token_file", "token") if web.metrics_token_file else ""
    is_behind_proxy = bool(web.trusted_proxies) or (bool(web.public_url) and not web.tls_certificate_file)
    return MetricsAccess(token, is_behind_proxy=is_behind_proxy)
