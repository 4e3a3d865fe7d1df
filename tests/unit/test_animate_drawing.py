"""The whole story: a figure and a motion become a file that players show rightly."""

from __future__ import annotations

import tracemalloc
from io import BytesIO

import av
import cv2
import numpy as np
import pytest
from drawings_figures import INK, JOINTS, MOTION_CONFIG, PAPER, bvh, man, retarget_config
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gateway.drawings.bvh import parse_bvh
from gateway.drawings.character import character
from gateway.drawings.motion_config import MotionConfig, RetargetConfig
from gateway.drawings.motions import NAMES, library_motion
from gateway.drawings.retarget import Motion
from gateway.errors import BadDrawing, BadOption, DeadlineExceeded
from gateway.media.animation import writer
from gateway.pipelines.animate_drawing import AnimateOptions, Animator, Placed

SMALL = 128


def _short(frames: int = 5, frame_time: str = "0.033333") -> Motion:
    return Motion(
        parse_bvh(bvh(frames, "40", frame_time)),
        MotionConfig.parse(MOTION_CONFIG),
        RetargetConfig.parse(retarget_config()),
    )


def _gif(body: bytes) -> tuple[list[np.ndarray], list[int]]:
    with Image.open(BytesIO(body)) as image:
        frames, delays = [], []
        for index in range(image.n_frames):
            image.seek(index)
            delays.append(image.info["duration"])
            frames.append(np.array(image.convert("RGBA")))
        assert image.info["loop"] == 0
    return frames, delays


def test_a_gif_shows_the_figure_on_its_own_paper():
    result = Animator([Placed(man())], AnimateOptions(size=SMALL)).animate(
        library_motion("jumping")
    )
    assert (result.file.content_type, result.file.extension) == ("image/gif", "gif")
    frames, delays = _gif(result.file.body)
    assert len(frames) == result.frames == 60
    assert frames[0].shape == (result.height, result.width, 4)
    assert max(result.width, result.height) == SMALL
    assert sum(delays) == pytest.approx(2000, abs=20) and result.seconds == pytest.approx(
        2, abs=1e-3
    )
    for frame in frames:
        border = np.concatenate([frame[0], frame[-1], frame[:, 0], frame[:, -1]])
        assert (border == [*PAPER[::-1], 255]).all()  # exact: the background's colour is kept
    ink = np.abs(frames[30][..., :3].astype(int) - INK[::-1]).max(axis=2) < 12
    assert 0.08 < ink.mean() < 0.6


def test_delays_add_up_although_a_gif_counts_hundredths():
    frames, delays = _gif(
        Animator([Placed(man())], AnimateOptions(size=SMALL)).animate(_short(60)).file.body
    )
    assert len(frames) == 60 and set(delays) == {30, 40}
    assert sum(delays) == pytest.approx(2000, abs=20)


def test_a_transparent_gif_is_clear_around_the_figure_in_every_frame():
    options = AnimateOptions(background="transparent", size=SMALL)
    frames, _ = _gif(Animator([Placed(man())], options).animate(_short(6)).file.body)
    for frame in frames:
        assert not frame[0, :, 3].any() and not frame[:, 0, 3].any()
        assert 0.1 < (frame[..., 3] == 255).mean() < 0.6
    moved = frames[0][..., 3] != frames[-1][..., 3]
    assert moved.any()  # and what moved away left nothing behind
    assert frames[-1][..., 3].astype(bool).sum() == pytest.approx(
        frames[0][..., 3].astype(bool).sum(), rel=0.1
    )


def test_a_webp_keeps_soft_transparency():
    options = AnimateOptions("webp", "transparent", SMALL)
    result = Animator([Placed(man())], options).animate(_short(6))
    with Image.open(BytesIO(result.file.body)) as image:
        assert (image.format, image.n_frames, image.size) == (
            "WEBP",
            6,
            (result.width, result.height),
        )
        alpha = np.array(image.convert("RGBA"))[..., 3]
    assert not alpha[0].any() and (alpha == 255).any()
    assert ((alpha > 40) & (alpha < 215)).any()


def test_an_mp4_plays_everywhere():
    result = Animator([Placed(man())], AnimateOptions("mp4", "#ff0000", SMALL)).animate(_short(7))
    body = result.file.body
    assert body.index(b"moov") < body.index(b"mdat")  # can start before it is all there
    with av.open(BytesIO(body)) as container:
        (stream,) = container.streams
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(stream)]
        assert float(stream.average_rate) == pytest.approx(30, rel=1e-3)
    assert len(frames) == 7 and frames[0].shape == (result.height, result.width, 3)
    assert np.abs(frames[3][2, 2].astype(int) - [255, 0, 0]).max() < 12


@pytest.mark.parametrize("kind", ["gif", "webp", "mp4"])
def test_one_frame_is_enough(kind):
    result = Animator([Placed(man())], AnimateOptions(kind, size=SMALL)).animate(_short(1))
    assert result.frames == 1 and len(result.file.body) > 200


@pytest.mark.parametrize("kind", ["gif", "webp", "mp4"])
def test_no_writer_holds_its_frames(kind):
    frame = np.full((256, 256, 4), 255, np.uint8)

    def most(count: int) -> int:
        """Bytes at the peak of writing ``count`` frames, each unlike the one before."""
        file = writer(kind, 1 / 30, [frame], transparent=False)
        tracemalloc.start()
        for index in range(count):
            frame[:, :4, :3] = index
            file.write(file.prepare(frame))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        file.finish()
        return peak

    assert most(60) < most(6) + frame.nbytes  # which 54 frames held would be 40 times over


