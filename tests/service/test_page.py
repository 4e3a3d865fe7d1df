"""The web page in a real browser, against the real pod: a photo, a video and a drawing."""

import io

import av
import numpy as np
import pytest
import requests
import skimage.data
from PIL import Image
from playwright.sync_api import expect

from tests.browsers import choose, needs_browser, opened, until
from tests.service import media

pytestmark = needs_browser


@pytest.fixture
def page(browser, pod):
    expect.set_options(timeout=60_000)
    with opened(browser, pod.url, height=900, patience=60) as page:
        yield page


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "astronaut.jpg"
    Image.fromarray(skimage.data.astronaut()).save(path, quality=92)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Two seconds, 320×320, the astronaut drifting sideways."""
    path = tmp_path_factory.mktemp("clip") / "drift.mp4"
    picture = skimage.data.astronaut()
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=15)
        stream.width = stream.height = 320
        stream.pix_fmt = "yuv420p"
        for n in range(30):
            view = np.ascontiguousarray(picture[:320, 2 * n : 2 * n + 320])
            out.mux(stream.encode(av.VideoFrame.from_ndarray(view, "rgb24")))
        out.mux(stream.encode())
    return path


def test_a_photo_is_blurred_compared_and_downloaded(page, photo):
    choose(page, photo)
    expect(page.locator(".card.done .badge")).to_have_text("1 face hidden")
    after = page.locator("img.after")
    until(page, "document.querySelector('img.after').complete")
    assert after.evaluate("e => [e.naturalWidth, e.naturalHeight]") == [512, 512]
    blurred = requests.get(after.get_attribute("src"), timeout=10).content
    with Image.open(io.BytesIO(blurred)) as image:
        change = np.abs(np.asarray(image, int) - skimage.data.astronaut()).mean(axis=2)
    assert change[90:140, 205:245].mean() > 10  # the face
    assert change[400:].mean() < 4  # the suit
    report = requests.get(page.locator("a.report").get_attribute("href"), timeout=10).json()
    assert report
    expect(page.locator(".until")).to_contain_text("Links work until")
    expect(page.get_by_role("button", name="Download astronaut_blurred.jpg")).to_be_enabled()


def test_a_video_is_followed_to_its_end_and_plays_beside_its_original(page, clip):
    choose(page, clip)
    expect(page.locator(".card.done .badge")).to_contain_text("1 face hidden")
    videos = page.locator("video")
    expect(videos).to_have_count(2)
    until(page, "[...document.querySelectorAll('video')].every((v) => v.readyState >= 2)")
    sizes = videos.evaluate_all("all => all.map((v) => [v.videoWidth, v.videoHeight])")
    assert sizes == [[320, 320], [320, 320]]
    lengths = videos.evaluate_all("all => all.map((v) => v.duration)")
    assert abs(lengths[0] - lengths[1]) < 0.07


def test_a_phones_photo_of_a_drawing_comes_alive_and_its_joints_can_be_moved(page, tmp_path):
    path = tmp_path / "monster.jpg"
    path.write_bytes(media.drawing(1, 4000))
    page.get_by_text("Animate a drawing", exact=True).click()
    expect(page.locator("#motions input")).to_have_count(8)
    choose(page, path)
    expect(page.locator(".card.done")).to_contain_text("3 animations")
    moving = page.locator(".scenes img")
    expect(moving).to_have_count(3)
    for url in moving.evaluate_all("all => all.map((i) => i.src)"):
        with Image.open(io.BytesIO(requests.get(url, timeout=30).content)) as picture:
            assert picture.n_frames > 30
    page.get_by_role("button", name="Move joints").click()
    hand = page.get_by_role("button", name="Left hand")
    hand.focus()
    page.keyboard.press("Shift+ArrowUp")
    with page.expect_request(lambda request: request.method == "PUT") as sent:
        page.get_by_role("button", name="Animate again").click()
    assert list(sent.value.post_data_json["joints"]) == ["left_hand"]
    expect(page.locator(".card.done")).to_be_visible()


def test_a_file_that_is_no_media_gets_a_clear_card(page, tmp_path):
    path = tmp_path / "notes.jpg"
    path.write_text("not a picture at all")
    choose(page, path)
    card = page.locator(".card.failed")
    expect(card).to_contain_text("Unsupported media")
    expect(card).to_contain_text("unsupported-media · request")


def test_nothing_is_asked_of_anyone_else(browser, pod, photo):
    """Only the pod and its object store: no font, script or counter from elsewhere."""
    context = browser.new_context()
    page = context.new_page()
    asked = set()
    page.on("request", lambda request: asked.add(request.url))
    page.goto(pod.url)
    choose(page, photo)
    expect(page.locator(".card.done")).to_be_visible(timeout=60_000)
    store = page.locator("img.after").get_attribute("src").split("/")[2]
    context.close()
    hosts = {url.split("/")[2] for url in asked if not url.startswith("blob:")}
    assert hosts <= {pod.url.split("/")[2], store}
