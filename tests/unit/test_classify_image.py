"""What a classifier is shown, what it is not, and the gate before photos and drawings."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from faces_fakes import PaintDetector
from PIL import Image

from gateway.errors import (
    BadMedia,
    BadOption,
    ModelFailed,
    ModelUnavailable,
    TooLarge,
    UnsupportedMedia,
)
from gateway.pipelines.blur_image import blur_image
from gateway.pipelines.classify_image import (
    MOST_SHOWN,
    ClassifyOptions,
    ImageTooNarrow,
    ImageTooSmall,
    highest,
    packed,
    sampled,
    shown,
)
from gateway.pipelines.options import BlurOptions
from gateway.pipelines.review import ContentRejected, Review
from gateway.pipelines.rig_drawing import rig_drawing
from gateway.settings import Settings, SettingsError
from tests.unit.http_fakes import LIMITS, FakeJudge, FakeRigger, page


def image(colour="red", size=(120, 90), kind="PNG", mode="RGB"):
    out = io.BytesIO()
    Image.new(mode, size, colour).save(out, kind)
    return out.getvalue()


def gif(*colours):
    frames = [Image.new("RGB", (64, 48), colour) for colour in colours]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], duration=80)
    return out.getvalue()


# What is shown


@pytest.mark.parametrize(
    ("size", "seen"),
    [((400, 200), (32, 64)), ((200, 400), (64, 32)), ((20, 30), (30, 20)), ((32, 32), (32, 32))],
)
def test_the_shorter_side_is_as_asked_and_nothing_grows(size, seen):
    picture, frames = shown(image(size=size), LIMITS, 32)
    assert (picture.width, picture.height) == size
    assert frames.shape == (1, *seen, 3)
    assert frames.dtype == np.uint8
    assert frames[0, 5, 5].tolist() == [0, 0, 255]
    assert np.array_equal(np.load(io.BytesIO(packed(frames))), frames)


def test_what_is_transparent_is_white():
    _, frames = shown(image((0, 0, 0, 0), mode="RGBA"), LIMITS, 32)
    assert (frames == 255).all()


@pytest.mark.parametrize(
    ("size", "error"),
    [
        ((1, 1), ImageTooSmall),
        ((7, 100), ImageTooSmall),
        ((30000, 3), ImageTooNarrow),
        ((3, 30000), ImageTooNarrow),
        ((170, 8), ImageTooNarrow),
    ],
)
def test_what_shows_nothing_has_its_own_error(size, error):
    with pytest.raises(error) as caught:
        shown(image(size=size), LIMITS, 32)
    assert type(caught.value) is error


def test_other_files_are_refused_as_everywhere():
    with pytest.raises(UnsupportedMedia):
        shown(b"<html>", LIMITS, 32)
    with pytest.raises(BadMedia):
        shown(image(kind="JPEG")[:300], LIMITS, 32)
    with pytest.raises(TooLarge):
        shown(image(size=(4000, 4000)), LIMITS, 32)


def test_an_animation_is_looked_at_from_end_to_end():
    picture, frames = shown(gif("red", "lime", "blue"), LIMITS, 32)
    assert picture.frame_count == 3
    assert [int(frame[5, 5].argmax()) for frame in frames] == [2, 1, 0]


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 600])
def test_frames_are_spread_evenly(count):
    chosen = sorted(sampled(count))
    assert chosen[0] == 0
    assert chosen[-1] == count - 1
    assert len(chosen) == min(count, MOST_SHOWN)
    assert np.diff(chosen).max(initial=0) <= -(-count // (MOST_SHOWN - 1))


# What is told


def test_options():
    scores = {"cat": 0.2, "dog": 0.7, "owl": 0.1}
    assert [row["name"] for row in ClassifyOptions.parse({}).told(scores)] == ["dog", "cat", "owl"]
    asked = ClassifyOptions.parse({"top_k": "2", "threshold": 0.15})
    assert asked.told(scores) == [{"name": "dog", "score": 0.7}, {"name": "cat", "score": 0.2}]
    assert ClassifyOptions.parse({"threshold": 0.9}).told(scores) == []


@pytest.mark.parametrize(
    "raw",
    [
        *({"top_k": v} for v in ("0", "x", 1.5, True, None, "1001", 10**400)),
        *({"threshold": v} for v in (-0.1, 1.1, "nan", [])),
        {"style": "solid"},
    ],
)
def test_bad_options(raw):
    with pytest.raises(BadOption):
        ClassifyOptions.parse(raw)


def test_what_shows_once_shows():
    assert highest([{"a": 0.1, "b": 0.9}, {"a": 0.8, "b": 0.2}]) == {"a": 0.8, "b": 0.9}


# The gate


def review(rejects, limit=0.5, judge=None):
    return Review(judge or FakeJudge(), {"red": limit}, rejects, side=32)


def blur(data, gate):
    return blur_image(data, BlurOptions(), PaintDetector(), LIMITS, gate)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_photos_pass_report_or_are_refused(kind):
    data = image("red", kind=kind)
    assert blur(data, None).review is None
    told = blur(data, review(rejects=False)).review
    assert told["flagged"] is True
    assert told["categories"]["red"] == pytest.approx(1, abs=0.01)
    assert told["model"] == {"name": "colours", "version": "1"}
    with pytest.raises(ContentRejected, match="red") as caught:
        blur(data, review(rejects=True))
    assert (caught.value.status, caught.value.code) == (422, "content_rejected")
    passed = blur(image("blue", kind=kind), review(rejects=True))
    assert passed.review["flagged"] is False
    assert "review_ms" in passed.timings
    assert passed.report["review"] == passed.review


def test_one_frame_of_an_animation_is_enough():
    with pytest.raises(ContentRejected):
        blur(gif("blue", "red", "blue"), review(rejects=True))
    assert blur(gif("blue", "lime"), review(rejects=True)).review["flagged"] is False


def test_drawings_pass_through_the_same_gate():
    rigged = rig_drawing(page(1), FakeRigger(1), LIMITS, review=review(rejects=False))
    assert rigged.review["flagged"] is True  # paper is bright
    assert "review_ms" in rigged.timings
    rigger = FakeRigger(1)
    with pytest.raises(ContentRejected):
        rig_drawing(page(1), rigger, LIMITS, review=review(rejects=True))
    assert rigger.seen == []
    assert rig_drawing(page(1), rigger, LIMITS).review is None


def test_without_its_model_a_gate_that_rejects_is_closed_and_a_reporting_one_open():
    judge = FakeJudge()
    judge.fault = ModelUnavailable("away")
    with pytest.raises(ModelUnavailable):
        blur(image(), review(rejects=True, judge=judge))
    assert blur(image(), review(rejects=False, judge=judge)).review["flagged"] is None


@pytest.mark.parametrize("size", [(9000, 3), (1, 5000), (1, 1)])
def test_stripes_are_looked_at_too(size):
    """A photo of any shape may be blurred; what the model is sent of it stays small."""
    judge = FakeJudge()
    assert blur(image("red", size), review(rejects=False, judge=judge)).review["flagged"] is True
    assert max(judge.seen[1:3]) <= 20 * 32
    assert min(judge.seen[1:3]) <= 32


def test_a_limit_on_what_the_model_never_tells_is_no_open_gate(caplog):
    gate = Review(FakeJudge(), {"red": 0.5, "rde": 0.5}, rejects=True, side=32)
    with pytest.raises(ModelFailed, match="set up wrongly"):
        blur(image("blue"), gate)
    assert "rde; the classifier tells blue, green, red" in caplog.text
    reporting = dataclasses.replace(gate, rejects=False)
    assert blur(image("blue"), reporting).review["flagged"] is None


def test_the_gate_that_settings_ask_for():
    assert Review.from_settings(Settings(), FakeJudge()) is None
    settings = Settings.from_env(
        {"MASQUERADE_REVIEW": "reject", "MASQUERADE_REVIEW_LIMITS": "nsfw:0.7, red:0.5"}
    )
    gate = Review.from_settings(settings, FakeJudge())
    assert (gate.limits, gate.rejects) == ({"nsfw": 0.7, "red": 0.5}, True)


@pytest.mark.parametrize(
    "env",
    [
        {"REVIEW": "maybe"},
        {"REVIEW_LIMITS": "nsfw"},
        {"REVIEW_LIMITS": "nsfw:2"},
        {"REVIEW_LIMITS": "nsfw:x"},
        {"REVIEW": "report", "CLASSIFIER": ""},
        {"REVIEW": "reject", "REVIEW_LIMITS": ","},
        {"FETCH_HOSTS": "http://example.org"},
        {"FETCH_PRIVATE_HOSTS": "a b"},
        {"CLASSIFY_SIDE": "4"},
    ],
)
def test_settings_that_make_no_sense(env):
    with pytest.raises(SettingsError):
        Settings.from_env({f"MASQUERADE_{name}": value for name, value in env.items()})
