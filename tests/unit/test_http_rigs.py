"""``/v1/rigs`` by Flask's client: real S3, the renderer's real work, a played model."""

from __future__ import annotations

import base64
import dataclasses
import io
import json

import cv2
import numpy as np
import pytest
import urllib3

from gateway.drawings.character import PARENTS
from gateway.errors import DeadlineExceeded, ModelUnavailable, NoFigure, RendererFailed
from gateway.object_names import RIGS, UPLOADS
from gateway.storage import Storage
from tests.servers import free_port, keys
from tests.unit.http_fakes import FakeRigger, app_of, page, refused, services_of

VIEW = [
    *("rig_id", "width", "height", "figures"),
    *("texture_url", "mask_url", "overlay_url", "expires_at"),
]
FIGURE = ["box", "score", "joints", "size", "texture_url", "mask_url", "overlay_url"]


@pytest.fixture
def services(settings):
    return services_of(dataclasses.replace(settings, max_drawings_in_flight=1))


def form(data=None, **fields):
    return {"file": (io.BytesIO(page() if data is None else data), "monster.png"), **fields}


def picture(url):
    answer = urllib3.request("GET", url, retries=False)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "image/png"
    return cv2.imdecode(np.frombuffer(answer.data, np.uint8), cv2.IMREAD_UNCHANGED)


def rigged(client):
    answer = client.post("/v1/rigs", data=form())
    assert answer.status_code == 201, answer.json
    return answer.json


def test_a_drawing_is_rigged(client, services):
    answer = client.post("/v1/rigs", data=form())
    view = answer.json
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/v1/rigs/{view['rig_id']}"
    assert list(view) == VIEW
    assert (view["width"], view["height"]) == (480, 320)
    (figure,) = view["figures"]
    assert list(figure) == FIGURE
    assert set(figure["joints"]) == set(PARENTS)
    assert figure["score"] == 0.9
    assert figure["box"] == pytest.approx([40, 30, 240, 280], abs=1)
    width, height = figure["size"]
    for name in ("texture", "mask", "overlay"):
        assert view[f"{name}_url"] == figure[f"{name}_url"]
        assert picture(figure[f"{name}_url"]).shape[:2] == (height, width)
    assert not [key for key in keys(services.storage) if "monster" in key]


def test_a_rig_can_be_asked_for_again_and_deleted(client, services):
    view = rigged(client)
    path = f"/v1/rigs/{view['rig_id']}"
    again = client.get(path).json
    assert [again[name] for name in ("rig_id", "width")] == [view["rig_id"], 480]
    assert again["figures"][0]["joints"] == view["figures"][0]["joints"]
    assert client.delete(path).status_code == 204
    assert keys(services.storage) == []
    for call in (client.get, client.delete):
        assert "send the drawing again" in refused(call(path), 404, "not-found")


def test_base64_and_uploads_are_taken_and_an_upload_is_deleted(client, services):
    text = base64.b64encode(page()).decode()
    assert client.post("/v1/rigs", json={"file": text}).status_code == 201
    ticket = client.post("/v1/uploads", json={}).json
    urllib3.request("PUT", ticket["url"], body=page(), retries=False)
    asked = {"upload_id": ticket["upload_id"]}
    assert client.post("/v1/rigs", json=asked).status_code == 201
    assert not [key for key in keys(services.storage) if key.startswith(UPLOADS)]
    refused(client.post("/v1/rigs", json=asked), 404, "not-found")


def test_all_figures_are_rigged(client, services):
    services.renderer.rigger = FakeRigger(2)
    view = client.post("/v1/rigs", data=form(page(2))).json
    assert len(view["figures"]) == 2
    assert len(keys(services.storage)) == 7


@pytest.mark.parametrize("rig_id", ["x", "a" * 32, "0" * 32, "..%2f" * 6])
def test_an_unknown_rig(client, rig_id):
    path = f"/v1/rigs/{rig_id}"
    for answer in (
        client.get(path),
        client.put(path, json={"joints": {}}),
        client.delete(path),
        client.post("/v1/animate", json={"rig_id": rig_id}),
    ):
        refused(answer, 404, "not-found")


