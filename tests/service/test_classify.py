"""Image categories through the real pod: OpenNSFW, hostile sources, the gate, one's own model."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import requests
import skimage.data
from PIL import Image

from gateway.models import Classifier
from model_store.build import build
from tests.hostile import Hostile, hostile_server
from tests.own_classifier import NAMES, folder
from tests.servers import free_port, process
from tests.service import media
from tests.service.helpers import PATIENCE, Api, becomes, problem
from tests.service.replica import Replica


@pytest.fixture(scope="module")
def source() -> Iterator[Hostile]:
    with hostile_server(media.photo()) as running:
        yield running


def classify(api: Api, **more: object) -> requests.Response:
    return api.call("POST", "/v1/classify", **more)


def score(view: dict, name: str = "nsfw") -> float:
    return next(row["score"] for row in view["categories"] if row["name"] == name)


# What it tells


@pytest.mark.parametrize("kind", media.FORMATS)
def test_every_format_as_a_file_and_as_base64(api, kind):
    body = media.photo(kind)
    sent = classify(api, files={"file": ("a.bin", body)})
    assert sent.status_code == 200, sent.text
    view = sent.json()
    assert {row["name"] for row in view["categories"]} == {"sfw", "nsfw"}
    assert sum(row["score"] for row in view["categories"]) == pytest.approx(1, abs=0.01)
    assert score(view) < 0.3
    assert view["model"] == {"name": "open_nsfw", "version": "1.0"}
    again = classify(api, json={"file": base64.b64encode(body).decode()})
    assert again.json()["categories"] == view["categories"]


def test_an_upload_and_a_url(api, source):
    plain = classify(api, files={"file": media.photo()}).json()["categories"]
    by_id = classify(api, json={"upload_id": api.upload(media.photo())})
    by_url = classify(api, json={"image_url": source.url("image")})
    assert by_id.json()["categories"] == by_url.json()["categories"] == plain


def test_several_at_once(api, source):
    urls = [source.url(path) for path in ("image", "page", "chunked")]
    answer = classify(api, json={"image_urls": urls, "top_k": 1})
    first, second, third = answer.json()["images"]
    assert first["categories"] == third["categories"]
    assert first["categories"][0]["name"] == "sfw"
    assert second["error"]["code"] == "source-not-an-image"


def test_it_is_told_in_metrics_and_readiness(api):
    classify(api, files={"file": media.photo()})
    assert 'masquerade_classify_stage_seconds_count{stage="model"}' in api.get("/metrics").text
    assert api.get("/readyz").json()["checks"]["model"]["ok"]


# What bad input gets

WRONG = {
    "missing": (422, "source-status"),
    "page": (415, "source-not-an-image"),
    "nothing": (415, "source-not-an-image"),
    "endless": (413, "source-too-large"),
    "huge": (413, "source-too-large"),
    "silent": (422, "source-timeout"),
    "drip/body": (422, "source-timeout"),
    "short": (422, "source-broken"),
    "garbage": (422, "source-broken"),
    "loop": (422, "source-redirects"),
    "to/http%3A%2F%2F127.0.0.2%2F": (422, "forbidden-address"),
    "to/http%3A%2F%2F169.254.169.254%2F": (422, "forbidden-address"),
    "to/http%3A%2F%2Flocalhost%2F": (422, "forbidden-address"),
    "to/http%3A%2F%2Fa%40127.0.0.1%2F": (422, "url-credentials"),
}


@pytest.mark.parametrize("path", WRONG)
def test_hostile_sources(api, source, path):
    begun = time.monotonic()
    problem(classify(api, json={"image_url": source.url(path)}), *WRONG[path])
    assert time.monotonic() - begun < 15


URLS = {
    "http://localhost:{}/image": "forbidden-address",
    "http://[::1]:{}/image": "forbidden-address",
    "http://[::ffff:127.0.0.1]:{}/image": "forbidden-address",
    "http://127.1:{}/image": "ambiguous-host",
    "http://0x7f000001:{}/image": "ambiguous-host",
    "http://2130706433:{}/image": "ambiguous-host",
    "http://127.0.0.1:{}@10.0.0.1/image": "url-credentials",
    "http://10.0.0.1:{}/image": "forbidden-address",
    "http://nowhere.invalid:{}/": "source-unknown-host",
    "file:///etc/passwd#{}": "bad-url",
}


@pytest.mark.parametrize("url", URLS)
def test_urls_that_lead_where_they_should_not(api, source, url):
    before = len(source.seen)
    problem(classify(api, json={"image_url": url.format(source.port)}), 422, URLS[url])
    assert len(source.seen) == before


def test_nobody_listens(api):
    url = f"http://127.0.0.1:{free_port()}/"
    problem(classify(api, json={"image_url": url}), 422, "source-unreachable")


@pytest.mark.parametrize(
    ("size", "code"), [((1, 1), "image-too-small"), ((30000, 3), "image-too-narrow")]
)
def test_images_that_show_nothing(api, size, code):
    body = media.encoded(Image.new("RGB", size), "PNG")
    problem(classify(api, files={"file": body}), 422, code)


def test_slow_sources_hold_nobody_else_up(api, source):
    """While twelve sources are silent, health and other classifications are as quick as ever."""
    urls = [source.url("silent")] * 12
    answers: list[requests.Response] = []
    waiting = threading.Thread(
        target=lambda: answers.append(classify(api, json={"image_urls": urls}))
    )
    waiting.start()
    time.sleep(0.3)
    begun = time.monotonic()
    assert api.get("/healthz").status_code == 200
    assert classify(api, files={"file": media.photo()}).status_code == 200
    assert waiting.is_alive()
    assert time.monotonic() - begun < 4
    waiting.join(PATIENCE)
    codes = [view["error"]["code"] for view in answers[0].json()["images"]]
    assert codes == ["source-timeout"] * 12


# The gate


@contextlib.contextmanager
def gated(pod, mode: str, limits: str) -> Iterator[Api]:
    """The pod's gateway and renderer once more, with a gate before photos and drawings."""
    gate = {"MASQUERADE_REVIEW": mode, "MASQUERADE_REVIEW_LIMITS": limits}
    replica = Replica(pod, gate)
    try:
        replica.start()
        yield Api(replica.url)
    finally:
        replica.stop()


