"""The web page hides faces, and does what a healthy pod seldom asks of it."""

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browsers import choose, draw, loaded, needs_browser, until

pytestmark = needs_browser


def test_a_problem_is_shown_whole_and_can_be_tried_again(page, pod, files):
    choose(page, files / "broken.jpg")
    card = page.locator(".card.failed")
    expect(card).to_contain_text("Unreadable media")
    expect(card).to_contain_text("breaks off after 1,204 bytes; export it again")
    expect(card).to_contain_text("bad-media · request req-0123")
    expect(page.locator("#status")).to_contain_text("Unreadable media")
    with page.expect_response("**/v1/blur"):
        card.get_by_role("button", name="Try again").click()
    expect(card).to_be_visible()
    assert [post["name"] for post in pod.posts] == ["broken.jpg"] * 2


def test_a_busy_server_is_asked_again(page, pod, files):
    choose(page, files / "busy.jpg")
    expect(page.locator(".card.working")).to_contain_text("busy; trying again in 1 s")
    expect(page.locator(".card.done")).to_contain_text("1 face hidden")
    assert len(pod.posts) == 2


def test_options_are_sent_and_remembered(page, pod, files):
    for name in ("Mosaic", "Box", "High"):
        page.get_by_text(name, exact=True).click()
    page.get_by_label("Mask size").fill("2")
    page.get_by_label("Keep in videos").uncheck()
    page.reload()
    choose(page, files / "photo.jpg")
    expect(page.locator(".card.done")).to_be_visible()
    post = {key: pod.posts[0][key] for key in ("style", "shape", "threshold", "scale", "audio")}
    assert post == {
        "style": "pixelate",
        "shape": "box",
        "threshold": "0.1",
        "scale": "2",
        "audio": "drop",
    }


@pytest.mark.parametrize("cors", [True, False])
def test_a_large_file_goes_to_the_store_or_else_through_the_pod(page, pod, files, cors):
    pod.cors = cors
    choose(page, files / "large.jpg")
    expect(page.locator(".card.done")).to_be_visible()
    assert len(pod.puts) == int(cors)
    assert [(post["name"], post["bytes"]) for post in pod.posts] == [
        ("upload" if cors else "large.jpg", 33 * 2**20)
    ]


def test_the_download_bears_the_files_own_name(page, files):
    choose(page, files / "photo.jpg")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download photo_blurred.jpg").click()
    assert download.value.suggested_filename == "photo_blurred.jpg"
    with Image.open(download.value.path()) as image:
        assert image.size == (512, 512)


def test_before_and_after_are_compared_by_pointer_and_by_keyboard(page, files):
    choose(page, files / "photo.jpg")
    frame = page.locator(".compare")
    slider = page.get_by_role("slider", name="How much of the original is shown")
    until(page, loaded(".compare img"))  # until then they have no size
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert frame.evaluate("e => e.style.getPropertyValue('--at')") == "51%"
    box = frame.bounding_box()
    frame.click(position={"x": box["width"] * 0.2, "y": box["height"] / 2})
    assert abs(float(slider.input_value()) - 20) < 3
    before, after = frame.locator("img.before"), frame.locator("img.after")
    assert before.get_attribute("src").startswith("blob:")  # never fetched from the server
    assert before.bounding_box() == after.bounding_box()


def test_a_video_shows_its_progress_then_both_players_in_step(page, pod, files):
    pod.frames, pod.frame_seconds = 60, 0.02
    choose(page, files / "clip.mp4")
    text = page.locator(".progress-text")
    expect(text).to_contain_text("frames/s")
    expect(text).to_contain_text("of 60")
    expect(text).to_contain_text("left")
    expect(page.locator(".card.done")).to_contain_text("2 faces hidden")
    lead = page.locator("figure video[controls]")
    expect(page.locator("video")).to_have_count(2)
    lead.evaluate("v => { v.currentTime = 1; return v.play(); }")
    until(page, "[...document.querySelectorAll('video')].every((v) => v.currentTime > 1.3)")
    times = page.locator("video").evaluate_all("all => all.map((v) => v.currentTime)")
    assert abs(times[0] - times[1]) < 0.15
    lead.evaluate("v => v.pause()")
    until(page, "[...document.querySelectorAll('video')].every((v) => v.paused)")


