"""``/v1/classify`` by Flask's client: ways to send images, several of them, limits, faults."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gateway import deadline
from gateway.errors import ModelUnavailable, RendererFailed, StorageUnavailable
from gateway.fetch.faults import SourceBroken
from gateway.fetch.fetcher import Fetcher
from gateway.http import classifying
from gateway.http.base64_body import take_all_apart
from gateway.object_names import UPLOADS, new_token
from gateway.pipelines.review import Review
from gateway.settings import Settings
from gateway.storage import Storage
from tests.hostile import hostile_server
from tests.servers import keys, wait_for
from tests.unit.http_fakes import FakeJudge, app_of, page, services_of


def png(colour="red", size=(40, 30)):
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()


def text(data):
    return base64.b64encode(data).decode()


@pytest.fixture(scope="module")
def source():
    with hostile_server(png("blue")) as running:
        yield running


@pytest.fixture
def services():
    plain = Settings(s3_endpoint="http://127.0.0.1:9")
    return services_of(
        dataclasses.replace(
            plain,
            fetch_private_hosts="127.0.0.1",
            fetch_timeout=1.0,
            max_classify_images=4,
            max_image_bytes=100_000,
        )
    )


@pytest.fixture(autouse=True)
def in_no_hurry():
    yield
    deadline.start(float("inf"))


def refused(answer, status, code):
    assert (answer.status_code, answer.json["code"]) == (status, code), answer.json
    assert answer.content_type == "application/problem+json"
    return answer.json["detail"]


def names(view):
    return [row["name"] for row in view["categories"]]


def test_a_form(client):
    answer = client.post("/v1/classify", data={"file": (io.BytesIO(png()), "a.png")})
    assert answer.status_code == 200, answer.json
    view = answer.json
    assert view["categories"][0] == {"name": "red", "score": 1.0}
    assert view["model"] == {"name": "colours", "version": "1"}
    assert (view["width"], view["height"], view["frames"]) == (40, 30, 1)
    assert set(view["timings"]) == {"fetch_ms", "decode_ms", "model_ms", "total_ms"}


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_base64(client, prefix):
    answer = client.post("/v1/classify", json={"file": prefix + text(png("lime")), "top_k": 1})
    assert names(answer.json) == ["green"]


def test_a_url(client, source):
    for sent in (
        {"json": {"image_url": source.url("image")}},
        {"data": {"image_url": source.url("image")}},
        {"query_string": {"image_url": source.url("image")}, "json": {}},
    ):
        answer = client.post("/v1/classify", **sent)
        assert answer.status_code == 200, answer.json
        assert names(answer.json)[0] == "blue"


def test_options_in_body_and_query(client):
    body = {"file": text(png()), "threshold": 0.5}
    assert names(client.post("/v1/classify?top_k=3", json=body).json) == ["red"]
    refused(client.post("/v1/classify?top_k=0", json=body), 422, "bad-option")
    refused(client.post("/v1/classify", json={**body, "style": "x"}), 422, "bad-option")


def test_several_ways_at_once_in_order(client, source):
    files = [(io.BytesIO(png(colour)), "a.png") for colour in ("red", "lime")]
    form = {"file": files, "image_url": source.url("image"), "top_k": "1"}
    answer = client.post("/v1/classify", data=form)
    assert [names(view) for view in answer.json["images"]] == [["red"], ["green"], ["blue"]]
    assert answer.json["model"]["name"] == "colours"


def test_lists_in_json(client, source):
    body = {"files": [text(png()), text(png("lime"))], "image_urls": [source.url("image")]}
    answer = client.post("/v1/classify", json={**body, "top_k": 1})
    assert [names(view) for view in answer.json["images"]] == [["red"], ["green"], ["blue"]]
    one = client.post("/v1/classify", json={"files": [text(png())]})
    assert names(one.json["images"][0])[0] == "red"


def test_each_of_several_has_its_own_error(client, source):
    urls = [source.url(path) for path in ("image", "missing", "page")]
    answer = client.post("/v1/classify", json={"image_urls": [*urls, "http://10.0.0.1/"]})
    assert answer.status_code == 200
    good, *bad = answer.json["images"]
    assert names(good)[0] == "blue"
    codes = [view["error"]["code"] for view in bad]
    assert codes == ["source-status", "source-not-an-image", "forbidden-address"]
    assert set(bad[0]["error"]) == {"code", "title", "status", "detail"}


def test_a_fault_of_ours_fails_the_whole_call(client, services):
    services.classifier.fault = ModelUnavailable("away")
    body = {"files": [text(png()), text(png())]}
    answer = client.post("/v1/classify", json=body)
    refused(answer, 503, "model-unavailable")
    assert int(answer.headers["Retry-After"]) > 0


def test_a_request_whose_time_is_over_blames_none_of_its_images(client, source):
    urls = [source.url(path) for path in ("image", "silent")]
    for body in ({"image_urls": urls}, {"image_url": urls[1]}):
        answer = client.post("/v1/classify", json=body, headers={"X-Request-Timeout": "0.4"})
        refused(answer, 504, "deadline-exceeded")


def test_a_source_too_slow_is_one_images_error(client, source):
    urls = [source.url(path) for path in ("image", "silent")]
    answer = client.post("/v1/classify", json={"image_urls": urls})
    good, bad = answer.json["images"]
    assert names(good)[0] == "blue"
    assert bad["error"]["code"] == "source-timeout"


def test_a_renderer_that_dies_is_one_images_error(client, services):
    services.renderer.fault = RendererFailed("it died")
    refused(client.post("/v1/classify", json={"file": text(png())}), 422, "renderer-failed")
    answer = client.post("/v1/classify", json={"files": [text(png())]})
    assert answer.json["images"][0]["error"]["code"] == "renderer-failed"
    assert answer.json["model"] is None


AS_JSON = {"content_type": "application/json"}
BAD = {
    "nothing": ({"json": {}}, 400, "empty-upload"),
    "an empty form": ({"data": {}, "content_type": "multipart/form-data"}, 400, "empty-upload"),
    "an empty file": ({"data": {"file": (io.BytesIO(b""), "a")}}, 400, "empty-upload"),
    "empty base64": ({"json": {"file": ""}}, 400, "empty-upload"),
    "no base64": ({"json": {"file": "***"}}, 400, "bad-request"),
    "no base64 in a list": ({"json": {"files": ["AAAA", "***"]}}, 400, "bad-request"),
    "a number": ({"json": {"file": 3}}, 400, "bad-request"),
    "numbers": ({"json": {"files": [3]}}, 400, "bad-request"),
    "a mixed list": ({"json": {"files": ["AAAA", 3]}}, 400, "bad-request"),
    "no list": ({"json": {"files": "AAAA"}}, 400, "bad-request"),
    "file and files": ({"json": {"files": ["AAAA"], "file": "AAAA"}}, 400, "bad-request"),
    "a url of numbers": ({"json": {"image_url": 3}}, 400, "bad-request"),
    "urls of numbers": ({"json": {"image_urls": ["http://a.org", 3]}}, 400, "bad-request"),
    "urls that are text": ({"json": {"image_urls": "http://a.org"}}, 400, "bad-request"),
    "an open list": ({"data": b'{"files": ["AAAA"', **AS_JSON}, 400, "bad-request"),
    "broken json": ({"data": b'{"file', **AS_JSON}, 400, "bad-request"),
    "another type": ({"data": b"x", "content_type": "image/png"}, 415, "unsupported-media"),
    "text": ({"json": {"file": text(b"no image")}}, 415, "unsupported-media"),
    "a large one": ({"json": {"file": text(bytes(100_001))}}, 413, "too-large"),
    "five": ({"json": {"files": [text(png())] * 5}}, 413, "too-large"),
    "an upload beside": ({"json": {"upload_id": "x", "file": "AAAA"}}, 400, "bad-request"),
    "no upload": ({"json": {"upload_id": "x"}}, 404, "not-found"),
    "1x1": ({"json": {"file": text(png(size=(1, 1)))}}, 422, "image-too-small"),
    "30000x3": ({"json": {"file": text(png(size=(30000, 3)))}}, 422, "image-too-narrow"),
    "half": ({"json": {"file": text(png()[:60])}}, 422, "bad-media"),
    "ftp": ({"json": {"image_url": "ftp://a.org/a"}}, 422, "bad-url"),
    "userinfo": ({"json": {"image_url": "http://a.org@10.0.0.1/"}}, 422, "url-credentials"),
    "decimal": ({"json": {"image_url": "http://2130706433/"}}, 422, "ambiguous-host"),
    "metadata": ({"json": {"image_url": "http://169.254.169.254/"}}, 422, "forbidden-address"),
    "ssh": ({"json": {"image_url": "http://8.8.8.8:22/"}}, 422, "forbidden-port"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_requests(client, name):
    sent, status, code = BAD[name]
    refused(client.post("/v1/classify", **sent), status, code)


def test_millions_of_files_are_not_even_counted(client):
    body = b'{"files": [' + b",".join([b'"AA"'] * 20_000) + b"]}"
    refused(client.post("/v1/classify", data=body, **AS_JSON), 413, "too-large")


@given(st.lists(st.binary(max_size=40), max_size=5), st.text(max_size=10))
def test_lists_of_files_come_apart_as_json_would(files, other):
    body = json.dumps({"a": other, "files": [text(data) for data in files], "b": [other]})
    found, rest = take_all_apart(body.encode(), io.BytesIO, 5)
    assert [file.getvalue() for file in found] == files
    assert rest == {"a": other, "files": [], "b": [other]}


@pytest.mark.parametrize("path", ["/v1/rigs", "/v1/animate"])
def test_drawings_tell_what_the_review_saw(settings, path):
    services = services_of(settings)
    services.renderer.review = Review(FakeJudge(), {"red": 0.5}, rejects=False, side=32)
    client = app_of(services).test_client()
    answer = client.post(path, data={"file": (io.BytesIO(page(1)), "a.png")})
    assert answer.status_code in (200, 201), answer.json
    assert answer.json["review"]["flagged"] is True
    again = client.get(f"/v1/rigs/{answer.json['rig_id']}")
    assert again.json["review"] == answer.json["review"]


def test_a_rejected_drawing_leaves_nothing(settings):
    services = services_of(settings)
    services.renderer.review = Review(FakeJudge(), {"red": 0.5}, rejects=True, side=32)
    answer = (
        app_of(services)
        .test_client()
        .post("/v1/animate", data={"file": (io.BytesIO(page(1)), "a.png")})
    )
    refused(answer, 422, "content_rejected")
    assert keys(Storage(settings)) == []


def test_a_pod_without_a_classifier(services):
    services.classifier = None
    answer = app_of(services).test_client().post("/v1/classify", json={"file": text(png())})
    assert "no classifier" in refused(answer, 404, "not-found")


def test_all_places_are_taken(client, services):
    with services.gates.classifications.entered(services.gates.classifications.most):
        refused(client.post("/v1/classify", json={"file": text(png())}), 429, "busy")


def test_slow_sources_take_no_place_from_photos(settings, monkeypatch):
    """Many images that are waited for, and nothing for a renderer to do."""
    monkeypatch.setenv("WEB_CONCURRENCY", "1")
    services, go_on, waiting = services_of(settings), threading.Event(), []

    def slow(url, out):
        waiting.append(url)
        go_on.wait(20)
        raise SourceBroken("it broke off")

    services.fetcher.fetch = slow
    gates, app, urls = services.gates, app_of(services), ["http://example.org/"] * 16

    def ask(body):
        return app.test_client().post("/v1/classify", json=body)

    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(ask, {"image_urls": urls}) for _ in range(3)]
        wait_for(lambda: len(waiting) == 12)  # four at a time of each
        assert gates.fetches.inside == 48
        assert gates.photos.is_open() and gates.classifications.is_open()
        assert gates.classifications.inside == 0
        assert ask({"file": text(png())}).status_code == 200
        go_on.set()
        for each in asked:
            codes = [view["error"]["code"] for view in each.result().json["images"]]
            assert codes == ["source-broken"] * 16
    assert gates.fetches.inside == 0


def test_what_is_fetched_counts_until_it_is_classified(client, services):
    gates, seen = services.gates, []
    services.fetcher.fetch = lambda url, out: out.write(png())
    services.renderer.during = lambda: seen.append(gates.fetches.inside)
    for body, count in (
        ({"image_url": "http://example.org/"}, 1),
        ({"image_urls": ["http://example.org/"] * 3, "file": text(png())}, 3),
    ):
        assert client.post("/v1/classify", json=body).status_code == 200
        assert set(seen) == {count}
        assert gates.fetches.inside == 0
        seen.clear()


def test_after_a_fault_of_ours_no_more_images_are_fetched(settings, monkeypatch):
    services, begun, ended = services_of(settings), [], threading.Event()
    urls = [f"http://example.org/{n}" for n in range(16)]

    class Pool(ThreadPoolExecutor):
        def shutdown(self, *args, **kwargs):
            ended.set()
            super().shutdown(*args, **kwargs)

    def fetch(url, out):
        begun.append(url)
        if url != urls[0]:
            ended.wait(20)
        raise StorageUnavailable("away")

    monkeypatch.setattr(classifying, "ThreadPoolExecutor", Pool)

    services.fetcher.fetch = fetch
    answer = app_of(services).test_client().post("/v1/classify", json={"image_urls": urls})
    refused(answer, 503, "storage-unavailable")
    assert len(begun) <= 5  # four at a time, and one for the first that failed


def test_more_fetches_than_places_are_told_to_come_back(client, services, source):
    with services.gates.fetches.entered(services.gates.fetches.most):
        for body in ({"image_url": source.url("image")}, {"image_urls": [source.url("image")]}):
            answer = client.post("/v1/classify", json=body)
            refused(answer, 429, "busy")
            assert int(answer.headers["Retry-After"]) > 0
        assert client.post("/v1/classify", json={"file": text(png())}).status_code == 200


def test_only_hosts_of_the_list(services):
    settings = dataclasses.replace(services.settings, fetch_hosts="example.org")
    services.fetcher = Fetcher.from_settings(settings)
    answer = (
        app_of(services).test_client().post("/v1/classify", json={"image_url": "http://other.org/"})
    )
    refused(answer, 422, "forbidden-host")


def test_an_upload_is_gone_afterwards(settings):
    services = services_of(settings)
    client, storage = app_of(services).test_client(), Storage(settings)
    for body, status in ((png(), 200), (b"no image", 415)):
        upload_id = new_token()
        storage.put(UPLOADS + upload_id, io.BytesIO(body), "image/png")
        answer = client.post("/v1/classify", json={"upload_id": upload_id})
        assert answer.status_code == status, json.dumps(answer.json)
        assert keys(storage) == []
