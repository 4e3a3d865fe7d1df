"""Every route with no key, a wrong one, the right one and another's; what is made stays apart."""

from __future__ import annotations

import dataclasses
import io
import logging
import re
import uuid

import pytest
import urllib3

from gateway.access.keys import digest_of, new_key
from gateway.http import openapi
from gateway.logs import JsonFormatter
from gateway.object_names import MOTIONS, RESULTS, RIGS, UPLOADS, new_token
from gateway.settings import Settings
from tests.batch_standin import photo
from tests.servers import keys
from tests.unit.http_fakes import JPEG, MP4, app_of, form, page, refused, services_of
from tests.unit.test_http_animate import own

KEYS = {name: new_key() for name in ("ann", "ben")}
LINES = ",".join(f"{name}:{digest_of(key)}" for name, key in KEYS.items())
OPEN = {"/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/page/<path:name>"}


def routes():
    return sorted(
        (method, rule.rule)
        for rule in app_of().url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    )


ROUTES = routes()
LOCKED = [(m, rule) for m, rule in ROUTES if rule not in OPEN and (m, rule) != ("GET", "/")]


@pytest.fixture(scope="module")
def services(redis_url, s3_endpoint):
    """One for all tests: each leaves the bucket as it found it."""
    made = Settings(
        s3_endpoint=s3_endpoint, s3_bucket=f"access-{uuid.uuid4().hex}", redis_url=redis_url
    )
    services = services_of(dataclasses.replace(made, api_keys=LINES, key_rate=""))
    assert services.storage.ready() is None
    return services


@pytest.fixture(autouse=True)
def empty(services):
    yield
    services.storage.delete(keys(services.storage))


@pytest.fixture(scope="module")
def app(services):
    return app_of(services)


@pytest.fixture(scope="module")
def stranger(app):
    return app.test_client()


def with_key(app, key):
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    return client


@pytest.fixture(scope="module")
def ann(app):
    return with_key(app, KEYS["ann"])


@pytest.fixture(scope="module")
def ben(app):
    return with_key(app, KEYS["ben"])


def path(rule):
    return re.sub(r"<path:name>", "page.js", re.sub(r"<\w+>", new_token(), rule))


@pytest.mark.parametrize(("method", "rule"), LOCKED)
def test_a_locked_route(app, stranger, ann, method, rule):
    for client, says, error in (
        (stranger, "needs an API key", ""),
        (with_key(app, new_key()), "unknown", ', error="invalid_token"'),
        (with_key(app, digest_of(KEYS["ann"])), "unknown", ', error="invalid_token"'),
    ):
        answer = client.open(path(rule), method=method)
        assert says in refused(answer, 401, "unauthorized")
        assert answer.headers["WWW-Authenticate"] == f'Bearer realm="masquerade"{error}'
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    answer = ann.open(path(rule), method=method)
    assert answer.status_code != 401
    assert "WWW-Authenticate" not in answer.headers


@pytest.mark.parametrize(
    ("method", "rule"), [route for route in ROUTES if route not in LOCKED], ids=str
)
def test_an_open_route(stranger, method, rule):
    assert stranger.open(path(rule), method=method).status_code == 200


def test_the_document_says_which_are_open():
    said = {
        (verb.upper(), route)
        for route, item in openapi.document()["paths"].items()
        for verb, operation in item.items()
        if operation.get("security") == []
    }
    plain = {(m, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)) for m, rule in ROUTES}
    locked = {(m, re.sub(r"<(\w+)>", r"{\1}", rule)) for m, rule in LOCKED}
    assert said == plain - locked
    assert {tuple(way) for way in openapi.document()["security"]} == {("bearer",), ("header",), ()}


def test_routes_that_are_none_tell_nothing(stranger):
    refused(stranger.get("/nowhere"), 404, "not-found")
    refused(stranger.put("/v1/blur"), 405, "method-not-allowed")


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer {}"},
        {"Authorization": "bearer  {} "},
        {"X-API-Key": "{}"},
        {"Authorization": "Basic YTpi", "X-API-Key": "{}"},
    ],
)
def test_ways_to_send_a_key(stranger, headers):
    headers = {name: value.replace("{}", KEYS["ann"]) for name, value in headers.items()}
    assert stranger.get("/v1/motions", headers=headers).status_code == 200


@pytest.mark.parametrize("value", ["Bearer", "Bearer ", "Basic {}", "{}", "Bearer\t{}"])
def test_what_is_no_key(stranger, value):
    headers = {"Authorization": value.replace("{}", KEYS["ann"])}
    refused(stranger.get("/v1/motions", headers=headers), 401, "unauthorized")


def test_a_body_without_a_key_is_not_read(stranger, services):
    class Body(io.BytesIO):
        def read(self, *_):
            raise AssertionError("it was read")

    answer = stranger.post(
        "/v1/blur", input_stream=Body(), headers={"Content-Length": "100", "Content-Type": "a/b"}
    )
    refused(answer, 401, "unauthorized")


def test_a_key_is_never_logged_but_its_name_is(stranger, ann, caplog):
    wrong = new_key()
    with caplog.at_level(logging.DEBUG):
        ann.get("/v1/motions")
        stranger.get("/v1/motions", headers={"X-API-Key": wrong})
    lines = [JsonFormatter().format(record) for record in caplog.records]
    first, last = (line for line in lines if '"route"' in line)
    assert '"key": "ann"' in first and '"status": 401' in last
    for secret in (wrong, *KEYS.values()):
        assert secret not in "".join(lines) and digest_of(secret) not in "".join(lines)


