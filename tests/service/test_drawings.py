"""Drawings through the whole pod: found, corrected, animated; nothing of the photo stays."""

from __future__ import annotations

import base64
import io
import os
import signal
import threading
import time

import numpy as np
import pytest
import requests
import skimage.data
from PIL import Image

from gateway.drawings.character import PARENTS
from tests.service import media
from tests.service.helpers import drawing_renderer, model_worker, problem, suspended
from tests.unit.drawings_figures import MOTION_CONFIG, bvh, retarget_config

JOINTS = set(PARENTS)


def fetched(url: str) -> bytes:
    answer = requests.get(url, timeout=30)
    assert answer.status_code == 200
    return answer.content


def gif(url: str) -> Image.Image:
    picture = Image.open(io.BytesIO(fetched(url)))
    assert picture.format == "GIF"
    return picture


def done(answer: requests.Response, status: int = 200) -> dict:
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def test_a_figure_is_found_with_its_joints_and_mask(api):
    view = done(api.rig(media.drawing()), 201)
    assert (view["width"], view["height"]) == (1600, 1200)
    (figure,) = view["figures"]
    x1, y1, x2, y2 = figure["box"]
    assert 350 < x1 < 560 and 1040 < x2 < 1250
    assert 50 < y1 < 200 and y2 > 850
    assert set(figure["joints"]) == JOINTS
    width, height = figure["size"]
    at = {name: (x / width, y / height) for name, (x, y) in figure["joints"].items()}
    assert at["neck"][1] < at["torso"][1] < at["hip"][1] < at["left_foot"][1]
    assert at["right_hand"][0] < at["right_shoulder"][0] < at["left_shoulder"][0]
    assert at["left_shoulder"][0] < at["left_hand"][0]
    with Image.open(io.BytesIO(fetched(view["mask_url"]))) as mask:
        assert (mask.mode, mask.size) == ("L", (width, height))
        assert 0.1 < np.mean(np.asarray(mask) > 127) < 0.7
    for name in ("texture_url", "overlay_url"):
        with Image.open(io.BytesIO(fetched(view[name]))) as picture:
            assert picture.size == (width, height)


def test_a_phones_photo_becomes_three_animations(api, bucket):
    before = bucket.keys()
    photo = media.drawing(1, 4000)
    text = base64.b64encode(photo).decode()
    urls = done(api.call("POST", "/", json={"file": text}))
    assert list(urls) == ["dab", "jumping", "zombie"]
    for url in urls.values():
        with gif(url) as picture:
            assert max(picture.size) == 500
            assert picture.n_frames >= 60
    assert len(bucket.keys() - before) == 3


def test_nothing_of_the_photo_is_kept_but_the_figure(api, bucket):
    before = bucket.keys()
    view = done(api.animate(media.drawing(), motions="dab", size="200"))
    for key in bucket.keys() - before:
        body = bucket.client.get_object(Bucket=bucket.name, Key=key)["Body"].read()
        assert media.SECRET.encode() not in body
        if key.startswith("rigs/") and key.endswith(".png"):
            with Image.open(io.BytesIO(body)) as picture:
                assert picture.width < 1000  # the photo has 1600
    assert api.call("DELETE", f"/v1/rigs/{view['rig_id']}").status_code == 204
    left = bucket.keys() - before
    assert left and all(key.startswith("results/") for key in left)


def test_a_corrected_rig_is_animated_while_the_model_is_away(api, pod):
    rig = done(api.rig(media.drawing()), 201)
    with suspended(model_worker(pod)):
        width, _ = rig["figures"][0]["size"]
        path = f"/v1/rigs/{rig['rig_id']}"
        moved = {"joints": {"left_hand": [width - 20, 20]}}
        view = done(api.call("PUT", path, json=moved))
        assert view["figures"][0]["joints"]["left_hand"] == [width - 20, 20]
        asked = {"rig_id": rig["rig_id"], "motions": "walk,cheer", "size": 300}
        view = done(api.call("POST", "/v1/animate", json=asked))
        assert list(view["animations"]) == ["walk", "cheer"]
        assert "rig_ms" not in view["timings"]


