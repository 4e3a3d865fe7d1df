"""Web pages of other origins, and what every answer tells browsers."""

from __future__ import annotations

import dataclasses
import functools

import pytest

from gateway.access.keys import digest_of, new_key
from gateway.settings import Settings, SettingsError
from tests.unit.http_fakes import app_of, refused, services_of

APP, OTHER = "https://app.example.org", "https://evil.example"
KEY = new_key()
SETTINGS = Settings(s3_endpoint="http://127.0.0.1:9", api_keys=f"ann:{digest_of(KEY)}")


@functools.cache
def client(origins):
    return app_of(
        services_of(dataclasses.replace(SETTINGS, cors_origins=origins, key_rate=""))
    ).test_client()


def preflight(client, origin, path="/v1/blur"):
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    return client.options(path, headers=asked | {"Access-Control-Request-Headers": "authorization"})


@pytest.mark.parametrize("path", ["/v1/blur", "/v1/jobs/x", "/", "/v1/rigs/x"])
def test_a_preflight_needs_no_key(path):
    answer = preflight(client(f"{APP}, capacitor://localhost"), APP, path)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == APP
    assert "Origin" in answer.headers["Vary"]
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
    assert "DELETE" in answer.headers["Access-Control-Allow-Methods"]
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_errors_can_be_read_too():
    for path, status in (("/v1/motions", 401), ("/nowhere", 404)):
        answer = client(APP).get(path, headers={"Origin": APP})
        assert answer.status_code == status
        assert answer.headers["Access-Control-Allow-Origin"] == APP
        assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]
        assert "Access-Control-Allow-Methods" not in answer.headers  # of preflights only


def test_all_origins():
    assert preflight(client("*"), OTHER).headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("origins", ["", APP])
@pytest.mark.parametrize("origin", [OTHER, "null", APP + ".evil.example", APP.upper(), ""])
def test_others_are_told_nothing(origins, origin):
    answer = preflight(client(origins), origin)
    assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_foreign_page_gets_nothing_done(site):
    """A form needs no preflight: its answer could not be read, but a job would have begun."""
    headers = {"Origin": OTHER, "Sec-Fetch-Site": site, "Authorization": f"Bearer {KEY}"}
    refused(client(APP).post("/v1/jobs", headers=headers), 403, "forbidden")
    for allowed, extra in ((APP, {"Origin": APP}), ("*", {}), ("", {"Sec-Fetch-Site": "none"})):
        answer = client(allowed).post("/v1/jobs", headers=headers | extra)
        refused(answer, 400, "bad-request")
    assert client("").get("/v1/motions", headers=headers).status_code == 200


@pytest.mark.parametrize("origin", [OTHER, "null", "http://pod.lan", "http://pod.lan:80", ""])
def test_a_foreign_page_is_known_by_its_origin_where_browsers_say_no_more(origin):
    """As over plain HTTP in a local network."""
    own = {"base_url": "http://pod.lan:8000", "data": b""}
    headers = {"Origin": origin, "Authorization": f"Bearer {KEY}"}
    refused(client("").post("/v1/jobs", headers=headers, **own), 403, "forbidden")
    assert client("").get("/v1/motions", headers=headers, **own).status_code == 200
    if origin:
        allowed = client("*" if origin == "null" else origin)
        refused(allowed.post("/v1/jobs", headers=headers, **own), 400, "bad-request")


@pytest.mark.parametrize(
    "headers", [{}, {"Origin": "http://pod.lan:8000"}, {"Origin": "HTTP://POD.lan:8000"}]
)
def test_the_own_page_and_programs_are_no_strangers(headers):
    headers = {**headers, "Authorization": f"Bearer {KEY}"}
    answer = client("").post("/v1/jobs", headers=headers, base_url="http://pod.lan:8000")
    refused(answer, 400, "bad-request")


@pytest.mark.parametrize(
    "wrong", ["app.example.org", "https://a.b/", "null", "https://A.b", "x://"]
)
def test_what_is_no_origin(wrong):
    with pytest.raises(SettingsError, match="CORS_ORIGINS"):
        Settings.from_env({"MASQUERADE_CORS_ORIGINS": f"{APP},{wrong}"})


ALL = ["/healthz", "/", "/page/page.js", "/docs", "/openapi.json", "/v1/motions", "/nowhere"]


@pytest.mark.parametrize("path", ALL)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_security_headers_are_on_every_answer(path, method):
    answer = client("").open(path, method=method)
    headers = answer.headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "camera=()" in headers["Permissions-Policy"]
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "Strict-Transport-Security" not in headers


def test_behind_tls_browsers_are_told_to_stay():
    for answer in (
        client("").get("/nowhere", headers={"X-Forwarded-Proto": "https"}),
        client("").get("/healthz", base_url="https://blur.example.org"),
    ):
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
