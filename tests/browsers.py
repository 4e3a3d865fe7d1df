"""A real browser for the tests of the page, which are skipped where there is none."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--mute-audio")

needs_browser = pytest.mark.skipif(not CHROMIUM, reason="needs a chromium on the path")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for the tests of a file."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def until(page: Page, condition: str, seconds: float = 30.0) -> None:
    """Return once a JavaScript expression is true; fails the test when it is not in time.

    Playwright's own waiting evaluates text within the page, which the page's policy forbids.
    """
    over = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < over, f"not within {seconds:.0f} s: {condition}"
        page.wait_for_timeout(50)
