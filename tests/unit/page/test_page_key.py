"""The web page where the service wants an API key: asked for, kept, sent to nobody else."""

import pytest
from page_standin import standin
from playwright.sync_api import expect

from tests.browsers import choose, needs_browser

pytestmark = needs_browser
KEY = "mq_the-right-one"


@pytest.fixture
def pod():
    with standin() as state:
        state.key = KEY
        yield state
    assert state.leaked == []


@pytest.fixture
def context(browser):
    context = browser.new_context(locale="en-GB")
    context.set_default_timeout(10_000)
    yield context
    context.close()


@pytest.fixture
def page(context, pod):
    page = context.new_page()
    page.goto(pod.url)
    return page


def give(page, key, keep=False):
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Key", exact=True).fill(key)
    if keep:
        dialog.get_by_label("Remember it on this device").check()
    dialog.get_by_role("button", name="Use this key").click()


def test_a_key_is_asked_for_at_once_and_goes_with_everything(page, pod, files):
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("This service needs a key")
    give(page, "mq_a-wrong-one")
    expect(dialog).to_contain_text("this API key is unknown")
    give(page, KEY)
    expect(dialog).to_be_hidden()
    names = ("photo.jpg", "large.jpg", "clip.mp4")  # sent, by way of the store, by events
    choose(page, *[files / name for name in names])
    expect(page.locator(".card.done")).to_have_count(3)
    assert len(pod.puts) == 1


def test_a_key_lives_as_long_as_the_tab_or_as_wanted(page, pod, context):
    give(page, KEY)
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.reload()
    expect(page.locator("#change-key")).to_be_visible()
    expect(page.get_by_role("dialog")).to_be_hidden()
    other = context.new_page()
    other.goto(pod.url)
    expect(other.get_by_role("dialog")).to_be_visible()
    give(other, KEY, keep=True)
    third = context.new_page()
    third.goto(pod.url)
    expect(third.locator("#change-key")).to_be_visible()
    expect(third.get_by_role("dialog")).to_be_hidden()


def test_whoever_says_not_now_is_left_alone_and_told_why_nothing_works(page, pod, files):
    dialog = page.get_by_role("dialog")
    page.clock.install()
    page.reload()
    page.get_by_role("button", name="Not now").click()
    page.get_by_text("Jobs", exact=True).click()
    page.get_by_role("button", name="Not now").click()
    expect(page.locator("#no-jobs")).to_contain_text("this service needs an API key")
    with page.expect_response("**/v1/jobs?*"):  # it looks again by itself
        page.clock.run_for(4000)
    expect(dialog).to_be_hidden()
    page.get_by_role("button", name="API key").click()
    give(page, KEY)
    expect(page.locator("#no-jobs")).to_have_text("No jobs yet.")


def test_a_key_that_is_taken_back_is_asked_for_anew(page, pod, files):
    give(page, KEY)
    expect(page.get_by_role("dialog")).to_be_hidden()
    pod.key = "mq_the-next-one"
    choose(page, files / "photo.jpg")
    expect(page.get_by_role("dialog")).to_contain_text("this API key is unknown")
    page.get_by_role("button", name="Not now").click()
    card = page.locator(".card.failed")
    expect(card).to_contain_text("API key needed")
    card.get_by_role("button", name="Try again").click()
    give(page, pod.key)
    expect(page.locator(".card.done")).to_have_count(1)