def test_one_figure_serves_several_motions_and_sizes_are_exact():
    animator = Animator([Placed(man(scale=3))], AnimateOptions(size=(90, 110)), workers=1)
    for motion in (_short(3), library_motion("walk")):
        result = animator.animate(motion)
        frames, _ = _gif(result.file.body)
        assert frames[0].shape == (110, 90, 4) and len(frames) == result.frames


def test_thread_count_does_not_change_the_file():
    one, four = (
        Animator([Placed(man())], AnimateOptions(size=SMALL), workers=n)
        .animate(_short(20))
        .file.body
        for n in (1, 4)
    )
    assert one == four


def test_two_figures_dance_side_by_side():
    pair = [Placed(man()), Placed(man(scale=0.6), x=230, y=90)]
    result = Animator(pair, AnimateOptions(size=160)).animate(library_motion("cheer"))
    assert result.width == 160
    frames, _ = _gif(result.file.body)
    for frame in frames[::20]:
        ink = np.abs(frame[..., :3].astype(int) - INK[::-1]).max(axis=2) < 12
        columns = np.flatnonzero(ink.any(axis=0))
        assert columns[0] > 2 and columns[-1] < 157
        assert ink[:, :90].sum() > 1.8 * ink[:, 90:].sum() > 0


def test_wild_motions_still_fit_the_frame():
    rows = bvh(6).splitlines()
    for index in range(-6, 0):
        row = rows[index].split()
        row[0], row[1] = str((-1) ** index * 9e5), str(index * 1e5)
        rows[index] = " ".join(row)
    motion = Motion(
        parse_bvh("\n".join(rows)),
        MotionConfig.parse(MOTION_CONFIG),
        RetargetConfig.parse(retarget_config()),
    )
    assert Animator([Placed(man())], AnimateOptions(size=SMALL)).animate(motion).frames == 6


@settings(max_examples=8, deadline=None)
@given(st.data())
def test_any_scribble_is_animated_or_refused_clearly(data: st.DataObject):
    height, width = data.draw(st.integers(9, 150)), data.draw(st.integers(9, 150))
    mask = np.zeros((height, width), np.uint8)
    point = st.tuples(st.integers(-9, width + 9), st.integers(-9, height + 9))
    for _ in range(data.draw(st.integers(1, 7))):
        cv2.line(mask, data.draw(point), data.draw(point), 255, data.draw(st.integers(1, 9)))
    joints = {name: data.draw(point) for name in JOINTS}
    try:
        figure = character(np.full((height, width, 3), 90, np.uint8), mask, joints)
        animator = Animator([Placed(figure)], AnimateOptions(background="#00ff00", size=64))
    except BadDrawing:
        return
    result = animator.animate(library_motion(data.draw(st.sampled_from(NAMES))))
    frames, _ = _gif(result.file.body)
    for frame in frames:
        border = np.concatenate([frame[0], frame[-1], frame[:, 0], frame[:, -1]])
        assert (border == [0, 255, 0, 255]).all()  # in the frame, always
    assert any((frame[..., 1] < 200).any() for frame in frames)


def test_a_check_stops_the_work():
    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 5:
            raise DeadlineExceeded("too long")

    with pytest.raises(DeadlineExceeded):
        Animator([Placed(man())], AnimateOptions(size=SMALL)).animate(_short(300), check=check)
    assert len(calls) == 5


def test_paper_of_a_figure_that_fills_its_picture_is_white():
    figure = man()
    figure.mask[:] = True
    result = Animator([Placed(figure)], AnimateOptions(size=SMALL)).animate(_short(2))
    assert (_gif(result.file.body)[0][0][0, 0] == 255).all()


def test_options_are_parsed_from_text():
    assert AnimateOptions.parse({}) == AnimateOptions("gif", "paper", 500)
    assert AnimateOptions.parse(
        {"format": "mp4", "background": "#FFaa00", "size": "301"}
    ) == AnimateOptions("mp4", "#ffaa00", 300)
    assert AnimateOptions.parse({"size": "401x300"}).size == (400, 300)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"format": "avi"}, "gif, mp4, webp"),
        ({"format": ["gif"]}, "format must"),
        ({"background": "blue"}, "#rrggbb"),
        ({"background": "#12345g"}, "#rrggbb"),
        ({"size": "63"}, "64 to 1024"),
        ({"size": "1025"}, "64 to 1024"),
        ({"size": "-5"}, "64 to 1024"),
        ({"size": "500x5"}, "64 to 1024"),
        ({"size": "500x"}, "64 to 1024"),
        ({"size": "9" * 5000}, "64 to 1024"),
        ({"size": "²"}, "64 to 1024"),
        ({"speed": "2"}, "unknown option 'speed'"),
    ],
)
def test_wrong_options_are_named(raw: dict, says: str):
    with pytest.raises(BadOption, match=says):
        AnimateOptions.parse(raw)


def test_a_gif_of_many_colours_stays_close_to_them():
    rng = np.random.default_rng(0)
    smooth = np.zeros((60, 80, 4), np.uint8)
    smooth[..., 0], smooth[..., 1] = np.arange(80) * 3, np.arange(60)[:, None] * 4
    smooth[..., 2] = rng.integers(90, 110, (60, 80))
    smooth[..., 3] = 255
    file = writer("gif", 0.04, [smooth], transparent=False)
    file.write(file.prepare(smooth))
    (frame,), _ = _gif(file.finish().body)
    away = np.abs(frame[..., 2::-1].astype(int) - smooth[..., :3])
    assert away.mean() < 8 and away.max() < 45
