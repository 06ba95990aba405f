"""The login through a provider of OpenID Connect, against oidc-provider-mock."""

from __future__ import annotations

import urllib.parse
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from node.records.audit import Action, AuditRecords
from node.records.users import Role, Source, UserRecords
from node.settings.login import LoginOidcSettings
from node.settings.tree import Settings, WebSettings
from tests.deliver.delivery_servers import free_port
from tests.web.people import Answer, Browser, add_account
from tests.web.test_access import serving

PEOPLE = {
    "17": {"preferred_username": "Mueller", "name": "Dr. Eva Müller", "groups": ["radiology", "staff"]},
    "18": {"preferred_username": "visitor", "name": "Visitor", "groups": ["staff"]},
    "19": {"preferred_username": "local", "name": "Somebody else", "groups": ["radiology"]},
    "20": {"name": "Without a name for the login", "groups": ["radiology"]},
}


@dataclass(frozen=True)
class Site:
    settings: Settings

    def browser(self) -> Browser:
        return Browser(self.settings.web.port)

    def to_provider(self, browser: Browser, page: str = "") -> str:
        """Address of the provider to which the browser is sent."""
        answer = browser.ask("/login/oidc?" + urllib.parse.urlencode({"next": page}))
        assert answer.status == 302
        return answer.headers["location"]

    def log_in(self, browser: Browser, subject: str, page: str = "") -> Answer:
        return browser.ask(path_of(confirmed(self.to_provider(browser, page), subject)))

    def last_login(self) -> tuple[bool, str, str]:
        rows = [row for row in AuditRecords.open(self.settings).rows() if row.entry.action is Action.LOGIN]
        entry = rows[-1].entry
        return entry.is_success, entry.user_name, entry.detail


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the provider's own libraries
        oidc_provider_mock = pytest.importorskip("oidc_provider_mock", reason="needs the package oidc-provider-mock")
    folder = tmp_path_factory.mktemp("oidc")
    (folder / "secret").write_text("client secret\n")
    users = [oidc_provider_mock.User(sub=sub, claims=dict(claims)) for sub, claims in PEOPLE.items()]
    with oidc_provider_mock.run_server_in_thread(user_claims=users) as provider:
        port = free_port()
        oidc = LoginOidcSettings(
            issuer=f"http://localhost:{provider.server_port}",
            client_id="bmd-node",
            client_secret_file=str(folder / "secret"),
            radiologist_groups=("radiology",),
        )
        web = WebSettings(port=port, public_url=f"http://127.0.0.1:{port}")
        settings = Settings(state_dir=folder / "state", web=web, login_oidc=oidc)
        add_account(settings, "local", Role.ADMINISTRATOR)
        with serving(settings):
            yield Site(settings)


def confirmed(address: str, subject: str) -> str:
    """A person confirms at the provider, or declines; returns where the provider sends the browser."""
    form = {"sub": subject} if subject else {"action": "deny"}
    return requests.post(address, form, allow_redirects=False, timeout=30).headers["location"]


def path_of(address: str) -> str:
    parts = urllib.parse.urlsplit(address)
    return f"{parts.path}?{parts.query}"


def test_a_person_logs_in_and_has_the_roles_of_the_groups(site: Site) -> None:
    browser = site.browser()
    assert "Hospital account" in browser.ask("/login").text
    address = site.to_provider(browser, "/account")
    asked = urllib.parse.parse_qs(urllib.parse.urlsplit(address).query)
    assert asked["code_challenge_method"] == ["S256"]
    assert {"state", "nonce"} <= set(asked)
    answer = browser.ask(path_of(confirmed(address, "17")))
    assert (answer.status, answer.headers["location"]) == (303, "/account")
    assert site.last_login() == (True, "mueller", "oidc")
    page = browser.ask("/account").text
    assert "Dr. Eva Müller" in page
    assert "radiologist" in page
    assert 'name="old"' not in page, "the provider keeps the password"
    user = UserRecords.open(site.settings).user("mueller")
    assert user is not None
    assert (user.source, user.roles) == (Source.OIDC, {Role.RADIOLOGIST})
    assert browser.ask("/destinations").status == 403


def test_who_is_in_no_group_stays_out(site: Site) -> None:
    browser = site.browser()
    answer = site.log_in(browser, "18")
    assert (answer.status, "no group" in answer.text) == (403, True)
    assert site.last_login() == (False, "visitor", "the account is in no group that has a role")
    assert browser.ask("/").status == 303


def test_a_name_of_another_account_is_not_taken_over(site: Site) -> None:
    browser = site.browser()
    assert site.log_in(browser, "19").status == 403
    assert site.last_login() == (False, "local", "the name belongs to an account of another source")
    assert browser.ask("/").status == 303


def test_who_is_disabled_here_stays_out(site: Site) -> None:
    browser, users = site.browser(), UserRecords.open(site.settings)
    assert site.log_in(browser, "17").status == 303
    users.set_disabled("mueller", is_disabled=True)
    assert browser.ask("/").status == 303
    assert site.log_in(site.browser(), "17").status == 403
    users.set_disabled("mueller", is_disabled=False)


def test_an_answer_that_is_not_for_this_browser_is_refused(site: Site) -> None:
    """Of somebody else, twice, altered, or made up."""
    attacker, victim = site.browser(), site.browser()
    site.to_provider(victim)
    answer = path_of(confirmed(site.to_provider(attacker), "17"))
    assert victim.ask(answer).status == 403, "the victim is not logged in as the attacker"
    assert attacker.ask(answer.replace("state=", "state=x")).status == 403
    assert site.last_login() == (False, "", "the provider's answer is not valid")
    assert victim.ask("/login/oidc/callback").status == 403
    assert victim.ask("/login/oidc/callback?code=x&state=y").status == 403
    browser = site.browser()
    answer = path_of(confirmed(site.to_provider(browser), "17"))
    assert browser.ask(answer).status == 303
    assert site.browser().ask(answer).status == 403, "a code is good once, and in one browser"
    for one in (attacker, victim):
        assert one.ask("/").status == 303


def test_who_declines_or_has_no_name_is_told(site: Site) -> None:
    for subject in ("", "20"):
        answer = site.log_in(site.browser(), subject)
        assert (answer.status, "did not confirm" in answer.text) == (403, True)


def test_a_provider_that_does_not_answer_is_a_page_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    oidc = LoginOidcSettings(
        issuer=f"http://127.0.0.1:{free_port()}",
        client_id="bmd-node",
        client_secret_file=str(tmp_path / "secret"),
        viewer_groups=("staff",),
    )
    port = free_port()
    web = WebSettings(port=port, public_url=f"http://127.0.0.1:{port}")
    with serving(Settings(state_dir=tmp_path / "state", web=web, login_oidc=oidc)):
        answer = Browser(port).ask("/login/oidc")
        assert answer.status == 503
        assert "does not answer" in answer.text