def test_the_gate_rejects(api, pod, bucket):
    """With a limit of almost nothing everything is over it: nothing is made, nothing stays."""
    before = bucket.keys()
    with gated(pod, "reject", "nsfw:0.0001") as strict:
        for answer in (
            strict.blur(media.photo()),
            strict.blur_uploaded(media.photo()),
            strict.blur(media.animation(3)),
            strict.rig(media.photo()),
            strict.animate(media.photo()),
            strict.call("POST", "/", files={"file": ("a.jpg", media.photo())}),
        ):
            problem(answer, 422, "content_rejected")
    becomes(bucket.keys, before, "objects in the bucket")


def test_the_gate_reports_and_lets_pass(pod):
    with gated(pod, "report", "nsfw:0.0001") as open_gate:
        view = open_gate.blur(media.photo())
        assert view.status_code == 200, view.text
        review = view.json()["review"]
        assert review["flagged"] is True
        assert set(review["categories"]) == {"sfw", "nsfw"}
        assert review["model"]["name"] == "open_nsfw"
        assert "review_ms" in view.json()["timings"]


def test_without_a_gate_nothing_is_told(api):
    assert "review" not in api.blur(media.photo()).json()


# One's own classifier


def test_ones_own_classifier_in_torchserve(api, tmp_path):
    """Manifest, weights, ``make models``, done: a second model, made here, asked by our client."""
    build(folder(tmp_path / "models"), tmp_path)
    ports = {name: free_port() for name in ("INFERENCE", "MANAGEMENT", "METRICS")}
    env = {f"TS_{name}_ADDRESS": f"http://127.0.0.1:{port}" for name, port in ports.items()}
    env |= {f"TS_GRPC_{name}_PORT": str(free_port()) for name in ("INFERENCE", "MANAGEMENT")}
    env |= {"TS_DISABLE_TOKEN_AUTHORIZATION": "true", "MODEL_STORE": str(tmp_path)}
    env |= {"PYTHONPATH": os.pathsep.join(sys.path)}
    named = type("Colours", (Classifier,), {"name": "colours"})
    model = named(env["TS_INFERENCE_ADDRESS"], env["TS_MANAGEMENT_ADDRESS"])
    command = [sys.executable, "-m", "serving.start", "--home", str(tmp_path / "home")]
    log = tmp_path / "torchserve.log"
    with process(command, lambda: model.ready() is None, log, env, stop=signal.SIGTERM):
        frames = np.zeros((3, 60, 80, 3), np.uint8)
        for index in range(3):
            frames[index, ..., 2 - index] = 255
        found = model.classify(frames)
    assert [max(one.scores, key=one.scores.get) for one in found] == list(NAMES)
    assert found[0].model == {"name": "colours", "version": "2.1"}


def test_bytes_and_pixels_give_the_same_scores(api):
    """A large photo is shrunk on the way to the model; its scores hardly move."""
    photo = skimage.data.astronaut()
    large = cv2.resize(photo, (2048, 2048), interpolation=cv2.INTER_CUBIC)
    views = []
    for pixels in (photo, large):
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG")
        views.append(classify(api, files={"file": out.getvalue()}).json())
    assert score(views[0]) == pytest.approx(score(views[1]), abs=0.02)
