"""People for the tests of the pages: accounts, and browsers that keep cookies and send forms."""

from __future__ import annotations

import http.client
import re
import ssl
from dataclasses import dataclass, field
from html import unescape
from urllib.parse import urlencode

from node.people import hash_password
from node.records.users import Role, UserRecords
from node.settings.tree import Settings

PASSWORD = "nine green bottles"  # noqa: S105 - of tests
#: Computing it takes a tenth of a second; every account of the tests has the same.
_HASH = hash_password(PASSWORD)
EVERY_ROLE = frozenset(Role)


def add_account(settings: Settings, name: str, *roles: Role) -> None:
    """A local account; with all roles if none is named."""
    assert UserRecords.open(settings).add(name, name.title(), roles or EVERY_ROLE, password_hash=_HASH)


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")

    @property
    def csrf(self) -> str:
        """The token of the first form of the page."""
        found = re.search(r'name="csrf" value="([^"]+)"', self.text)
        return unescape(found[1]) if found else ""


@dataclass
class Browser:
    """Sends requests to a port of this machine, and keeps the cookies that come back."""

    port: int
    cookies: dict[str, str] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, path: str, method: str = "GET", form: dict[str, str] | None = None, host: str | None = None) -> Answer:
        headers = {"Accept": "text/html", **self.headers}
        if host is not None:
            headers["Host"] = host
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        body = None
        if form is not None:
            body, method = urlencode(form), "POST" if method == "GET" else method
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection = (
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            if self.tls is None
            else http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=self.tls)
        )
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            for line in answer.headers.get_all("Set-Cookie") or ():
                name, _, value = line.partition(";")[0].partition("=")
                self.cookies[name] = value
                if value == "null":
                    del self.cookies[name]
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def log_in(self, name: str, password: str = PASSWORD, page: str = "") -> Answer:
        """Fill in the form of the login page."""
        form = {"name": name, "password": password, "next": page, "csrf": self.ask("/login").csrf}
        return self.ask("/login", form=form)


def logged_in(settings: Settings, name: str = "somebody", *roles: Role) -> Browser:
    """A browser of a new account, which has all roles if none is named."""
    add_account(settings, name, *roles)
    browser = Browser(settings.web.port)
    answer = browser.log_in(name)
    assert (answer.status, answer.headers["location"]) == (303, "/"), answer.text
    return browser
