"""The base64 JSON body: decoded like a plain parser would, refused when it is wrong."""

from __future__ import annotations

import base64
import io
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadRequest
from gateway.http import base64_body
from gateway.http.base64_body import take_all_apart, take_apart


def taken(body):
    out = io.BytesIO()
    rest = take_apart(body if isinstance(body, bytes) else json.dumps(body).encode(), out)
    return rest, out.getvalue()


@given(
    data=st.binary(max_size=300),
    piece=st.integers(1, 40),
    wrap=st.sampled_from(["", "\n", "\r\n"]),
    slashes=st.booleans(),
    first=st.booleans(),
)
def test_any_bytes_come_back(data, piece, wrap, slashes, first):
    text = base64.b64encode(data).decode()
    text = wrap.join(text[i : i + 7] for i in range(0, len(text), 7))
    members = {"file": text, "style": "solid"} if first else {"style": "solid", "file": text}
    body = json.dumps(members)
    if slashes:
        body = body.replace("/", "\\/")
    before, base64_body._PIECE = base64_body._PIECE, piece
    try:
        rest, got = taken(body.encode())
    finally:
        base64_body._PIECE = before
    assert (rest, got) == ({"style": "solid"}, data)


def test_a_data_url_and_the_url_alphabet_and_missing_padding_are_taken():
    data = bytes(range(250)) + b"\xff\xfe\xfb"
    text = base64.urlsafe_b64encode(data).decode().rstrip("=")
    assert taken({"file": "data:image/jpeg;base64," + text})[1] == data


def test_no_file_is_no_error_here():
    assert taken({"upload_id": "x", "scale": 2}) == ({"upload_id": "x", "scale": 2}, b"")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"file"',
        b'{"file": "AAAA',
        b'{"file": "AAAA"',
        b'{"file": "A*AA"}',
        b'{"file": "AA==AAAA"}',
        b'{"file": "A"}',
        b'{"file": "\\u0041AAA"}',
        b'{"file": "AAAA", "file": "BBBB"}',
        b'{"file": "AAAA", "file": ""}',
        b'{"inner": {"file": "AAAA"}}',
        b'{"inner": {"file": "AAAA"}, "file": ""}',
        b'{"file": "data:\xff;base64,AAAA"}',
        b'{"file": "data:\x01;base64,AAAA"}',
        b'{"file": 7, "x": {"file": "AAAA"}}',
        b"\xff\xfe",
        b"[" * 10_000,
    ],
)
def test_what_is_wrong_is_refused(body):
    with pytest.raises(BadRequest):
        taken(body)


def test_a_key_inside_a_string_is_not_the_key():
    body = {"style": '"file": "AAAA', "file": base64.b64encode(b"ok").decode()}
    assert taken(body) == ({"style": '"file": "AAAA'}, b"ok")


@pytest.mark.parametrize(
    "start", [b'{"x":"', b'{"file"', b'{"file":', b'{"files":[', b'{"files":["AAAA"', b'{"file":""']
)
def test_the_event_loop_is_not_held_up_by_nothing(start):
    body = start + b" " * 30_000_000
    for read in (
        lambda: take_apart(body, io.BytesIO()),
        lambda: take_all_apart(body, io.BytesIO, 4),
    ):
        begun = time.process_time()
        with pytest.raises(BadRequest):
            read()
        assert time.process_time() - begun < 0.05


def test_the_rest_is_bounded():
    with pytest.raises(BadRequest, match="too long"):
        taken({"file": "AAAA", "junk": "x" * 100_000})
