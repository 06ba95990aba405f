"""Alerts on the status page: the history of a study, and acknowledging by the signed link."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlencode

import pytest

from node.records.alert_links import ACKNOWLEDGE_PATH, AlertLinks
from node.records.alerts import AlertRecords, DuePatient, KnownResult, MessageState, NewMessage
from node.records.runs import RunRecords, RunState
from node.settings.tree import ReportSettings, Settings, WebSettings
from node.web import serve_web
from tests.deliver.delivery_servers import eventually, free_port
from tests.web.people import Browser, logged_in

STUDY, ALERT = "1.2.3", "a" * 32
HOSTILE = '<script>alert("x")</script>'


@dataclass(frozen=True)
class Page:
    """A status page with one alert, two messages long."""

    settings: Settings
    alerts: AlertRecords
    links: AlertLinks

    def ask(self, path: str, form: dict[str, str] | None = None, browser: Browser | None = None) -> tuple[int, str]:
        """Of a surgeon, who has no account; or in the browser of somebody else."""
        answer = (browser or Browser(self.settings.web.port)).ask(path, form=form)
        return answer.status, answer.text

    @property
    def acknowledged(self) -> list[bool]:
        return [record.acknowledged_s is not None for record in self.alerts.of_alert(ALERT)]


def message(revision: int, kind: str, because: str) -> NewMessage:
    told = {"because": {"code": "-", "detail": because}} if because else {}
    return NewMessage(
        f"{ALERT}-{revision}",
        ALERT,
        revision,
        kind,
        "osteoporosis, fracture",
        because,
        False,
        "run",
        STUDY,
        "mail",
        "surgeon@hospital.example",
        json.dumps(told),
    )


@pytest.fixture
def page(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page in English, or in the language that a test names."""
    report = ReportSettings(language=getattr(request, "param", "en"))
    settings = Settings(state_dir=tmp_path / "state", web=WebSettings(port=free_port()), report=report)
    records, alerts = RunRecords.open(settings), AlertRecords.open(settings)
    records.queued("run", STUDY, tmp_path)
    records.finished("run", RunState.MEASURED, "")
    alerts.keep_result("key", [], KnownResult("run", STUDY, tmp_path, tmp_path, 0.0))
    new = [message(1, "new", ""), message(2, "correction", f"the operation has another date {HOSTILE}")]
    assert alerts.decided(DuePatient("key", 1), new, None)
    alerts.begin_attempt(f"{ALERT}-1")
    alerts.answered(f"{ALERT}-1", MessageState.TAKEN, f"250 OK {HOSTILE}")
    stop = threading.Event()
    server = threading.Thread(target=serve_web, args=(settings, stop))
    server.start()
    made = Page(settings, alerts, AlertLinks.open(settings))
    try:
        eventually(lambda: listens(made), "the page")
        yield made
    finally:
        stop.set()
        server.join(20)


def listens(page: Page) -> bool:
    try:
        return page.ask("/health")[0] == 200
    except OSError:
        return False


class _Form(HTMLParser):
    """The first form of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.action, self.values = "", dict[str, str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = found["action"]
        if tag == "input":
            self.values[found["name"]] = found["value"]


def test_the_study_shows_what_was_sent_when_and_what_was_answered(page: Page) -> None:
    status, text = page.ask("/run?id=run", browser=logged_in(page.settings))
    assert status == 200
    for expected in ("surgeon@hospital.example", "osteoporosis, fracture", "taken", "250 OK", "pending", "correction"):
        assert expected in text
    assert "the operation has another date &lt;script&gt;" in text
    assert "<script" not in text


def test_messages_are_counted_by_state(page: Page) -> None:
    text = page.ask("/metrics")[1]
    assert 'bmd_node_alert_messages{state="taken"} 1.0' in text
    assert 'bmd_node_alert_messages{state="pending"} 1.0' in text
    assert ALERT not in text


def test_following_the_link_does_nothing_and_the_button_acknowledges(page: Page) -> None:
    link = page.links.link(f"http://127.0.0.1:{page.settings.web.port}", ALERT)
    status, text = page.ask(link.removeprefix(f"http://127.0.0.1:{page.settings.web.port}"))
    assert status == 200
    assert page.acknowledged == [False, False], "mail programs follow links by themselves"
    form = _Form(text)
    assert "Patient" not in text
    status, text = page.ask(form.action, form.values)
    assert status == 200
    assert "is acknowledged" in text
    assert page.acknowledged == [False, True], "the last message"
    assert "(link)" in page.ask("/run?id=run", browser=logged_in(page.settings))[1]
    assert page.ask(form.action, form.values)[0] == 200, "twice is once"


@pytest.mark.parametrize("page", ["de"], indirect=True)
def test_what_a_surgeon_sees_is_in_the_language_of_the_site(page: Page) -> None:
    assert page.alerts.decided(DuePatient("key", 1), [message(3, "withdrawal", "the operation has another date")], None)
    status, text = page.ask(f"{ACKNOWLEDGE_PATH}?{urlencode(signed(page))}")
    assert (status, '<html lang="de">' in text) == (200, True)
    assert "Acknowledge" not in text
    for expected in ("Ich habe diesen Hinweis gelesen", "Osteoporose", "Wirbelkörperfraktur", "Rücknahme", "gesendet"):
        assert expected in text
    assert "die Operation hat ein anderes Datum" in text
    form = _Form(text)
    assert "Dieser Hinweis ist bestätigt" in page.ask(form.action, form.values)[1]
    assert "der Link ist unvollständig" in page.ask(ACKNOWLEDGE_PATH)[1]
    assert '<html lang="en">' in page.ask("/", browser=logged_in(page.settings))[1], (
        "the pages of administrators are English"
    )


def signed(page: Page) -> dict[str, str]:
    return {"id": ALERT, "signature": page.links.signature(ALERT)}


@pytest.mark.parametrize("signature", ["", "0" * 32, "ä", HOSTILE])
def test_without_the_nodes_signature_nothing_is_shown_or_done(page: Page, signature: str) -> None:
    form = {"id": ALERT, "signature": signature}
    for status, text in (page.ask(f"{ACKNOWLEDGE_PATH}?{urlencode(form)}"), page.ask(ACKNOWLEDGE_PATH, form)):
        assert status == 404
        assert "surgeon@" not in text
        assert "<script" not in text
    assert page.acknowledged == [False, False]


def test_a_signature_is_of_one_alert_and_an_endless_form_is_refused(page: Page) -> None:
    other = {"id": "b" * 32, "signature": page.links.signature(ALERT)}
    assert page.ask(ACKNOWLEDGE_PATH, other)[0] == 404
    assert page.ask(ACKNOWLEDGE_PATH, {"id": "x" * 5000, "signature": ""})[0] == 413