def test_a_video_is_cancelled_on_the_server_too(page, pod, files):
    choose(page, files / "slow.mp4")
    expect(page.locator(".progress-text")).to_contain_text("Hiding faces")
    with page.expect_response(lambda response: response.request.method == "DELETE"):
        page.get_by_role("button", name="Cancel").click()
    again = page.get_by_role("button", name="Start again")
    expect(again).to_be_focused()
    until(page, "!document.querySelector('.card.working')")
    assert [pod.jobs[id]["status"] for id in pod.deleted] == ["cancelled"]
    again.click()
    expect(page.locator(".card.working")).to_be_visible()


def test_a_job_that_fails_says_why(page, files):
    choose(page, files / "lost.mp4")
    expect(page.locator(".card.failed")).to_contain_text("the video breaks off after frame 20")


def test_a_lost_event_stream_is_taken_up_again(page, pod, files):
    pod.cut_streams = 2
    choose(page, files / "clip.mp4")
    expect(page.locator(".card.done")).to_be_visible()


def test_a_finished_video_can_be_deleted_at_once(page, pod, files):
    choose(page, files / "clip.mp4")
    page.get_by_role("button", name="Delete now").click()
    expect(page.locator(".card")).to_have_count(0)
    expect(page.get_by_role("button", name="Choose photos or videos")).to_be_focused()
    assert pod.jobs == {}


def test_a_queue_works_two_at_a_time_and_keeps_its_order(page, pod, files):
    pod.frame_seconds = 0.05
    choose(page, *[files / "clip.mp4"] * 3)
    expect(page.locator(".progress-text").nth(0)).to_contain_text("frame")
    expect(page.locator(".progress-text").nth(2)).to_have_text("Waiting for its turn")
    assert len(pod.jobs) == 2
    expect(page.locator(".card.done")).to_have_count(3)


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_files_come_in_by_drop_and_paste(page, files, way):
    page.evaluate(
        """async ([way, bytes]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "image.png", {type: "image/png"}));
            const event = way === "drop"
                ? new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true})
                : new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true});
            document.body.dispatchEvent(event);
        }""",
        [way, list((files / "photo.jpg").read_bytes())],
    )
    expect(page.locator(".card.done")).to_contain_text("image.png")


def test_the_lives_of_links_are_told(page, pod, files):
    choose(page, files / "photo.jpg")
    expect(page.locator(".until")).to_contain_text("60 min from now")
    pod.expires = lambda: "2001-01-01T00:00:00Z"
    page.get_by_role("button", name="Blur again").click()
    expect(page.locator(".until")).to_contain_text("have expired")
    expect(page.locator(".download")).to_be_hidden()


def test_both_kinds_of_work_share_the_page(page, pod, files):
    choose(page, files / "photo.jpg")
    expect(page.locator(".card.done")).to_contain_text("1 face hidden")
    draw(page, files / "photo.jpg")
    expect(page.locator(".card.done")).to_have_count(2)
    page.get_by_text("Hide faces", exact=True).click()
    expect(page.get_by_role("button", name="Choose photos or videos")).to_be_visible()
    expect(page.locator("#looks")).to_be_hidden()


def test_everything_has_a_name_and_nothing_is_cut_off_on_a_phone(page, files):
    choose(page, files / "photo.jpg", files / "clip.mp4", files / "broken.jpg")
    draw(page, files / "photo.jpg")
    page.get_by_role("button", name="Move joints").click()
    expect(page.locator(".card.working")).to_have_count(0)
    nameless = page.evaluate(
        """[...document.querySelectorAll("button, a, input:not([aria-hidden]), progress, video")]
            .filter((e) => e.checkVisibility() && e.getAttribute("aria-hidden") !== "true")
            .filter((e) => !(e.ariaLabel || e.textContent.trim() || e.labels?.length))
            .map((e) => e.outerHTML)"""
    )
    assert nameless == []
    for width in (320, 390, 768, 1400):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_address_says_which_part_is_shown(page):
    chosen = page.locator("input[name=mode]:checked")
    for part in ("jobs", "drawings", "faces"):
        page.evaluate("part => { location.hash = part; }", part)
        expect(chosen).to_have_value(part)
    page.evaluate("location.hash = 'nothing'")
    expect(chosen).to_have_value("faces")
    for part in ("faces", "drawings", "jobs"):
        page.go_back()
        expect(chosen).to_have_value(part)
