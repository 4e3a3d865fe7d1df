"""Records between gateway and renderer: they come back as they were, or not at all."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.records import BadRecord, Records, append, record

HEADS = st.dictionaries(
    st.text(max_size=8).filter(lambda name: name != "size"),
    st.none() | st.integers(-(2**50), 2**50) | st.text(max_size=20) | st.booleans(),
    max_size=4,
)
STREAMS = st.lists(st.tuples(HEADS, st.binary(max_size=300)), max_size=5)


def written(items):
    return b"".join(record(head, body) for head, body in items)


def read(data, piece=10**9):
    source = io.BytesIO(data)
    stream = Records(lambda count: source.read(min(count, piece)))
    return [
        ({name: value for name, value in head.items() if name != "size"}, stream.body())
        for head in stream
    ]


@given(STREAMS, st.integers(1, 40))
def test_records_come_back_however_the_stream_is_cut_up(items, piece):
    assert read(written(items), piece) == items


@given(STREAMS)
def test_bodies_may_be_skipped(items):
    heads = list(Records(io.BytesIO(written(items)).read))
    assert [head["size"] for head in heads] == [len(body) for _, body in items]


@given(STREAMS.filter(bool), st.data())
def test_a_stream_that_ends_amid_a_record_is_noticed(items, data):
    whole = written(items)
    ends = {len(written(items[:n])) for n in range(len(items) + 1)}
    cut = data.draw(st.integers(0, len(whole)).filter(lambda at: at not in ends))
    with pytest.raises(BadRecord):
        read(whole[:cut])


HEADLESS = [b"[]", b"{}", b'"size"', b"\xff", b"{", b"[" * 100_000]
HEADLESS += [b'{"size": %b}' % size for size in (b"-5", b"Infinity", b"NaN", b"1.5", b'"x"', b"[]")]


@pytest.mark.parametrize(
    "data",
    [b"hello world", b"\xff\xff\xff\xff"]
    + [len(head).to_bytes(4, "big") + head + b"body" for head in HEADLESS],
)
def test_what_is_no_record(data):
    with pytest.raises(BadRecord):
        read(data)


def test_a_file_becomes_a_body_from_its_start():
    out, body = io.BytesIO(), io.BytesIO(b"x" * 10**6)
    body.read(5)
    append(out, {"kind": "photo"}, body)
    assert read(out.getvalue()) == [({"kind": "photo"}, b"x" * 10**6)]