@pytest.mark.parametrize("kind", ["gif", "mp4", "webp"])
def test_formats(api, kind):
    view = done(api.animate(media.drawing(), format=kind, size="200", background="#ffeedd"))
    (item,) = view["animations"].values()
    body = fetched(item["url"])
    if kind == "mp4":
        frames = media.frames(body)
        corner = frames[0][1, 1]
    else:
        with Image.open(io.BytesIO(body)) as picture:
            frames = [None] * picture.n_frames
            corner = np.array(picture.convert("RGB").getpixel((1, 1)))
    assert len(frames) == item["frames"]
    assert np.abs(corner.astype(int) - (0xFF, 0xEE, 0xDD)).max() < 12


def test_two_figures_on_one_page(api):
    photo = media.drawing(2)
    one = done(api.animate(photo, size="200"))["animations"]["dab"]
    both = done(api.animate(photo, size="200", figures="all"))
    assert len(done(api.get(f"/v1/rigs/{both['rig_id']}"))["figures"]) == 2
    item = both["animations"]["dab"]
    assert item["width"] / item["height"] > 1.2 * one["width"] / one["height"]


def test_a_motion_of_ones_own(api):
    files = {
        "bvh": bvh(frames=30),
        "motion_config": str(MOTION_CONFIG),  # JSON is YAML, and Python's text is near enough
        "retarget_config": str(retarget_config()),
    }
    motion = done(api.call("POST", "/v1/motions", files=files), 201)["motion"]
    view = done(api.animate(media.drawing(), motions=motion, size="200"))
    assert view["animations"][motion]["frames"] == 30
    assert api.call("DELETE", f"/v1/motions/{motion}").status_code == 204


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"no picture", 415, "unsupported-media"),
        (media.drawing()[:3000], 422, "bad-media"),
        (media.drawing(0), 422, "no-figure"),
        (media.encoded(Image.new("RGB", (800, 600), "white"), "png"), 422, "no-figure"),
        (media.encoded(Image.fromarray(skimage.data.brick()), "png"), 422, "no-figure"),
    ],
    ids=["text", "truncated", "paper", "white", "bricks"],
)
def test_what_is_no_drawing(api, bucket, body, status, code):
    before = bucket.keys()
    text = problem(api.animate(body), status, code)["detail"]
    problem(api.rig(body), status, code)
    if code == "no-figure":
        assert "no drawn figure found" in text
    assert bucket.keys() == before


def test_a_motion_that_there_is_not(api):
    assert (
        "known are cheer, dab"
        in problem(api.animate(media.drawing(), motions="moonwalk"), 422, "bad-option")["detail"]
    )


def test_a_renderer_that_dies_leaves_nothing(api, pod, bucket):
    before = bucket.keys()
    answers = []
    motions = "dab,jumping,zombie,walk,cheer,dance"

    def ask() -> None:
        answers.append(api.animate(media.drawing(), motions=motions, size="1000"))

    thread = threading.Thread(target=ask)
    thread.start()
    victim = drawing_renderer(pod)
    time.sleep(0.3)
    os.kill(victim.pid, signal.SIGKILL)
    thread.join()
    problem(answers[0], 422, "renderer-failed")
    assert bucket.keys() == before


def test_eight_people_at_once(api):
    answers = []

    def ask() -> None:
        answers.append(api.animate(media.drawing(), motions="dab", size="200"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    slowest = 0.0
    while any(thread.is_alive() for thread in threads):
        begun = time.monotonic()
        assert api.get("/healthz").status_code == 200
        slowest = max(slowest, time.monotonic() - begun)
        time.sleep(0.05)
    assert [answer.status_code for answer in answers] == [200] * 8, answers[0].text
    assert slowest < 1.0
