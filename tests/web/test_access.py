"""Who may open what: every route, and every role."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.routing import Route

from node.records.alert_links import ACKNOWLEDGE_PATH
from node.records.audit import Action, AuditRecords, AuditRow
from node.records.engine import connect
from node.records.runs import RunRecords, RunState
from node.records.users import Role, UserRecords
from node.settings.login import LoginSettings
from node.settings.tree import Settings, WebSettings
from node.web import serve_web
from node.web.app import build_app
from node.web.people import People
from tests.certificates import certificates
from tests.deliver.delivery_servers import eventually, free_port, is_open
from tests.web.people import PASSWORD, Answer, Browser, add_account

__all__ = ["certificates"]

STUDY = "1.2.826.0.1.3680043.8.498.1"
NOBODY, VIEWER, RADIOLOGIST, ADMINISTRATOR = "nobody", "viewer", "radiologist", "administrator"
PEOPLE = (NOBODY, VIEWER, RADIOLOGIST, ADMINISTRATOR)
LOGIN = "to the login"
#: Status for a stranger, a viewer, a radiologist and an administrator. Forms are sent with the token of their session;
#: those that pass are not complete, which is said by 422, or 404 for a link that the node has not signed.
TABLE: dict[tuple[str, str], tuple[int | str, int, int, int]] = {
    ("GET", "/"): (LOGIN, 200, 200, 200),
    ("GET", "/run"): (LOGIN, 200, 200, 200),
    ("GET", "/run/result.json"): (LOGIN, 200, 200, 200),
    ("GET", "/run/summary.png"): (LOGIN, 200, 200, 200),
    ("GET", "/search"): (LOGIN, 200, 200, 200),
    ("POST", "/search"): (401, 422, 422, 422),
    ("GET", "/destinations"): (LOGIN, 403, 403, 200),
    ("GET", "/account"): (LOGIN, 200, 200, 200),
    ("POST", "/account"): (401, 422, 422, 422),
    ("POST", "/logout"): (401, 303, 303, 303),
    ("GET", "/login"): (200, 303, 303, 303),
    ("POST", "/login"): (403, 403, 403, 403),
    ("GET", "/login/oidc"): (303, 303, 303, 303),
    ("GET", "/login/oidc/callback"): (303, 303, 303, 303),
    ("GET", ACKNOWLEDGE_PATH): (404, 404, 404, 404),
    ("POST", ACKNOWLEDGE_PATH): (404, 404, 404, 404),
    ("GET", "/health"): (200, 200, 200, 200),
    ("GET", "/metrics"): (403, 403, 403, 200),
    ("GET", "/style.css"): (200, 200, 200, 200),
    ("GET", "/copy.js"): (200, 200, 200, 200),
}


@dataclass(frozen=True)
class Node:
    """A node of which only the pages are there, with one study. It stands behind a proxy, so `/metrics` needs a token."""

    settings: Settings

    def browser(self, who: str) -> Browser:
        browser = Browser(self.settings.web.port)
        if who != NOBODY:
            assert browser.log_in(who).status == 303
        return browser

    def trail(self, action: Action | None = None) -> list[AuditRow]:
        rows = AuditRecords.open(self.settings).rows()
        return [row for row in rows if action in (None, row.entry.action)]

    def last(self, action: Action) -> tuple[bool, str, str]:
        entry = self.trail(action)[-1].entry
        return entry.is_success, entry.user_name, entry.detail


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("access")
    (folder / "token").write_text("a token of the site\n")
    web = WebSettings(port=free_port(), trusted_proxies=("127.0.0.1/32",), metrics_token_file=str(folder / "token"))
    login = LoginSettings(max_failures=3, max_failures_per_address=0)
    settings = Settings(state_dir=folder / "state", web=web, login=login)
    records = RunRecords.open(settings)
    records.queued("run", STUDY, folder)
    records.finished("run", RunState.MEASURED, "")
    (folder / "result.json").write_text("{}")
    (folder / "summary.png").write_bytes(b"\x89PNG")
    for role in Role:
        add_account(settings, role.value, role)
    with serving(settings):
        yield Node(settings)


class serving:  # noqa: N801 - a context manager
    """Serves the pages in a thread."""

    def __init__(self, settings: Settings) -> None:
        self._port, self._stop = settings.web.port, threading.Event()
        self._thread = threading.Thread(target=serve_web, args=(settings, self._stop))

    def __enter__(self) -> None:
        self._thread.start()
        eventually(lambda: is_open(self._port), "the pages", 60.0)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)


def test_the_table_has_every_route(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    app = build_app(RunRecords.open(settings), settings.web, People.open(settings))
    routes = {
        (method, route.path)
        for route in app.routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert len(routes) == len({route.path for route in app.routes if isinstance(route, Route)}) + 4
    assert routes == set(TABLE)


@pytest.mark.parametrize("who", PEOPLE)
def test_every_route_lets_in_whom_the_table_names(node: Node, who: str) -> None:
    browser = node.browser(who)
    for (method, path), row in TABLE.items():
        query = "?id=run" if path.startswith("/run") else ""
        token = browser.ask("/login" if who == NOBODY else "/account").csrf
        form = {"csrf": "not the token" if path == "/login" else token} if method == "POST" else None
        answer = browser.ask(path + query, method, form)
        expected = row[PEOPLE.index(who)]
        if expected == LOGIN:
            assert (answer.status, answer.headers["location"].split("?")[0]) == (303, "/login"), path
        else:
            assert answer.status == expected, (method, path)
        if expected != 200:
            assert STUDY not in answer.text
        if path == "/logout" and who != NOBODY:
            browser = node.browser(who)
    if who in (VIEWER, RADIOLOGIST):
        refused = {(row.entry.user_name, row.entry.subject, row.entry.detail) for row in node.trail(Action.ACCESS)}
        assert (who, "/destinations", "the role is missing") in refused


def test_a_stranger_learns_nothing_about_a_study_and_comes_back_after_the_login(node: Node) -> None:
    stranger = Browser(node.settings.web.port)
    answer = stranger.ask("/run?id=run")
    assert (answer.status, answer.headers["location"]) == (303, "/login?next=%2Frun%3Fid%3Drun")
    assert stranger.ask("/run?id=another").headers["location"].startswith("/login"), "nor whether there is one"
    stranger.headers["Accept"] = "application/json"
    assert stranger.ask("/run/result.json?id=run").status == 401
    answer = stranger.log_in(VIEWER, page="/run?id=run")
    assert (answer.status, answer.headers["location"]) == (303, "/run?id=run")


@pytest.mark.parametrize("page", ["//evil.example", "https://evil.example/", "/\\evil.example", "evil", "javascript:x", ""])
def test_the_login_leads_to_no_other_site(node: Node, page: str) -> None:
    assert Browser(node.settings.web.port).log_in(VIEWER, page=page).headers["location"] == "/"


def test_the_cookie_is_for_the_server_alone(node: Node) -> None:
    browser = Browser(node.settings.web.port)
    form = {"name": VIEWER, "password": PASSWORD, "csrf": browser.ask("/login").csrf}
    before = dict(browser.cookies)
    cookie = browser.ask("/login", form=form).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert browser.cookies != before, "a cookie that somebody has planted gives him nothing"
    assert VIEWER not in cookie


def test_a_form_without_its_token_changes_nothing(node: Node) -> None:
    add_account(node.settings, "victim", Role.VIEWER)
    browser, other = node.browser("victim"), node.browser(VIEWER)
    change = {"old": PASSWORD, "new": "eight green bottles", "again": "eight green bottles"}
    for token in ({}, {"csrf": ""}, {"csrf": "x"}, {"csrf": other.ask("/account").csrf}):
        assert browser.ask("/account", form=change | token).status == 403
        assert browser.ask("/logout", form=dict(token)).status == 403
    assert browser.ask("/").status == 200, "still logged in"
    assert node.last(Action.FORM) == (False, "victim", "the token of the form is wrong")
    stranger = Browser(node.settings.web.port)
    assert stranger.ask("/login", form={"name": VIEWER, "password": PASSWORD}).status == 403, "nobody is logged in by others"


def test_a_session_that_was_stolen_is_worth_nothing_after_the_logout(node: Node) -> None:
    browser = node.browser(RADIOLOGIST)
    thief = Browser(node.settings.web.port, dict(browser.cookies))
    assert thief.ask("/").status == 200
    assert browser.ask("/logout", form={"csrf": browser.ask("/account").csrf}).status == 303
    assert node.last(Action.LOGOUT) == (True, RADIOLOGIST, "")
    assert thief.ask("/").status == 303
    assert node.last(Action.SESSION) == (False, RADIOLOGIST, "the session has ended: logged out")


def test_an_altered_cookie_is_refused(node: Node) -> None:
    browser = node.browser(VIEWER)
    [(name, value)] = browser.cookies.items()
    data, _, signature = value.partition(".")
    for altered in (f"A{data[1:]}.{signature}", f"{data}.{signature[:-2]}xx", data, "null", "e30="):
        assert Browser(node.settings.web.port, {name: altered}).ask("/").status == 303
    assert node.last(Action.SESSION) == (False, "", "the cookie is altered or too old")
    assert browser.ask("/").status == 200


def test_who_is_disabled_is_out_at_once(node: Node) -> None:
    add_account(node.settings, "leaver", Role.VIEWER)
    browser = node.browser("leaver")
    users = UserRecords.open(node.settings)
    users.set_disabled("leaver", is_disabled=True)
    assert browser.ask("/").status == 303
    assert node.last(Action.SESSION) == (False, "leaver", "the session has ended: disabled")
    assert Browser(node.settings.web.port).log_in("leaver").status == 403
    assert node.last(Action.LOGIN) == (False, "leaver", "the account is disabled")
    users.set_disabled("leaver", is_disabled=False)
    assert browser.ask("/").status == 303, "the old session does not come back"


def test_brute_force_is_locked_out_and_ends_by_itself(node: Node) -> None:
    add_account(node.settings, "target", Role.VIEWER)
    browser = Browser(node.settings.web.port)
    assert [browser.log_in("target", f"guess {n}").status for n in range(4)] == [403, 403, 403, 429]
    assert browser.log_in("Target ").status == 429, "also with the right password"
    assert node.last(Action.LOGIN) == (False, "target", "too many failed logins")
    assert [browser.log_in("nobody at all", "guess").status for _ in range(4)] == [403, 403, 403, 429], "as for a known name"
    assert node.last(Action.LOGIN) == (False, "", "too many failed logins"), "what was typed may be a password"
    with connect(node.settings).begin() as connection:  # a quarter of an hour later
        connection.exec_driver_sql("UPDATE login_failures SET last_s = last_s - 901")
    assert browser.log_in("target").status == 303


def test_many_guesses_at_the_same_time_are_counted(node: Node) -> None:
    add_account(node.settings, "crowded", Role.VIEWER)
    browser = Browser(node.settings.web.port)
    token = browser.ask("/login").csrf
    found: list[int] = []

    def guess() -> None:
        one = Browser(node.settings.web.port, dict(browser.cookies))
        found.append(one.ask("/login", form={"name": "crowded", "password": "x" * 12, "csrf": token}).status)

    threads = [threading.Thread(target=guess) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found.count(403), found.count(429)) == (3, 5)


def test_another_password_ends_the_other_sessions(node: Node) -> None:
    add_account(node.settings, "careful", Role.VIEWER)
    browser, other = node.browser("careful"), node.browser("careful")
    new = "eight green bottles"
    token = browser.ask("/account").csrf

    def change(old: str, password: str, again: str) -> Answer:
        return browser.ask("/account", form={"old": old, "new": password, "again": again, "csrf": token})

    assert "at least 12 characters" in change(PASSWORD, "short", "short").text
    assert "must not contain the name" in change(PASSWORD, "careful-careful", "careful-careful").text
    assert "differ" in change(PASSWORD, new, new + "s").text
    assert change("wrong", new, new).status == 403
    assert change(PASSWORD, new, new).status == 303
    assert (browser.ask("/").status, other.ask("/").status) == (200, 303)
    assert Browser(node.settings.web.port).log_in("careful").status == 403
    assert Browser(node.settings.web.port).log_in("careful", new).status == 303
    assert node.last(Action.ACCOUNT) == (True, "careful", "password changed")


def test_metrics_are_for_the_token_when_there_is_a_proxy(node: Node) -> None:
    def status(authorization: str) -> int:
        return Browser(node.settings.web.port, headers={"Authorization": authorization}).ask("/metrics").status

    assert status("Bearer a token of the site") == 200
    assert [status(one) for one in ("", "Bearer", "Bearer x", "Basic a token of the site")] == [403] * 4


def test_the_trail_says_who_looked_at_what_from_where(node: Node) -> None:
    before = len(node.trail())
    browser = node.browser(RADIOLOGIST)
    browser.headers["X-Forwarded-For"] = "10.1.2.3"
    for path in ("/", "/run?id=run", "/run?id=run&auto=1", "/run/summary.png?id=run", "/run/result.json?id=run"):
        assert browser.ask(path).status == 200
    entries = [row.entry for row in node.trail()[before:]]
    assert [(entry.action, entry.subject, entry.detail) for entry in entries] == [
        (Action.LOGIN, "", "local"),
        (Action.LIST, "", "studies"),
        (Action.VIEW, STUDY, ""),
        (Action.VIEW, STUDY, "summary page"),
        (Action.EXPORT, STUDY, "result.json"),
    ], "a page that refreshes itself is written once"
    assert {entry.user_name for entry in entries} == {RADIOLOGIST}
    assert [entry.address for entry in entries] == ["127.0.0.1", *["10.1.2.3"] * 4], "as the trusted proxy states"
    assert not AuditRecords.open(node.settings).verify().problem


def test_without_an_account_the_page_says_what_to_do_and_shows_no_study(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state", web=WebSettings(port=free_port()))
    records = RunRecords.open(settings)
    records.queued("run", STUDY, tmp_path)
    with serving(settings):
        browser = Browser(settings.web.port)
        assert browser.ask("/").status == 303
        page = browser.ask("/login")
        assert "bmd-node users add NAME --role administrator" in page.text
        assert "<form" not in page.text
        assert STUDY not in page.text
        assert browser.ask("/metrics").status == 200, "for this machine, as before"
        browser.headers["X-Forwarded-For"] = "10.1.2.3"
        assert browser.ask("/metrics").status == 403, "and for nobody behind a proxy"
        add_account(settings, "first", Role.ADMINISTRATOR)
        assert browser.log_in("first").status == 303, "without a restart"
        assert STUDY in browser.ask("/").text


def test_a_session_ends_when_nobody_uses_it_though_the_page_refreshes_itself(tmp_path: Path) -> None:
    login = LoginSettings(idle_minutes=1 / 60)
    settings = Settings(state_dir=tmp_path, web=WebSettings(port=free_port()), login=login)
    add_account(settings, "tired", Role.VIEWER)
    with serving(settings):
        browser = Browser(settings.web.port)
        assert browser.log_in("tired").status == 303
        eventually(lambda: browser.ask("/?auto=1").status == 303, "the end of the session")
        assert not [row for row in AuditRecords.open(settings).rows() if row.entry.action is Action.SESSION]


def test_the_pages_speak_tls_and_then_cookies_are_for_tls_alone(tmp_path: Path, certificates: Path) -> None:
    web = WebSettings(
        port=free_port(),
        tls_certificate_file=str(certificates / "node.pem"),
        tls_key_file=str(certificates / "node.key"),
        public_url="https://bmd.hospital.example",
    )
    settings = Settings(state_dir=tmp_path, web=web)
    add_account(settings, "doctor", Role.VIEWER)
    with serving(settings):
        browser = Browser(web.port, tls=ssl.create_default_context(cafile=certificates / "authority.pem"))
        assert browser.log_in("doctor").status == 303
        assert list(browser.cookies) == ["__Host-bmd-node"]
        answer = browser.ask("/", host="bmd.hospital.example")
        assert answer.status == 200
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert "; secure" in Browser(web.port, tls=browser.tls).ask("/login").headers["set-cookie"]
        assert browser.ask("/", host="evil.example").status == 400
        assert browser.ask("/metrics").status == 200, "no proxy is in between"
        with pytest.raises((http.client.HTTPException, OSError)):
            Browser(web.port).ask("/health")
