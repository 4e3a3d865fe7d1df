"""``/v1/animate``, ``POST /`` and ``/v1/motions``: real S3 and animations, a played model."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import socket

import gevent
import pytest
import urllib3
import yaml
from PIL import Image

from gateway.drawings.motions import NAMES
from gateway.errors import BadMotion, ClientGone, DeadlineExceeded, ModelUnavailable
from gateway.http import animate, drawings, hangups
from gateway.http.rendering import Piece
from gateway.object_names import MOTIONS, RESULTS, RIGS, UPLOADS
from tests.servers import keys
from tests.unit.drawings_figures import MOTION_CONFIG, bvh, retarget_config
from tests.unit.http_fakes import FakeRigger, app_of, page, refused, services_of

VIEW = ["id", "rig_id", "animations", "expires_at", "timings"]
ITEM = ["url", "frames", "width", "height", "seconds", "content_type"]


@pytest.fixture
def services(settings):
    return services_of(dataclasses.replace(settings, result_ttl=3600))


def form(data=None, **fields):
    return {"file": (io.BytesIO(page() if data is None else data), "a.png"), "size": 64, **fields}


def fetched(url):
    answer = urllib3.request("GET", url, retries=False)
    assert answer.status == 200
    return answer


def done(answer):
    assert answer.status_code == 200, answer.json
    assert list(answer.json) == VIEW
    return answer.json


def test_a_drawing_is_animated_and_its_rig_kept(client, services):
    view = done(client.post("/v1/animate", data=form(motions="dab, jumping")))
    assert list(view["animations"]) == ["dab", "jumping"]
    for name, item in view["animations"].items():
        assert list(item) == ITEM
        answer = fetched(item["url"])
        assert answer.headers["Content-Type"] == item["content_type"] == "image/gif"
        assert f'filename="{name}.gif"' in answer.headers["Content-Disposition"]
        with Image.open(io.BytesIO(answer.data)) as gif:
            assert (gif.n_frames, gif.size) == (item["frames"], (item["width"], item["height"]))
        assert max(item["width"], item["height"]) == 64
        assert item["seconds"] == pytest.approx(item["frames"] / 30)
    assert {"decode_ms", "rig_ms", "mesh_ms", "animate_ms", "total_ms"} <= set(view["timings"])
    assert client.get(f"/v1/rigs/{view['rig_id']}").status_code == 200
    stored = keys(services.storage)
    assert {key.split("/")[0] + "/" for key in stored} == {RESULTS, RIGS}
    assert len(services.renderer.rigger.seen) == 1


def test_a_rig_is_animated_without_the_model(client, services):
    rig = client.post("/v1/rigs", data={"file": (io.BytesIO(page()), "a")}).json
    looks = len(services.renderer.rigger.seen)
    asked = {"rig_id": rig["rig_id"], "motions": ["walk"], "size": 64}
    first = done(client.post("/v1/animate", json=asked))
    assert first["rig_id"] == rig["rig_id"]
    assert "rig_ms" not in first["timings"]
    moved = {"joints": {"left_hand": [30, 20], "left_elbow": [50, 40]}}
    assert client.put(f"/v1/rigs/{rig['rig_id']}", json=moved).status_code == 200
    second = done(client.post("/v1/animate", data={**asked, "motions": "walk"}))
    assert fetched(first["animations"]["walk"]["url"]).data != (
        fetched(second["animations"]["walk"]["url"]).data
    )
    assert len(services.renderer.rigger.seen) == looks


def test_the_answer_is_the_same_from_the_rig_as_from_the_picture(client):
    view = done(client.post("/v1/animate", data=form(motions="walk")))
    again = done(
        client.post("/v1/animate", json={"rig_id": view["rig_id"], "motions": "walk", "size": 64})
    )
    a, b = view["animations"]["walk"], again["animations"]["walk"]
    assert [a[k] for k in ITEM[1:]] == [b[k] for k in ITEM[1:]]


@pytest.mark.parametrize(
    ("kind", "media"), [("mp4", "video/mp4"), ("webp", "image/webp"), ("gif", "image/gif")]
)
def test_formats_and_backgrounds(client, kind, media):
    more = {"format": kind, "background": "transparent"}
    view = done(client.post("/v1/animate", data=form(**more)))
    (item,) = view["animations"].values()
    assert fetched(item["url"]).headers["Content-Type"] == media
    if kind != "mp4":
        with Image.open(io.BytesIO(fetched(item["url"]).data)) as picture:
            assert picture.convert("RGBA").getpixel((0, 0))[3] == 0


def test_two_figures_move_together_when_asked_to(client, services):
    services.renderer.rigger = FakeRigger(2)
    one = done(client.post("/v1/animate", data=form(page(2))))["animations"]["dab"]
    both = done(client.post("/v1/animate", data=form(page(2), figures="all")))
    assert both["animations"]["dab"]["width"] / both["animations"]["dab"]["height"] > (
        one["width"] / one["height"]
    )
    assert len(client.get(f"/v1/rigs/{both['rig_id']}").json["figures"]) == 2


def test_the_call_that_phone_apps_make(client, services):
    text = base64.b64encode(page()).decode()
    answer = client.post("/", json={"file": text})
    assert answer.status_code == 200, answer.json
    assert list(answer.json) == ["dab", "jumping", "zombie"] == list(animate.PHONE_MOTIONS)
    for url in answer.json.values():
        assert fetched(url).data[:6] == b"GIF89a"
    assert all(key.startswith(RESULTS) for key in keys(services.storage))
    refused(client.post("/", json={}), 400, "empty-upload")
    assert client.get("/").mimetype == "text/html"


def test_an_upload_is_animated_and_deleted(client, services):
    ticket = client.post("/v1/uploads", json={}).json
    urllib3.request("PUT", ticket["url"], body=page(), retries=False)
    done(client.post("/v1/animate", json={"upload_id": ticket["upload_id"], "size": 64}))
    assert not [key for key in keys(services.storage) if key.startswith(UPLOADS)]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"motions": "moonwalk"}, f"unknown motion 'moonwalk'; known are {', '.join(NAMES)}"),
        ({"motions": "dab,a" + "b" * 31}, "unknown motion"),
        ({"motions": " , "}, "ask for 1 to 8 motions"),
        ({"motions": ",".join(f"{name}" for name in [*NAMES, "a" * 32])}, "ask for 1 to 8"),
        ({"format": "avi"}, "format must be"),
        ({"background": "#12"}, "background must be"),
        ({"size": "9000"}, "size must be"),
        ({"figures": "2"}, "figures must be first or all"),
        ({"colour": "red"}, "unknown option 'colour'; known are motions, format"),
    ],
)
def test_bad_options(client, services, more, says):
    assert says in refused(client.post("/v1/animate", data=form(**more)), 422, "bad-option")
    assert keys(services.storage) == []


@pytest.mark.parametrize("motions", [5, ["dab", 5], None, {"dab": 1}])
def test_motions_of_another_type(client, motions):
    asked = {"file": base64.b64encode(page()).decode(), "motions": motions}
    assert "names" in refused(client.post("/v1/animate", json=asked), 422, "bad-option")


def test_a_bad_option_deletes_the_upload(client, services):
    ticket = client.post("/v1/uploads", json={}).json
    urllib3.request("PUT", ticket["url"], body=page(), retries=False)
    asked = {"upload_id": ticket["upload_id"], "size": 1}
    refused(client.post("/v1/animate", json=asked), 422, "bad-option")
    assert keys(services.storage) == []


def test_one_source_only(client):
    both = {"rig_id": "a" * 32, "upload_id": "b" * 32}
    for answer in (
        client.post("/v1/animate", json=both),
        client.post("/v1/animate", data=both),
        client.post("/v1/animate", data=form(rig_id="a" * 32)),
        client.post("/v1/animate", data={"motions": "dab"}),
    ):
        assert "'upload_id' or 'rig_id'" in refused(answer, 400, "bad-request")


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (DeadlineExceeded("late"), 504, "deadline-exceeded"),
        (ModelUnavailable("down"), 503, "model-unavailable"),
        (BadMotion("bad"), 422, "bad-motion"),
    ],
)
def test_what_fails_half_way_leaves_nothing(client, services, fault, status, code):
    whole = services.renderer.drawing

    def broken(task):
        for piece in whole(task):
            yield piece
            if piece.head["kind"] == "animation":
                raise fault

    services.renderer.drawing = broken
    refused(client.post("/v1/animate", data=form(motions="dab,walk")), status, code)
    assert keys(services.storage) == []


def test_a_store_that_fails_half_way_leaves_nothing(client, services, monkeypatch):
    put = services.storage.put

    def failing(key, *args):
        if key.startswith(RESULTS):
            raise RuntimeError("full")
        put(key, *args)

    monkeypatch.setattr(services.storage, "put", failing)
    refused(client.post("/v1/animate", data=form()), 500, "internal")
    assert keys(services.storage) == []


def test_what_is_counted(client):
    done(client.post("/v1/animate", data=form()))
    text = client.get("/metrics").get_data(as_text=True)
    for line in (
        'masquerade_drawing_stage_seconds_count{stage="rig"}',
        'masquerade_drawing_stage_seconds_count{stage="animate"}',
        "masquerade_animations_total",
        "masquerade_drawings_in_flight 0.0",
    ):
        assert line in text, line


# motions


def own(**changed):
    """The three parts of a motion, as text fields."""
    parts = {
        "bvh": bvh(),
        "motion_config": yaml.safe_dump(MOTION_CONFIG),
        "retarget_config": yaml.safe_dump(retarget_config()),
    }
    return {**parts, **changed}


def test_the_library(client):
    motions = client.get("/v1/motions").json["motions"]
    assert [motion["motion"] for motion in motions] == list(NAMES)
    for motion in motions:
        assert 2 <= motion["seconds"] <= 6
        assert motion["frames"] == round(30 * motion["seconds"])


@pytest.mark.parametrize("as_files", [True, False])
def test_a_motion_of_ones_own(client, services, as_files):
    parts = own()
    if as_files:
        parts = {name: (io.BytesIO(text.encode()), name) for name, text in parts.items()}
    answer = client.post("/v1/motions", data=parts, content_type="multipart/form-data")
    assert answer.status_code == 201, answer.json
    motion = answer.json
    assert list(motion) == ["motion", "frames", "seconds", "kept_until"]
    assert (motion["frames"], motion["kept_until"][-1]) == (4, "Z")
    view = done(client.post("/v1/animate", data=form(motions=f"dab,{motion['motion']}")))
    item = view["animations"][motion["motion"]]
    assert item["frames"] == 4
    assert motion["motion"] not in item["url"]
    assert client.delete(f"/v1/motions/{motion['motion']}").status_code == 204
    assert not [key for key in keys(services.storage) if key.startswith(MOTIONS)]
    again = client.post("/v1/animate", data=form(motions=motion["motion"]))
    assert "unknown motion" in refused(again, 422, "bad-option")


@pytest.mark.parametrize(
    ("parts", "status", "code", "says"),
    [
        (own(bvh="hello"), 422, "bad-motion", "no MOTION section"),
        (own(bvh=bvh(moving="nan")), 422, "bad-motion", "no numbers"),
        (own(bvh=bvh(frames=0)), 422, "bad-motion", "no frames"),
        (own(bvh=bvh().replace("Frames: 4", "Frames: 1000000")), 413, "too-large", "1000000"),
        (own(motion_config="[1"), 422, "bad-motion", "not valid YAML"),
        (own(retarget_config="{}"), 422, "bad-motion", "is missing"),
        (own(bvh=bvh().replace("LHand", "Claw")), 422, "bad-motion", "LHand"),
        ({"bvh": bvh()}, 400, "bad-request", "motion_config is missing"),
        ({}, 400, "bad-request", "bvh is missing"),
        (own(bvh="x" * 300_000), 413, "too-large", "MiB"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_motion_is_refused_with_the_reason(client, services, parts, status, code, says):
    answer = client.post("/v1/motions", data=parts, content_type="multipart/form-data")
    assert says in refused(answer, status, code)
    assert keys(services.storage) == []


def test_bytes_that_are_no_text(client):
    parts = {**own(), "bvh": (io.BytesIO(b"\xff\xfe\x00"), "a.bvh")}
    refused(client.post("/v1/motions", data=parts), 422, "bad-motion")


def test_only_own_motions_can_be_deleted(client):
    for name in ("dab", "x", "../results"):
        assert client.delete(f"/v1/motions/{name}").status_code == 404


def test_a_motion_without_end_is_kept_for_ever_where_results_are(settings):
    services = services_of(dataclasses.replace(settings, result_ttl=0))
    answer = app_of(services).test_client().post("/v1/motions", data=own())
    assert json.loads(answer.data)["kept_until"] is None


def test_a_client_that_hangs_up_between_two_pieces_is_seen(services, monkeypatch):
    ours, theirs = socket.socketpair()

    def pieces(_task):
        theirs.close()
        yield Piece({"kind": "picture"}, io.BytesIO())

    monkeypatch.setattr(services.renderer, "drawing", pieces)
    monkeypatch.setattr(drawings, "_placed", lambda *_: gevent.sleep(5))
    told = hangups.connection.set(ours)
    try:
        with ours, pytest.raises(ClientGone):
            drawings._make(services, io.BytesIO(), "", [])
    finally:
        hangups.connection.reset(told)
