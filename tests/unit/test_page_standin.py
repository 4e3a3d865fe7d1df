"""The web page in a real browser, against the stand-in: what a healthy pod seldom does."""

import shutil

import av
import numpy as np
import pytest
import skimage.data
from page_standin import standin
from PIL import Image
from playwright.sync_api import expect

from tests.browsers import needs_browser, until

pytestmark = needs_browser


@pytest.fixture
def pod():
    with standin() as state:
        yield state


@pytest.fixture
def page(browser, pod):
    """The page, open; anything that its policy blocks or its script throws fails the test."""
    context = browser.new_context(viewport={"width": 1000, "height": 800}, locale="en-GB")
    page = context.new_page()
    page.set_default_timeout(10_000)
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "console",
        lambda message: faults.append(message.text) if "Security Policy" in message.text else None,
    )
    page.goto(pod.url)
    yield page
    context.close()
    assert faults == []


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """{photo,busy,broken,blank}.jpg, large.jpg of 33 MiB; clip.mp4, slow.mp4, lost.mp4."""
    folder = tmp_path_factory.mktemp("files")
    picture = Image.fromarray(skimage.data.astronaut())
    for name in ("photo.jpg", "busy.jpg", "broken.jpg", "blank.jpg", "large.jpg"):
        picture.save(folder / name)
    with (folder / "large.jpg").open("r+b") as file:
        file.truncate(33 * 2**20)  # zeros after the end of a JPEG do no harm
    with av.open(str(folder / "clip.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=20)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for n in range(60):
            frame = np.full((120, 160, 3), n * 4, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        out.mux(stream.encode())
    for name in ("slow.mp4", "lost.mp4"):
        shutil.copy(folder / "clip.mp4", folder / name)
    return folder


def loaded(images):
    """Whether all images of a selector are: a condition for :func:`until`."""
    return f"[...document.querySelectorAll('{images}')].every((i) => i.complete && i.naturalWidth)"


def choose(page, *paths):
    page.set_input_files("#files", [str(path) for path in paths])


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


# drawings


def draw(page, *paths):
    page.get_by_text("Animate a drawing", exact=True).click()
    expect(page.locator("#motions input")).to_have_count(4)
    choose(page, *paths)


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


def jobs(page):
    page.get_by_text("Jobs", exact=True).click()


def test_jobs_show_how_far_how_fast_and_what_failed(page, pod):
    pod.batch()
    jobs(page)
    card = page.locator(".card.job")
    expect(card).to_contain_text("s3://b/in/")
    expect(card).to_contain_text("At work")
    expect(card).to_contain_text("3 of 4 files")
    expect(card).to_contain_text("1 h 30 min of about 2 h 0 min of video")
    expect(card).to_contain_text("1 at work · 25 frames/s · 2 min left")
    expect(card.get_by_role("progressbar")).to_have_attribute("value", "0.75")
    expect(card.get_by_role("img")).to_have_attribute(
        "aria-label", "Throughput over 25 s: up to 8.5 seconds of video a second"
    )
    expect(page.locator("#drop")).to_be_hidden()
    card.get_by_text("1 failed").click()
    row = card.get_by_role("row", name="bad.mp4")
    expect(row).to_contain_text("it breaks off after 3 frames")


def test_a_job_ends_and_what_failed_is_tried_again(page, pod):
    view = pod.batch()
    jobs(page)
    card = page.locator(".card.job")
    expect(card.get_by_role("button", name="Cancel")).to_be_visible()
    view["status"] = "done"
    expect(card).to_contain_text("Done")
    expect(page.locator("#status")).to_have_text("s3://b/in/: Done")
    expect(card.get_by_role("button", name="Cancel")).to_be_hidden()
    card.get_by_role("button", name="Try the failed ones again").click()
    expect(card).to_contain_text("At work")
    card.get_by_role("button", name="Cancel").click()
    expect(card).to_contain_text("Cancelled")
    card.get_by_role("button", name="Remove s3://b/in/ from the list").click()
    expect(card).to_have_count(0)
    expect(page.locator("#no-jobs")).to_have_text("No jobs yet.")


def test_results_of_a_job_are_linked_page_by_page(page, pod):
    pod.batch("done")
    jobs(page)
    card = page.locator(".card.job")
    card.get_by_text("Results").click()
    links = card.get_by_role("link")
    expect(links).to_have_count(2)
    expect(links.first).to_have_attribute("href", f"{pod.s3}/0")
    card.get_by_role("button", name="More").click()
    expect(links).to_have_count(3)
    expect(card.get_by_role("button", name="More")).to_be_hidden()


def test_a_training_is_shown_with_its_checkpoint(page, pod):
    state = {"checkpoint_url": f"{pod.s3}/c", "logs": [{"name": "log", "url": f"{pod.s3}/l"}]}
    progress = {"fraction": 0.4, "eta_seconds": None, "fps": None}
    pod.batch(kind="training", model="rigger", input=None, items=None, failures=None, pace=None)
    (view,) = pod.jobs.values()
    view.update(training=state, progress=progress, output=None)
    jobs(page)
    card = page.locator(".card.job")
    expect(card).to_contain_text("Training of rigger")
    expect(card).to_contain_text("40%")
    card.get_by_text("Results").click()
    expect(card.get_by_role("link")).to_have_count(2)


def test_files_that_come_in_leave_the_jobs(page, files):
    jobs(page)
    choose(page, files / "photo.jpg")
    expect(page.locator(".card.done")).to_be_visible()
    expect(page.locator("#jobs")).to_be_hidden()


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
