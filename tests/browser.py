"""Debian's Chromium without a screen, driven by Playwright; pictures of what it showed are kept as artefacts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

#: Not in the repository; each run replaces what an earlier one left.
SCREENSHOTS = Path(__file__).resolve().parents[1] / "screenshots"
PATIENCE_MS = 120_000.0

needs_browser = pytest.mark.skipif(
    shutil.which("chromium") is None or find_spec("playwright") is None,
    reason="needs the Debian package chromium and the Python package playwright",
)
#: A page of WebGL is drawn in software; the sandbox is not to be had as root in a container.
_ARGUMENTS = (
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-background-networking",
)


@contextmanager
def open_page(user: str, password: str, width: int = 1600, height: int = 1000) -> Iterator[Page]:
    """An empty page in a browser of its own, which knows the answer if a server asks who is there.

    Close it before other tests run in the process: as long as Playwright is there, asyncio has a running loop.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(_ARGUMENTS))
        page = browser.new_page(
            viewport={"width": width, "height": height}, http_credentials={"username": user, "password": password}
        )
        page.set_default_timeout(PATIENCE_MS)
        yield page
        browser.close()


def keep_picture(page: Page, name: str) -> None:
    """Keep what the page shows as ``name.png``."""
    page.screenshot(path=SCREENSHOTS / f"{name}.png")
