"""Vegeta's targets and results: what we write is read back, and by vegeta where it is."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.hits import SECOND, Hit
from loadtest.targets import BadTargets, Target, post_form, read, write

HEADERS = st.dictionaries(
    st.from_regex(r"[A-Z][a-z]{0,8}(-[A-Z][a-z]{0,8})?", fullmatch=True),
    st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126)), min_size=1, max_size=3),
    max_size=3,
)
TARGETS = st.builds(
    Target,
    st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    st.from_regex(r"http://[a-z]{1,9}(:[1-9]\d{0,3})?/[a-z0-9/]{0,9}(\?[a-z]=\d)?", fullmatch=True),
    HEADERS,
    st.binary(max_size=300),
)
HITS = st.builds(
    Hit,
    attack=st.text(max_size=12),
    seq=st.integers(0, 2**63),
    code=st.sampled_from([0, 200, 202, 429, 503]),
    timestamp=st.integers(0, 4 * 10**9 * SECOND),
    latency=st.integers(0, 2**62),
    bytes_out=st.integers(0, 2**40),
    bytes_in=st.integers(0, 2**40),
    error=st.text(max_size=20),
    body=st.binary(max_size=100),
    method=st.sampled_from(["GET", "POST"]),
    url=st.just("http://a/b"),
    headers=HEADERS,
)
NEEDS_VEGETA = pytest.mark.skipif(not shutil.which("vegeta"), reason="vegeta is not installed")


@given(TARGETS)
def test_a_target_is_one_line_that_is_read_back(target):
    assert "\n" not in target.line()
    assert Target.read(target.line()) == target


@given(HITS)
def test_a_hit_is_one_line_that_is_read_back(hit):
    assert "\n" not in hit.line()
    assert Hit.read(hit.line()) == hit


def test_the_names_are_vegetas():
    """As its lib/target.schema.json and the Result type of lib/results.go have them."""
    target = json.loads(post_form("http://a/b", "x.jpg", b"\xff", motions="dab").line())
    assert set(target) == {"method", "url", "header", "body"}
    assert set(json.loads(Hit("a", 0, 200, 0, 1).line())) == {
        *("attack", "seq", "code", "timestamp", "latency", "bytes_out", "bytes_in", "error"),
        *("body", "method", "url", "headers"),
    }


@pytest.mark.parametrize(
    ("written", "nanoseconds"),
    [
        ("1970-01-01T00:00:01Z", SECOND),
        ("1970-01-01T00:00:01.5Z", SECOND + SECOND // 2),
        ("1970-01-01T01:00:00.000000001+01:00", 1),
        ("1969-12-31T22:30:00-01:30", 0),
    ],
)
def test_times_as_go_writes_them(written, nanoseconds):
    line = Hit("a", 0, 200, 0, 1).line().replace("1970-01-01T00:00:00.000000000Z", written)
    assert Hit.read(line).timestamp == nanoseconds


@pytest.mark.parametrize("line", ["{}", '{"timestamp": "now"}', "1", "nothing"])
def test_what_is_no_result(line):
    with pytest.raises((ValueError, TypeError)):
        Hit.read(line)


def test_a_file_of_targets(tmp_path):
    targets = [Target("GET", "http://a/"), Target("POST", "http://b/", body=b"1")]
    assert read(write(tmp_path / "targets.json", targets)) == targets


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("GET http://a/", "line 2: this is no JSON target"),
        ('{"method": "GET"}', "'url' is missing"),
        ('{"method": "GET", "url": "here"}', "method or URL is wrong"),
        ('{"method": "get", "url": "http://a/"}', "method or URL is wrong"),
        ('{"method": "POST", "url": "http://a/", "body": "%"}', "this is no JSON target"),
        ("[]", "this is no JSON target"),
    ],
)
def test_files_that_cannot_be_played(tmp_path, line, said):
    path = tmp_path / "targets.json"
    path.write_text(Target("GET", "http://a/").line() + "\n" + line)
    with pytest.raises(BadTargets, match=said):
        read(path)


def test_an_empty_file(tmp_path):
    with pytest.raises(BadTargets, match="holds no targets"):
        read(write(tmp_path / "targets.json", []))


@NEEDS_VEGETA
@pytest.mark.parametrize("report", [["report"], ["report", "-type=json"], ["plot"]])
def test_vegeta_reads_our_results(tmp_path, report):
    file = tmp_path / "hits.jsonl"
    codes = [200, 429, 503, 0, 200]
    hits = [Hit("a", n, code, n * SECOND, 7 + n) for n, code in enumerate(codes)]
    file.write_text("".join(hit.line() + "\n" for hit in hits))
    done = subprocess.run(["vegeta", *report, file], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if "-type=json" in report:
        said = json.loads(done.stdout)
        assert said["requests"] == 5
        assert said["status_codes"] == {"0": 1, "200": 2, "429": 1, "503": 1}
        assert said["latencies"]["max"] == 11


@NEEDS_VEGETA
def test_vegetas_results_are_read():
    line = Hit("a", 3, 429, 5 * SECOND + 70, 9, 1, 2, "429 Too Many", b"x", "POST", "http://a/b")
    done = subprocess.run(
        ["vegeta", "encode", "-to=json"], input=line.line() + "\n", capture_output=True, text=True
    )
    assert Hit.read(done.stdout) == line
