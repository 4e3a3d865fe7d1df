"""Photos through the whole pod: every format, every way in, nothing private out."""

from __future__ import annotations

import io

import numpy as np
import pytest
import requests
import skimage.data
from PIL import Image

from tests.service import media

WAYS = {
    "form": lambda api, body: api.blur(body),
    "base64": lambda api, body: api.blur_base64(body),
    "upload": lambda api, body: api.blur_uploaded(body),
}
VIEW = [
    *("id", "kind", "url", "report_url", "expires_at", "content_type"),
    *("width", "height", "frames", "faces", "timings"),
]


def blurred(answer: requests.Response) -> bytes:
    """The picture behind an answer's link."""
    assert answer.status_code == 200, answer.text
    result = requests.get(answer.json()["url"], timeout=30)
    assert result.status_code == 200
    assert result.headers["Content-Type"] == answer.json()["content_type"]
    return result.content


@pytest.mark.parametrize("kind", media.FORMATS)
@pytest.mark.parametrize("way", WAYS)
def test_a_face_disappears(api, kind, way):
    before = media.photo(kind)
    answer = WAYS[way](api, before)
    after, view = blurred(answer), answer.json()
    assert list(view) == VIEW
    assert (view["kind"], view["width"], view["height"], view["frames"]) == ("image", 512, 512, 1)
    assert media.pixels(after).shape == (512, 512, 3)
    change = media.change(before, after)
    assert change[media.FACE].mean() > 10
    assert change[media.SUIT].mean() < 4
    (face,) = view["faces"]
    x1, y1, x2, y2 = face["box"]
    assert x1 < 205 < 245 < x2
    assert y1 < 90 < 140 < y2
    assert face["score"] > 0.5
    assert np.shape(face["landmarks"]) == (5, 2)
    assert set(view["timings"]) == {
        *("decode_ms", "detect_ms", "blur_ms", "encode_ms", "store_ms", "total_ms")
    }


@pytest.mark.parametrize("kind", media.FORMATS)
def test_nothing_private_comes_out(api, kind):
    before = media.photo(kind)
    assert media.SECRET.encode() in before
    after = blurred(api.blur(before))
    assert media.SECRET.encode() not in after
    with Image.open(io.BytesIO(after)) as image:
        assert not image.getexif()
        assert "comment" not in image.info


def test_a_photo_comes_out_upright(api):
    lying = Image.fromarray(skimage.data.astronaut()[:, 100:400])
    body = media.encoded(lying, "jpeg", exif=media.secrets(orientation=6), quality=92)
    answer = api.blur(body)
    after = media.pixels(blurred(answer))
    assert (answer.json()["width"], answer.json()["height"]) == (512, 300)
    upright = np.rot90(np.asarray(lying), -1)
    assert after.shape == upright.shape
    assert np.abs(after.astype(int) - upright)[:, :100].mean() < 5  # the suit


def test_every_frame_of_an_animation_is_blurred(api):
    before = media.animation(5)
    answer = api.blur(before)
    after = blurred(answer)
    assert answer.json()["frames"] == 5
    assert {face["frame"] for face in answer.json()["faces"]} == set(range(5))
    with Image.open(io.BytesIO(before)) as old, Image.open(io.BytesIO(after)) as new:
        assert new.n_frames == 5
        for index in range(5):
            old.seek(index)
            new.seek(index)
            assert new.info["duration"] == 80
            a, b = (np.asarray(image.convert("RGB"), int) for image in (old, new))
            assert np.abs(a - b)[90:140, 205 - index : 245 - index].mean() > 10


def test_options_are_obeyed(api):
    for answer in (
        api.blur(media.photo("png"), style="solid", shape="box", scale="1.5"),
        api.blur_base64(media.photo("png"), style="solid", shape="box", scale=1.5),
        api.blur_uploaded(media.photo("png"), style="solid", shape="box", scale=1.5),
        api.call(
            "POST",
            "/v1/blur?style=solid&shape=box&scale=1.5",
            files={"file": media.photo("png")},
        ),
        api.call(
            "POST",
            "/v1/blur",
            data={
                **{"upload_id": api.upload(media.photo("png"))},
                **{"style": "solid", "shape": "box", "scale": "1.5"},
            },
        ),
    ):
        assert not media.pixels(blurred(answer))[media.FACE].any()
        options = requests.get(answer.json()["report_url"], timeout=30).json()["options"]
        assert options["style"] == "solid"
        assert options["scale"] == 1.5


def test_a_high_threshold_lets_a_face_be(api):
    answer = api.blur(media.photo("png"), threshold="0.95")
    assert answer.json()["faces"] == []
    assert answer.json()["left_bare"] >= 1
    assert media.change(media.photo("png"), blurred(answer)).max() == 0


def test_a_data_url_is_base64_too(api):
    blurred(api.blur_base64(media.photo(), prefix="data:image/jpeg;base64,"))


def test_a_picture_without_faces(api):
    bricks = media.encoded(Image.fromarray(skimage.data.brick()), "png")
    answer = api.blur(bricks)
    assert answer.json()["faces"] == []
    assert media.change(bricks, blurred(answer)).max() == 0


def test_the_report_tells_what_was_done(api):
    view = api.blur(media.photo()).json()
    answer = requests.get(view["report_url"], timeout=30)
    assert answer.headers["Content-Type"] == "application/json"
    report = answer.json()
    assert (report["id"], report["kind"], report["frames"]) == (view["id"], "image", 1)
    assert report["faces"] == view["faces"]
    assert report["options"]["style"] == "gaussian"
    assert set(report["timings"]) == {"decode_ms", "detect_ms", "blur_ms", "encode_ms"}


def test_a_body_full_of_line_ends_is_no_larger_than_it_is(api):
    """A form's parser holds a line end back, since a boundary may follow it."""
    blurred(api.blur(media.photo() + b"\r\n" * 200_000))


def test_an_upload_can_be_used_once(api):
    upload_id = api.upload(media.photo())
    ask = {"json": {"upload_id": upload_id}}
    assert api.call("POST", "/v1/blur", **ask).status_code == 200
    assert api.call("POST", "/v1/blur", **ask).status_code == 404
