"""A real browser for the tests of the page, which are skipped where there is none."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

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


@contextlib.contextmanager
def opened(browser: Browser, url: str, height: int, patience: float) -> Iterator[Page]:
    """A page; anything that its policy blocks or its script throws fails the test.

    height: pixels. patience: seconds that its parts have to come.
    """
    context = browser.new_context(viewport={"width": 1000, "height": height}, locale="en-GB")
    page = context.new_page()
    page.set_default_timeout(1000 * patience)
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "console",
        lambda message: faults.append(message.text) if "Security Policy" in message.text else None,
    )
    page.goto(url)
    yield page
    context.close()
    assert faults == []


def until(page: Page, condition: str, seconds: float = 30.0) -> None:
    """Return once a JavaScript expression is true; fails the test when it is not in time.

    Playwright's own waiting evaluates text within the page, which the page's policy forbids.
    """
    over = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < over, f"not within {seconds:.0f} s: {condition}"
        page.wait_for_timeout(50)


def loaded(images: str) -> str:
    """Whether all images of a selector are: a condition for :func:`until`."""
    return f"[...document.querySelectorAll('{images}')].every((i) => i.complete && i.naturalWidth)"


def choose(page: Page, *paths: Path) -> None:
    """Hand files to the page."""
    page.set_input_files("#files", [str(path) for path in paths])


def draw(page: Page, *paths: Path) -> None:
    """Hand photos of drawings to the page."""
    page.get_by_text("Animate a drawing", exact=True).click()
    expect(page.locator("#motions input")).to_have_count(4)
    choose(page, *paths)
