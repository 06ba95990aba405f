"""A result on the status page: the fracture leads, and the text for the report is copied at a click."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from node.language.catalogue import Language
from node.records.runs import RunState
from node.report import result_json
from tests.browser import SCREENSHOTS, needs_browser, open_page
from tests.report.conftest import fractured, synthetic_ct
from tests.web.people import PASSWORD
from tests.web.test_status_page import RESULT, Node, node

__all__ = ["node"]


def _with_fracture(node: Node) -> dict[str, dict[str, str]]:
    """A run whose result is written as the pipeline writes it; returns the result."""
    result = fractured(synthetic_ct("axial"))
    folder: Path = node.add_run("f", RunState.MEASURED, "Vertebral fractures: T12 grade 3 (severe)")
    text = result_json(result, Language.DE)
    (folder / "result.json").write_text(text, encoding="utf-8")
    found: dict[str, dict[str, str]] = json.loads(text)
    return found


def test_a_fracture_is_the_first_thing_on_the_page_and_in_the_list(node: Node) -> None:
    found = _with_fracture(node)
    page = node.run_page("f").text
    assert page.index("Vertebral fractures: T12 grade 3 (severe), L2 grade 2 (moderate)") < page.index("ACR category")
    assert 'class="headline fracture"' in page
    assert found["report_text"]["impression"] in page
    assert "Beurteilung: Wirbelkörperfrakturen: T12 Grad 3 (schwer)" in page
    assert "Vertebral fractures: T12 grade 3 (severe)" in node.ask("/").text


def test_a_result_of_an_earlier_version_has_neither(node: Node) -> None:
    (node.add_run("o", RunState.MEASURED) / "result.json").write_text(json.dumps(RESULT), encoding="utf-8")
    page = node.run_page("o")
    assert page.status == 200
    assert "report-text" not in page.text
    assert "headline" not in page.text


def test_scripts_of_others_do_not_run(node: Node) -> None:
    policy = node.ask("/").headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert node.ask("/copy.js").headers["content-type"].startswith("text/javascript")


@pytest.mark.slow
@needs_browser
def test_the_text_is_copied_and_nothing_scrolls_sideways_on_a_phone(node: Node) -> None:
    found = _with_fracture(node)
    SCREENSHOTS.mkdir(exist_ok=True)
    with open_page("", "", 390, 844) as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.goto(f"http://127.0.0.1:{node.settings.web.port}/run?id=f")
        page.fill("#name", "somebody")
        page.fill("#password", PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url("**/run?id=f")
        page.screenshot(path=SCREENSHOTS / "result-phone.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.get_by_role("button", name="Copy").click()
        page.get_by_text("Copied").wait_for()
        copied = page.evaluate("navigator.clipboard.readText()")
        page.set_viewport_size({"width": 1280, "height": 900})
        page.screenshot(path=SCREENSHOTS / "result-desktop.png", full_page=True)
    assert copied.splitlines() == [found["report_text"]["findings"], found["report_text"]["impression"]]
