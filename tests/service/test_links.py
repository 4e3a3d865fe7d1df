"""What is stored and who can reach it: links that promise what they keep, and nothing public."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from tests.service import media
from tests.service.helpers import problem

MOMENT = "%Y-%m-%dT%H:%M:%SZ"


@pytest.fixture(scope="module")
def view(api):
    answer = api.blur(media.photo())
    assert answer.status_code == 200
    return answer.json()


def dies_at(url: str) -> datetime:
    """The moment from which the store refuses a presigned URL, as the URL itself says."""
    query = parse_qs(urlsplit(url).query)
    signed = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return signed + timedelta(seconds=int(query["X-Amz-Expires"][0]))


@pytest.mark.parametrize("name", ["url", "report_url"])
def test_a_link_lives_as_long_as_promised(view, name):
    promised = datetime.strptime(view["expires_at"], MOMENT).replace(tzinfo=UTC)
    assert promised <= dies_at(view[name]) <= promised + timedelta(seconds=2)
    left = promised - datetime.now(UTC)
    assert timedelta(minutes=50) < left <= timedelta(hours=1)


@pytest.mark.parametrize("name", ["url", "report_url"])
def test_only_the_link_as_it_was_signed_opens(view, name):
    url = view[name]
    assert requests.get(url, timeout=30).status_code == 200
    signature = parse_qs(urlsplit(url).query)["X-Amz-Signature"][0]
    wrong = ("0" if signature[0] != "0" else "1") + signature[1:]
    path = urlsplit(url).path
    for other in (
        url.replace(signature, wrong),
        url.replace("X-Amz-Expires=3600", "X-Amz-Expires=36000"),
        url.split("?")[0],
        url.replace(path, path.rsplit("/", 1)[0] + "/other.json"),
    ):
        assert other != url
        assert requests.get(other, timeout=30).status_code == 403
    assert requests.put(url, data=b"x", timeout=30).status_code == 403
    assert requests.delete(url, timeout=30).status_code == 403


def test_the_bucket_is_not_public(bucket, view):
    root = f"{bucket.endpoint}/{bucket.name}"
    assert requests.get(root, timeout=30).status_code == 403
    assert requests.get(f"{root}?list-type=2", timeout=30).status_code == 403
    assert requests.put(f"{root}/uploads/mine", data=b"x", timeout=30).status_code == 403


def test_objects_carry_no_name_of_the_user_s(api, bucket):
    body = media.photo()
    before = bucket.keys()
    api.call("POST", "/v1/blur", files={"file": ("KLARA-at-home.jpg", body)})
    made = bucket.keys() - before
    assert len(made) == 2
    for key in made:
        folder, token, name = key.split("/")
        assert folder == "results"
        assert len(token) == 32
        assert name in ("blurred.jpg", "report.json")


def test_how_a_result_is_handed_out(view):
    answer = requests.get(view["url"], timeout=30)
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.headers["Content-Disposition"] == 'inline; filename="blurred.jpg"'
    assert "no-store" in answer.headers["Cache-Control"]


def test_an_upload_s_ticket(api, bucket):
    answer = api.call("POST", "/v1/uploads", json={"size": 5, "content_type": "video/mp4"})
    assert answer.status_code == 201
    ticket = answer.json()
    assert set(ticket) == {"upload_id", "method", "url", "headers", "expires_at", "max_bytes"}
    assert (ticket["method"], ticket["max_bytes"]) == ("PUT", 5)
    assert ticket["headers"] == {"Content-Type": "video/mp4"}
    promised = datetime.strptime(ticket["expires_at"], MOMENT).replace(tzinfo=UTC)
    assert promised <= dies_at(ticket["url"])

    def put(body: bytes, **headers: str) -> int:
        return requests.put(ticket["url"], data=body, headers=headers, timeout=30).status_code

    assert put(b"other length", **ticket["headers"]) == 403
    assert put(b"12345", **{"Content-Type": "text/html"}) == 403
    assert bucket.keys("uploads/") == set()
    assert put(b"12345", **ticket["headers"]) == 200
    refused = api.call("POST", "/v1/blur", json={"upload_id": ticket["upload_id"]})
    problem(refused, 415, "unsupported-media")  # and it is deleted, as every test checks


def test_an_upload_may_be_unsized(api):
    ticket = api.call("POST", "/v1/uploads").json()
    assert ticket["headers"] == {}
    assert requests.put(ticket["url"], data=media.photo(), timeout=30).status_code == 200
    answer = api.call("POST", "/v1/blur", json={"upload_id": ticket["upload_id"]})
    assert answer.status_code == 200


def test_another_origin_s_page_may_upload_but_not_everyone_s(api):
    url = api.call("POST", "/v1/uploads").json()["url"]
    ours = requests.options(
        url,
        headers={"Origin": api.url, "Access-Control-Request-Method": "PUT"},
        timeout=30,
    )
    assert ours.headers["Access-Control-Allow-Origin"] == api.url
    other = requests.options(
        url,
        headers={"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "PUT"},
        timeout=30,
    )
    assert "Access-Control-Allow-Origin" not in other.headers