# corrections


def test_joints_are_corrected_without_a_model(client, services):
    view = rigged(client)
    looks = len(services.renderer.rigger.seen)
    before = picture(view["overlay_url"])
    path = f"/v1/rigs/{view['rig_id']}"
    answer = client.put(path, json={"joints": {"left_hand": [100.04, 40]}})
    assert answer.status_code == 200, answer.json
    assert list(answer.json) == VIEW
    joints = answer.json["figures"][0]["joints"]
    assert joints["left_hand"] == [100.0, 40.0]
    assert joints["right_hand"] == view["figures"][0]["joints"]["right_hand"]
    assert client.get(path).json["figures"][0]["joints"] == joints
    assert (picture(answer.json["overlay_url"]) != before).any()
    assert len(services.renderer.rigger.seen) == looks
    assert len(keys(services.storage)) == 4  # nothing of the old state
    assert urllib3.request("GET", view["overlay_url"], retries=False).status == 404


def test_a_mask_is_corrected(client):
    view = rigged(client)
    mask = picture(view["mask_url"])
    mask[:60] = 0
    png = cv2.imencode(".png", mask)[1].tobytes()
    path = f"/v1/rigs/{view['rig_id']}"
    for prefix in ("", "data:image/png;base64,"):
        sent = prefix + base64.b64encode(png).decode()
        answer = client.put(path, json={"mask": sent, "figure": 0})
        assert answer.status_code == 200, answer.json
        assert np.array_equal(picture(answer.json["mask_url"]), mask)
    assert answer.json["figures"][0]["joints"] == view["figures"][0]["joints"]


def test_the_second_figure_is_corrected(client, services):
    services.renderer.rigger = FakeRigger(2)
    view = client.post("/v1/rigs", data=form(page(2))).json
    asked = {"figure": 1, "joints": {"neck": [9, 9]}}
    after = client.put(f"/v1/rigs/{view['rig_id']}", json=asked).json["figures"]
    assert after[0]["joints"] == view["figures"][0]["joints"]
    assert after[1]["joints"]["neck"] == [9, 9]


@pytest.mark.parametrize(
    ("asked", "status", "code", "says"),
    [
        ({"joints": {"tail": [1, 1], "left_hand": [1, 1]}}, 422, "bad-option", "tail; known are"),
        ({"joints": {"neck": [-1, 5]}}, 422, "bad-option", "joint neck must be"),
        ({"joints": {"neck": [5, 1e9]}}, 422, "bad-option", "inside"),
        ({"joints": {"neck": [5]}}, 422, "bad-option", "inside"),
        ({"joints": {"neck": [5, "6"]}}, 422, "bad-option", "inside"),
        ({"joints": {"neck": [True, 6]}}, 422, "bad-option", "inside"),
        ({"joints": {"neck": None}}, 422, "bad-option", "inside"),
        ({"joints": [1]}, 422, "bad-option", "must be an object"),
        ({"joints": {}, "figure": 1}, 422, "bad-option", "from 0 to 0"),
        ({"joints": {}, "figure": -1}, 422, "bad-option", "from 0 to 0"),
        ({"joints": {}, "figure": "0"}, 422, "bad-option", "from 0 to 0"),
        ({"joints": {}, "tail": 1}, 400, "bad-request", "unknown member 'tail'"),
        ({}, 400, "bad-request", "JSON object"),
        ([], 400, "bad-request", "JSON object"),
        ({"mask": "%%%"}, 400, "bad-request", "base64"),
        ({"mask": 5}, 400, "bad-request", "base64"),
        ({"mask": ""}, 400, "empty-upload", "empty"),
        ({"mask": base64.b64encode(b"hello").decode()}, 415, "unsupported-media", "picture"),
        ({"mask": base64.b64encode(page(0)).decode()}, 422, "bad-drawing", "480×320"),
        ({"mask": "A" * 9_000_000}, 413, "too-large", "8 MiB"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_bad_correction_changes_nothing(client, services, asked, status, code, says):
    view = rigged(client)
    before = keys(services.storage)
    path = f"/v1/rigs/{view['rig_id']}"
    assert says in refused(client.put(path, json=asked), status, code)
    assert keys(services.storage) == before
    assert client.get(path).json["figures"][0]["joints"] == view["figures"][0]["joints"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_no_number_gets_in_that_is_none(client, number):
    path = f"/v1/rigs/{rigged(client)['rig_id']}"
    body = '{"joints": {"neck": [5, ' + number + "]}}"
    refused(client.put(path, data=body, content_type="application/json"), 422, "bad-option")


# failures


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"data": {"file": (io.BytesIO(b"text" * 99), "a")}}, 415, "unsupported-media"),
        ({"data": {"file": (io.BytesIO(b""), "a")}}, 400, "empty-upload"),
        ({"data": {"motions": "dab"}}, 400, "bad-request"),
        ({"json": {"rig_id": "a" * 32}}, 400, "empty-upload"),
        ({"json": {"file": base64.b64encode(page()[:300]).decode()}}, 422, "bad-media"),
        (
            {"json": {"file": base64.b64encode(page()).decode(), "size": 9}},
            422,
            "bad-option",
        ),
        ({"data": page(), "content_type": "image/png"}, 415, "unsupported-media"),
    ],
)
def test_bad_input_leaves_nothing(client, services, request_, status, code):
    refused(client.post("/v1/rigs", **request_), status, code)
    assert keys(services.storage) == []


