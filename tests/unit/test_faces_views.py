"""Views: which a picture has, and what they show; turned ones lead back."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from faces_fakes import PaintDetector, astronaut, paint, painted_faces, wallpaper

from gateway.faces.boxes import Detections
from gateway.faces.views import Turn, bgr8, over, stretched, views, within
from gateway.pipelines.look import LARGEST_LOOK, look


def names(picture: np.ndarray) -> list[str]:
    return [name for name, _ in views(picture)]


def with_alpha(picture: np.ndarray, alpha: Any) -> np.ndarray:
    out = cv2.cvtColor(picture, cv2.COLOR_BGR2BGRA)
    out[..., 3] = alpha
    return out


def test_usual_pictures_have_one_view_their_colours() -> None:
    picture = astronaut()
    for usual in (picture, picture[..., 1], with_alpha(picture, 255)):
        ((name, view),) = views(usual)
        assert name == "colours"
        assert np.array_equal(view, bgr8(usual))
    deep = picture.astype(np.uint16) * 257
    assert names(deep) == ["colours"]


def test_what_shines_through_is_seen_on_white_and_on_black() -> None:
    picture = with_alpha(astronaut(), 100)
    assert names(picture) == ["colours", "on white", "on black"]
    picture[:100] = 0
    picture[100:, :, 3] = 255
    assert names(picture) == ["colours", "on white"]
    assert (dict(views(picture))["on white"][:100] == 255).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("ground", [0, 1])
def test_over_is_the_mean_by_opacity(ground: int, dtype: Any) -> None:
    top = np.iinfo(dtype).max
    picture = np.random.default_rng(0).integers(0, top, (700, 5, 4), dtype, endpoint=True)
    alpha = picture[..., 3:] / top
    wanted = picture[..., :3] * alpha + ground * top * (1 - alpha)
    assert np.abs(over(picture, ground * top) - wanted).max() <= 0.51


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_few_levels_are_stretched_from_their_full_depth(dtype: Any) -> None:
    top = np.iinfo(dtype).max
    few = (top // 2 + astronaut() * (top / 255 / 10)).astype(dtype)
    few[0, :3] = top  # stray pixels do not count
    seen = dict(views(few))
    assert list(seen) == ["colours", "colours stretched"]
    error = seen["colours stretched"].astype(int) - astronaut()
    assert np.abs(error).mean() < (6 if dtype == np.uint8 else 3)
    assert names(np.full((50, 60), 7, dtype)) == ["colours"]


def test_stretched_spreads_what_lies_between_and_clips_the_rest() -> None:
    picture = np.uint16([[90, 100, 150, 200, 999]])
    assert stretched(picture, 100, 200)[0, :, 0].tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("quarters", range(4))
def test_what_is_found_in_a_turned_view_is_led_back(quarters: int) -> None:
    view = paint(wallpaper(90, 140), (30, 20, 62, 48))
    turn = Turn(quarters)
    there = painted_faces(turn.picture(view))
    back, here = turn.back(there, 140, 90), painted_faces(view)
    assert back.boxes == pytest.approx(here.boxes)
    assert back.landmarks == pytest.approx(here.landmarks)
    none = turn.back(Detections.of([], [], []), 140, 90)
    assert none.boxes.shape == (0, 4)
    assert none.landmarks.shape == (0, 5, 2)


def test_within_shrinks_only_what_is_larger() -> None:
    view = wallpaper(90, 140)
    assert within(view, 140) is view
    assert within(view, 70).shape == (45, 70, 3)


class OneWayUp(PaintDetector):
    """Sees painted faces, with ``score``, only in frames as wide and high as ``shape``."""

    def __init__(self, shape: tuple[int, int], score: float) -> None:
        super().__init__()
        self._shape, self._score = shape, score

    def _find(self, kind: str, picture: np.ndarray, threshold: float) -> Detections:
        found = super()._find(kind, picture, threshold)
        if abs(picture.shape[0] * self._shape[1] - picture.shape[1] * self._shape[0]) > 2000:
            return Detections.of([], [], [])
        return Detections(found.boxes, found.scores * 0 + self._score, found.landmarks)


def seen(detector: PaintDetector, picture: np.ndarray) -> Detections:
    return look(detector, picture, 0.2, lambda view: detector.detect_frames(view[None], 0.2)[0])


def test_a_surely_found_face_costs_no_second_look() -> None:
    detector = OneWayUp((600, 900), 0.9)
    assert len(seen(detector, paint(wallpaper(600, 900), (300, 200, 420, 350)))) == 1
    assert len(detector.calls) == 1


def test_unsure_pictures_are_looked_at_small_and_all_ways_up() -> None:
    detector = PaintDetector()
    assert len(seen(detector, wallpaper(1500, 2000))) == 0
    first, *others = [shape[:2] for _, shape, _ in detector.calls]
    assert first == (1500, 2000)
    assert sorted(others) == [(480, 640), (480, 640), (640, 480), (640, 480)]
    assert LARGEST_LOOK == 640


def test_the_way_up_that_shows_more_is_looked_at_closely() -> None:
    picture = paint(wallpaper(600, 900), (300, 200, 420, 350))
    detector = OneWayUp((900, 600), 0.7)
    found = seen(detector, picture)
    assert len(detector.calls) == 6
    assert detector.calls[-1][1][:2] == (900, 600)
    assert len(found) == 1
    assert found.boxes[0] == pytest.approx((300, 200, 420, 350), abs=4)


def test_weak_hints_the_other_way_up_hide_nothing() -> None:
    picture = paint(wallpaper(600, 900), (300, 200, 420, 350))
    assert len(seen(OneWayUp((900, 600), 0.4), picture)) == 0