# whose a thing is


def test_a_video_is_its_owner_s(ann, ben, services):
    job = ann.post("/v1/blur", data=form(MP4)).json
    where = f"/v1/jobs/{job['id']}"
    for method, way in (("GET", ""), ("GET", "/events"), ("DELETE", "")):
        refused(ben.open(where + way, method=method), 404, "not-found")
    assert ann.get(where).json["status"] == "queued"
    (original,) = keys(services.storage)
    assert original.startswith(UPLOADS) and "ann" not in original
    assert ann.delete(where).json["status"] == "cancelled"
    assert keys(services.storage) == []


def test_a_batch_is_its_owner_s(ann, ben, services):
    services.storage.put("in/a.jpg", io.BytesIO(photo()), "a/b")
    bucket = services.settings.s3_bucket
    wish = {"pipeline": "blur", "input": f"s3://{bucket}/in/", "output": f"s3://{bucket}/out/"}
    job = ann.post("/v1/jobs", json=wish).json
    where = f"/v1/jobs/{job['id']}"
    for method, way in (
        *(("GET", ""), ("GET", "/events"), ("GET", "/items"), ("POST", "/retry"), ("DELETE", "")),
    ):
        refused(ben.open(where + way, method=method), 404, "not-found")
    said = refused(ben.post("/v1/jobs", json=wish), 409, "conflict")
    assert job["id"] not in said
    assert ann.post("/v1/jobs", json=wish).json["id"] == job["id"]
    other = ben.post("/v1/jobs", json={**wish, "output": f"s3://{bucket}/ben/"}).json
    for client, theirs in ((ann, job), (ben, other)):
        assert [each["id"] for each in client.get("/v1/jobs").json["jobs"]] == [theirs["id"]]
        assert client.delete(f"/v1/jobs/{theirs['id']}").json["status"] == "cancelled"
        assert client.delete(f"/v1/jobs/{theirs['id']}").status_code == 200  # forgotten
        assert client.get("/v1/jobs").json["jobs"] == []


def test_an_upload_is_its_owner_s(ann, ben, services):
    ticket = ann.post("/v1/uploads", json={"size": len(JPEG)}).json
    assert urllib3.request("PUT", ticket["url"], body=JPEG, retries=False).status == 200
    asked = {"upload_id": ticket["upload_id"]}
    for route in ("/v1/blur", "/v1/rigs", "/v1/animate", "/v1/classify", "/"):
        refused(ben.post(route, json=asked), 404, "not-found")
    assert ben.post("/v1/blur", json={**asked, "style": "puce"}).status_code == 422
    assert len(keys(services.storage)) == 1  # it is still there, whatever ben asked for
    assert ann.post("/v1/blur", json=asked).status_code == 200
    assert all(key.startswith(RESULTS) for key in keys(services.storage))


def drawing(**fields):
    return {"file": (io.BytesIO(page()), "a.png"), **fields}


def test_a_rig_is_its_owner_s(ann, ben, services):
    rig = ann.post("/v1/rigs", data=drawing()).json["rig_id"]
    change = {"joints": {"left_hand": [20, 20]}}
    refused(ben.get(f"/v1/rigs/{rig}"), 404, "not-found")
    refused(ben.put(f"/v1/rigs/{rig}", json=change), 404, "not-found")
    refused(ben.delete(f"/v1/rigs/{rig}"), 404, "not-found")
    refused(ben.post("/v1/animate", json={"rig_id": rig, "size": 64}), 404, "not-found")
    assert ann.put(f"/v1/rigs/{rig}", json=change).status_code == 200
    assert ann.post("/v1/animate", json={"rig_id": rig, "size": 64}).status_code == 200
    assert ann.delete(f"/v1/rigs/{rig}").status_code == 204
    assert not [key for key in keys(services.storage) if key.startswith(RIGS)]


def test_a_motion_is_its_owner_s(ann, ben, services):
    made = ann.post("/v1/motions", data=own(), content_type="multipart/form-data").json["motion"]
    answer = ben.post("/v1/animate", data=drawing(motions=made, size=64))
    assert "unknown motion" in refused(answer, 422, "bad-option")
    assert ben.delete(f"/v1/motions/{made}").status_code == 204  # of ben's there is none
    assert ann.post("/v1/animate", data=drawing(motions=made, size=64)).status_code == 200
    assert ann.delete(f"/v1/motions/{made}").status_code == 204
    assert not [key for key in keys(services.storage) if key.startswith(MOTIONS)]


def test_what_was_made_without_keys_is_nobody_s(ann, services):
    open_app = app_of(services_of(dataclasses.replace(services.settings, api_keys="")))
    anyone = open_app.test_client()
    job, rig = anyone.post("/v1/blur", data=form(MP4)).json["id"], new_token()
    assert anyone.get(f"/v1/jobs/{job}").status_code == 200
    refused(ann.get(f"/v1/jobs/{job}"), 404, "not-found")
    theirs = ann.post("/v1/blur", data=form(MP4)).json["id"]
    refused(anyone.get(f"/v1/jobs/{theirs}"), 404, "not-found")
    refused(anyone.get(f"/v1/rigs/{rig}"), 404, "not-found")
