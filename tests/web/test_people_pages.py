"""The pages for people in a browser, on a desktop and on a phone."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from node.records.audit import Action, AuditRecords
from node.records.runs import RunRecords, RunState
from node.records.study_keys import StudyKeys
from node.records.users import Role
from node.settings.tree import Settings, WebSettings
from tests.browser import SCREENSHOTS, keep_picture, needs_browser, open_page
from tests.deliver.delivery_servers import free_port
from tests.web.people import PASSWORD, add_account
from tests.web.test_access import serving

STUDY = "1.2.826.0.1.3680043.8.498.1"


@needs_browser
@pytest.mark.parametrize(("width", "name"), [(1280, "desktop"), (390, "phone")])
def test_a_person_logs_in_finds_a_study_and_logs_out(tmp_path: Path, width: int, name: str) -> None:
    settings = Settings(state_dir=tmp_path, web=WebSettings(port=free_port()))
    runs, address = RunRecords.open(settings), f"http://127.0.0.1:{settings.web.port}"
    runs.queued("run", STUDY, tmp_path)
    runs.finished("run", RunState.NOT_MEASURED, "slices are 7.5 mm apart, more than 5 mm (select.max_slice_distance_mm)")
    StudyKeys.open(settings).note(STUDY, "A-4711", "0815")
    SCREENSHOTS.mkdir(exist_ok=True)
    faults: list[str] = []

    def fits() -> None:
        if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            faults.append(f"{page.url} is wider than the screen")

    with serving(settings), open_page("", "", width, 800) as page:
        page.goto(address)
        assert page.inner_text("h1") == "Log in"
        assert "bmd-node users add" in page.inner_text("main")
        fits()
        keep_picture(page, f"no-account-{name}")
        # in a thread: as long as Playwright is there, asyncio has a running loop
        making = threading.Thread(target=add_account, args=(settings, "mueller", Role.RADIOLOGIST))
        making.start()
        making.join()
        page.goto(f"{address}/run?id=run")
        page.fill("#name", "mueller")
        page.fill("#password", "wrong")
        page.keyboard.press("Enter")
        page.wait_for_selector("[role=alert]")
        fits()
        keep_picture(page, f"login-{name}")
        page.fill("#name", "mueller")
        page.fill("#password", PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url("**/run?id=run")
        fits()
        assert "7.5 mm" in page.inner_text("main")
        page.goto(address)
        fits()
        keep_picture(page, f"studies-{name}")
        page.click("text=Find a study")
        page.wait_for_selector("[name=number]")
        page.fill("[name=number]", "a-4711")
        page.keyboard.press("Enter")
        page.wait_for_selector(".found")
        assert "Not measured: slices are 7.5 mm apart" in page.inner_text("main")
        fits()
        keep_picture(page, f"search-{name}")
        page.fill("[name=number]", "A-4712")
        page.keyboard.press("Enter")
        page.wait_for_selector("[role=status]")
        assert "Never received" in page.inner_text("main")
        page.click("text=mueller")
        page.wait_for_url("**/account")
        fits()
        keep_picture(page, f"account-{name}")
        page.click("text=Log out")
        page.wait_for_url("**/login")
        page.goto(address)
        assert page.inner_text("h1") == "Log in"
        assert page.context.cookies() == [] or page.context.cookies()[0]["httpOnly"]
    assert not faults
    searches = [row.entry for row in AuditRecords.open(settings).rows() if row.entry.action is Action.SEARCH]
    assert [(entry.user_name, entry.subject, entry.detail) for entry in searches] == [
        ("mueller", STUDY, "by accession"),
        ("mueller", "", "by accession"),
    ]