def test_no_figure(client, services):
    services.renderer.rigger = FakeRigger(0)
    detail = refused(client.post("/v1/rigs", data=form()), 422, "no-figure")
    assert "no drawn figure found" in detail and "photograph" in detail
    assert keys(services.storage) == []


@pytest.mark.parametrize(
    ("fault", "kept"),
    [
        (NoFigure("none"), False),
        (RendererFailed("died"), False),
        (DeadlineExceeded("late"), False),
        (RuntimeError("secret"), False),
        (ModelUnavailable("down"), True),
    ],
)
def test_an_upload_stays_only_where_asking_again_can_help(client, services, fault, kept):
    ticket = client.post("/v1/uploads", json={}).json
    urllib3.request("PUT", ticket["url"], body=page(), retries=False)
    services.renderer.fault = fault
    answer = client.post("/v1/rigs", json={"upload_id": ticket["upload_id"]})
    assert answer.status_code >= 400
    assert b"secret" not in answer.data
    assert keys(services.storage) == ([UPLOADS + ticket["upload_id"]] if kept else [])


def test_what_was_written_before_a_failure_is_deleted(client, services, monkeypatch):
    put = services.storage.put

    def failing(key, *args):
        if key.endswith("rig.json"):
            raise RuntimeError("full")
        put(key, *args)

    monkeypatch.setattr(services.storage, "put", failing)
    refused(client.post("/v1/rigs", data=form()), 500, "internal")
    assert keys(services.storage) == []


def test_the_store_is_down(services):
    url = f"http://127.0.0.1:{free_port()}"
    services.storage = Storage(dataclasses.replace(services.settings, s3_endpoint=url))
    client = app_of(services).test_client()
    refused(client.post("/v1/rigs", data=form()), 503, "storage-unavailable")
    refused(client.get("/v1/rigs/" + "a" * 32), 503, "storage-unavailable")


def test_all_places_taken(services):
    app = app_of(services)
    inside = []
    services.renderer.during = lambda: inside.append(
        app.test_client().post("/v1/rigs", data=form())
    )
    assert app.test_client().post("/v1/rigs", data=form()).status_code == 201
    (answer,) = inside
    refused(answer, 429, "busy")
    assert answer.headers["Retry-After"]


def test_a_rig_says_nothing_about_its_photo(client, services):
    rigged(client)
    (name,) = [key for key in keys(services.storage) if key.endswith("rig.json")]
    assert name.startswith(RIGS)
    out = io.BytesIO()
    services.storage.fetch(name, out)
    assert set(json.loads(out.getvalue())) == {"id", "width", "height", "figures"}
