"""The web page animates drawings, and lets their joints be moved."""

import pytest
from playwright.sync_api import expect

from tests.browsers import choose, draw, loaded, needs_browser, until

pytestmark = needs_browser


def test_a_drawing_is_animated_and_downloaded(page, pod, files):
    draw(page, files / "photo.jpg")
    card = page.locator(".card.done")
    expect(card).to_contain_text("3 animations")
    assert pod.animated == [
        {
            "rig_id": next(iter(pod.rigs)),
            "motions": ["dab", "dance", "wave_hello"],
            "format": "gif",
            "background": "paper",
            "size": 500,
            "figures": "first",
        }
    ]
    until(page, loaded(".card.done .scenes img"))
    sizes = card.locator(".scenes img").evaluate_all("all => all.map((i) => i.naturalWidth)")
    assert sizes == [120] * 3
    with page.expect_download() as download:
        card.get_by_role("button", name="Download photo_wave_hello.gif").click()
    assert download.value.suggested_filename == "photo_wave_hello.gif"
    expect(page.locator("#status")).to_contain_text("3 animations ready to download")


def test_what_an_animation_shall_be_is_sent_and_remembered(page, pod, files):
    page.get_by_text("Animate a drawing", exact=True).click()
    for name in ("Dance", "Wave hello", "Cheer", "WebP", "Colour", "All on the page"):
        page.get_by_text(name, exact=True).click()
    page.get_by_label("Colour of the background").fill("#00ff00")
    page.get_by_label("Size", exact=True).fill("300")
    page.reload()
    expect(page.get_by_role("button", name="Choose a drawing")).to_be_visible()
    expect(page.locator("#motions input")).to_have_count(4)
    choose(page, files / "photo.jpg")
    expect(page.locator(".card.done")).to_contain_text("2 animations")
    asked = {name: value for name, value in pod.animated[0].items() if name != "rig_id"}
    assert asked == {
        "motions": ["cheer", "dab"],
        "format": "webp",
        "background": "#00ff00",
        "size": 300,
        "figures": "all",
    }


def test_joints_are_moved_by_pointer_and_by_keyboard_and_nothing_is_sent_again(page, pod, files):
    draw(page, files / "photo.jpg")
    page.get_by_role("button", name="Move joints").click()
    frame = page.locator(".joints")
    expect(frame.get_by_role("button")).to_have_count(15)  # root and hip are one
    hand = frame.get_by_role("button", name="Left hand")
    hand.scroll_into_view_if_needed()
    box, place = frame.bounding_box(), hand.bounding_box()
    page.mouse.move(place["x"] + 10, place["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.1 * box["height"], steps=5)
    page.mouse.up()
    expect(hand).to_have_accessible_name("Left hand, 90% across, 10% down")
    hips = frame.get_by_role("button", name="Root")
    hips.focus()
    for _ in range(5):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+ArrowLeft")
    page.get_by_role("button", name="Animate again").click()
    expect(page.locator(".card.done")).to_be_visible()
    (correction,) = pod.corrections
    joints = correction["joints"]
    assert set(joints) == {"left_hand", "root", "hip"}
    assert joints["left_hand"] == pytest.approx([0.9 * 512, 0.1 * 512], abs=3)
    assert joints["root"] == joints["hip"] == pytest.approx([0.45 * 512, 0.65 * 512], abs=1)
    assert len(pod.posts) == 1
    assert len(pod.animated) == 2
    page.get_by_role("button", name="Animate again").click()
    expect(page.locator(".card.working")).to_have_count(0)
    assert len(pod.corrections) == 1


def test_a_joint_stays_in_its_picture_and_can_be_put_back(page, pod, files):
    draw(page, files / "photo.jpg")
    page.get_by_role("button", name="Move joints").click()
    foot = page.get_by_role("button", name="Right foot")
    foot.focus()
    for _ in range(4):
        page.keyboard.press("Shift+ArrowDown")
    expect(foot).to_have_accessible_name("Right foot, 40% across, 100% down")
    page.get_by_role("button", name="Put them back").click()
    expect(foot).to_have_accessible_name("Right foot, 40% across, 90% down")
    expect(page.get_by_role("button", name="Put them back")).to_be_disabled()


def test_a_page_without_a_figure(page, files):
    draw(page, files / "blank.jpg")
    card = page.locator(".card.failed")
    expect(card).to_contain_text("No figure found")
    expect(card).to_contain_text("photograph one figure")


def test_a_rig_that_has_expired_is_made_again(page, pod, files):
    draw(page, files / "photo.jpg")
    expect(page.locator(".card.done")).to_be_visible()
    pod.rigs.clear()
    page.get_by_role("button", name="Animate again").click()
    expect(page.locator(".card.working")).to_have_count(0)
    expect(page.locator(".card.done")).to_be_visible()
    assert len(pod.posts) == 2
