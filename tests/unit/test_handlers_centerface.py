"""CenterFace's geometry: pyramid, tiles, decoding, suppression; against slow references."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from handlers import centerface
from handlers.centerface import (
    HEAD_STRIDE,
    MAX_TILE_PIXELS,
    NETWORK_STRIDE,
    OVERLAP,
    Faces,
    decode,
    detect,
    grid,
    letterbox,
    nms,
    pyramid,
    spans,
    strips,
    tiles,
)
from handlers.runtime import Heads, Image

side = st.integers(1, 3000)


# Tiles


@settings(deadline=None)
@given(st.integers(1, 70_000), st.integers(1, 40), st.integers(0, 256))
def test_spans_cover_a_length_with_the_overlap_asked(length: int, parts: int, overlap: int) -> None:
    windows = spans(length, parts, overlap)
    assert windows[0][0] == 0
    assert windows[-1][1] == length
    assert len({stop - start for start, stop in windows}) == 1
    for (start, stop), (next_start, next_stop) in pairwise(windows):
        assert start <= next_start
        assert stop <= next_stop
        assert stop - next_start >= min(overlap, length)


@settings(deadline=None)
@given(st.integers(1, 66_000), st.integers(1, 66_000), st.integers(1, 64))
def test_grid_bounds_the_pixels_of_a_tile(height: int, width: int, at_least: int) -> None:
    assume(height * width <= 64_000_000)
    rows, cols = grid(height, width, at_least)
    assert height * width / (rows * cols) <= MAX_TILE_PIXELS
    h, w = (w[0][1] for w in (spans(height, rows), spans(width, cols)))
    if min(height, width) > 2 * OVERLAP:
        assert h * w < 2 * MAX_TILE_PIXELS


def test_grid_gives_every_core_a_tile_but_no_crumbs() -> None:
    assert math.prod(grid(720, 1280, 2)) >= 2
    assert math.prod(grid(720, 1280, 8)) >= 8
    assert math.prod(grid(100, 100, 64)) == 1


@settings(max_examples=25, deadline=None)
@given(side, side, st.integers(1, 6))
# Here tiles overlap by no more than they must.
@example(1152, 1152, 4)
def test_tiles_cover_every_pixel_and_their_cores_part_them(
    height: int, width: int, at_least: int
) -> None:
    assume(height * width < 4_000_000)
    picture = np.zeros((height, width, 3), np.uint8)
    levels: dict[float, list[centerface.Tile]] = {}
    for tile in tiles(0, picture, at_least):
        levels.setdefault(tile.scale, []).append(tile)
    assert min(levels) == 1
    for (scale, level), parts in zip(pyramid(picture), levels.values(), strict=True):
        assert parts[0].scale == scale
        h, w = level.shape[:2]
        seen, owned = np.zeros((h, w), int), np.zeros((h, w), int)
        x, y = np.arange(w) + 0.5, np.arange(h) + 0.5
        for t in parts:
            assert t.pixels.shape[0] % NETWORK_STRIDE == t.pixels.shape[1] % NETWORK_STRIDE == 0
            box = np.s_[t.y : t.y + t.pixels.shape[0], t.x : t.x + t.pixels.shape[1]]
            seen[box] += 1
            left, top, right, bottom = t.core
            core = ((y >= top) & (y < bottom))[:, None] & ((x >= left) & (x < right))[None]
            owned += core
            assert (core <= (seen > 0)).all()
        assert (seen > 0).all()
        # Where tiles overlap by more than asked, two own a strip: suppression sees to it.
        assert (owned >= 1).all()


def test_a_face_in_a_tile_s_core_is_not_close_to_its_edge() -> None:
    for tile in tiles(0, np.zeros((1400, 2600, 3), np.uint8), 4):
        if tile.scale == 1:
            left, top, right, bottom = tile.core
            h, w = tile.pixels.shape[:2]
            assert tile.x == 0 or left - tile.x >= OVERLAP / 2
            assert tile.y == 0 or top - tile.y >= OVERLAP / 2
            assert tile.x + w >= 2600 or tile.x + w - right >= OVERLAP / 2
            assert tile.y + h >= 1400 or tile.y + h - bottom >= OVERLAP / 2


def test_the_pyramid_goes_down_from_full_resolution_until_it_is_small() -> None:
    picture = np.zeros((3000, 4000, 3), np.uint8)
    picture[1500:, 2000:] = 200
    levels = list(pyramid(picture))
    assert levels[0][0] == 1
    assert levels[0][1] is picture
    assert max(levels[-1][1].shape) <= 1000
    for scale, level in levels:
        assert level.shape == (round(3000 / scale), round(4000 / scale), 3)
        rows, columns = np.nonzero(level[..., 0] > 100)
        assert abs(rows.min() * scale - 1500) <= scale
        assert abs(columns.min() * scale - 2000) <= scale
    small = np.zeros((90, 120, 3), np.uint8)
    assert len(list(pyramid(small))) == 1


@settings(deadline=None)
@given(st.integers(1, 90), st.integers(1, 90))
def test_letterbox_pads_with_black_at_the_far_sides(height: int, width: int) -> None:
    level = np.full((100, 100, 3), 9, np.uint8)
    out = letterbox(level, 5, 5 + height, 3, min(100, 3 + width))
    width = min(97, width)
    assert out.flags.c_contiguous
    assert out.shape[0] % NETWORK_STRIDE == out.shape[1] % NETWORK_STRIDE == 0
    assert out.shape[0] - height < NETWORK_STRIDE
    assert (out[:height, :width] == 9).all()
    assert out.sum() == 27 * height * width


# Decoding


def heads_of(h: int, w: int, seed: int) -> Heads:
    rng = np.random.default_rng(seed)
    heat = rng.random((1, h, w), np.float32) ** 4
    others = [rng.normal(0, 1, (n, h, w)).astype(np.float32) for n in (2, 2, 10)]
    return (heat, *others)


def decoded_slowly(heads: Heads, threshold: float) -> list[tuple[list[float], float, list[float]]]:
    """One cell at a time, as the paper's authors' demo does it."""
    heat, size, offset, landmark = heads
    faces = []
    for row in range(heat.shape[1]):
        for col in range(heat.shape[2]):
            score = float(heat[0, row, col])
            if score <= threshold:
                continue
            h = math.exp(size[0, row, col]) * HEAD_STRIDE
            w = math.exp(size[1, row, col]) * HEAD_STRIDE
            x = (col + float(offset[1, row, col]) + 0.5) * HEAD_STRIDE - w / 2
            y = (row + float(offset[0, row, col]) + 0.5) * HEAD_STRIDE - h / 2
            points = []
            for k in range(5):
                points += [landmark[2 * k + 1, row, col] * w + x, landmark[2 * k, row, col] * h + y]
            faces.append(([x, y, x + w, y + h], score, points))
    return faces


@pytest.mark.parametrize("seed", range(4))
def test_decoding_agrees_with_a_slow_reference(seed: int) -> None:
    heads = heads_of(9, 13, seed)
    faces, slow = decode(heads, 0.3), decoded_slowly(heads, 0.3)
    assert len(faces.scores) == len(slow) > 5
    assert faces.boxes.dtype == faces.scores.dtype == faces.landmarks.dtype == np.float32
    assert np.allclose(faces.boxes, [b for b, _, _ in slow], rtol=1e-4, atol=1e-2)
    assert np.allclose(faces.scores, [s for _, s, _ in slow])
    assert np.allclose(faces.landmarks.reshape(-1, 10), [p for *_, p in slow], rtol=1e-4, atol=0.05)


def test_decoding_nothing_gives_empty_arrays() -> None:
    faces = decode(heads_of(4, 4, 0), 1.0)
    assert faces.boxes.shape == (0, 4)
    assert faces.landmarks.shape == (0, 5, 2)


# Suppression


def suppressed_slowly(boxes: np.ndarray, scores: np.ndarray, iou: float, inside: float) -> set[int]:
    def area(b: np.ndarray) -> float:
        return max(0.0, b[2] - b[0]) * max(0.0, b[3] - b[1])

    def common(a: np.ndarray, b: np.ndarray) -> float:
        return area(np.array([*np.maximum(a[:2], b[:2]), *np.minimum(a[2:], b[2:])]))

    kept: list[int] = []
    for i in sorted(range(len(scores)), key=lambda i: -scores[i]):
        shares = [(common(boxes[i], boxes[k]), k) for k in kept]
        if not any(
            c >= iou * (area(boxes[i]) + area(boxes[k]) - c) or c >= inside * area(boxes[i])
            for c, k in shares
        ):
            kept.append(i)
    return set(kept)


@settings(deadline=None)
@given(st.integers(0, 25), st.integers(0, 9999), st.sampled_from([1, 40]))
def test_suppression_agrees_with_brute_force(count: int, seed: int, stretch: int) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.integers(-5, 60, (count, 2))
    boxes = np.concatenate([corner, corner + rng.integers(1, 40, (count, 2))], 1) * stretch
    scores = rng.permutation(count) / 30 + 0.1
    faces = Faces(
        boxes.astype(np.float32),
        scores.astype(np.float32),
        np.arange(count * 10, dtype=np.float32).reshape(count, 5, 2),
    )
    # Thresholds that no ratio of small integers hits.
    kept = nms(faces, iou=0.3001, contained=0.8003)
    expected = suppressed_slowly(boxes.astype(float), scores, 0.3001, 0.8003)
    assert set((kept.landmarks[:, 0, 0] / 10).astype(int).tolist()) == expected
    assert (np.diff(kept.scores) <= 0).all()


def test_a_face_is_compared_with_those_near_it_only() -> None:
    corner = np.stack(np.meshgrid(np.arange(0, 8000, 100), np.arange(0, 8000, 100)), 2)
    corner = corner.reshape(-1, 2).astype(np.float32)
    boxes = np.concatenate([corner, corner + 30], 1)
    within, first, last = strips(boxes)
    compared = sum(sum(map(len, within[a : b + 1])) for a, b in zip(first, last, strict=True))
    assert compared < len(boxes) ** 2 / 25
    for strip in range(len(within)):
        reach = {i for i in range(len(boxes)) if first[i] <= strip <= last[i]}
        assert set(within[strip].tolist()) == reach


def test_boxes_without_end_lie_in_all_strips() -> None:
    boxes = np.float32([[-np.inf, -np.inf, np.inf, np.inf], [0, 0, 9, 9], [70_000, 5, 70_009, 9]])
    within, first, last = strips(boxes)
    assert all(0 in strip for strip in within)
    assert last[0] == last[2] == len(within) - 1 and (first[1], last[1]) == (0, 0)


def test_a_patch_of_a_face_goes_with_the_face() -> None:
    boxes = np.float32([[0, 0, 100, 100], [20, 20, 40, 40], [200, 0, 220, 20]])
    faces = Faces(boxes, np.float32([0.9, 0.8, 0.3]), np.zeros((3, 5, 2), np.float32))
    assert nms(faces).scores.tolist() == pytest.approx([0.9, 0.3])


# The whole, on a network that sees white squares


class SquareNetwork:
    """Says "a face of 24 pixels" wherever a cell holds a white pixel; keeps its inputs' sizes."""

    device = "cpu"
    streams = 4

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    def run(self, images: Sequence[Image]) -> list[Heads]:
        return [self._one(image) for image in images]

    def _one(self, image: Image) -> Heads:
        h, w = image.shape[0] // HEAD_STRIDE, image.shape[1] // HEAD_STRIDE
        self.sizes.append(image.shape[:2])
        heads = tuple(np.zeros((n, h, w), np.float32) for n in (1, 2, 2, 10))
        white = image[..., 0] > 250
        rows, cols = np.nonzero(white)
        if len(rows):
            marks = {(r // HEAD_STRIDE, c // HEAD_STRIDE) for r, c in zip(rows, cols, strict=True)}
            for r, c in marks:
                heads[0][0, r, c] = 0.8
                heads[1][:, r, c] = math.log(24 / HEAD_STRIDE)
                heads[3][:, r, c] = 0.5
        return heads


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1799), st.integers(0, 2599))
def test_a_face_anywhere_is_found_once_whatever_tiles_it_lies_in(y: int, x: int) -> None:
    y, x = y // 4 * 4, x // 4 * 4
    picture = np.zeros((1800, 2600, 3), np.uint8)
    # Too small for the coarser levels to see.
    picture[y : y + 2, x : x + 2] = 255
    (faces,) = detect(SquareNetwork(), [picture], [0.5])
    assert len(faces.scores) == 1
    middle = (faces.boxes[0, :2] + faces.boxes[0, 2:]) / 2
    # At the border boxes are clipped to the picture.
    assert np.abs(middle - [x + 2, y + 2]).max() <= 6
    assert np.abs(faces.landmarks[0] - [x + 2, y + 2]).max() < 0.1
    assert (faces.boxes[0] >= 0).all()
    assert (faces.boxes[0] <= [2600, 1800, 2600, 1800]).all()


def test_faces_go_to_the_image_they_are_in_at_its_own_threshold() -> None:
    one, two, none = (np.zeros(size, np.uint8) for size in ((90, 70, 3), (64, 300, 3), (1, 1, 3)))
    one[40:44, 20:24] = 255
    two[20:24, 100:104] = two[40:44, 240:244] = 255
    found = detect(SquareNetwork(), [one, two, none, two], [0.5, 0.5, 0.5, 0.9])
    assert [len(f.scores) for f in found] == [1, 2, 0, 0]
    assert found[0].boxes[0].tolist() == pytest.approx([10, 30, 34, 54])


def test_one_image_keeps_all_streams_busy_and_a_batch_is_not_cut_up() -> None:
    alone, crowd = SquareNetwork(), SquareNetwork()
    picture = np.zeros((720, 1280, 3), np.uint8)
    detect(alone, [picture], [0.5])
    detect(crowd, [picture] * 4, [0.5] * 4)
    assert len(alone.sizes) > alone.streams
    assert len(crowd.sizes) < 4 * len(alone.sizes)


def test_detect_of_nothing_is_nothing() -> None:
    assert detect(SquareNetwork(), [], []) == []


def test_boxes_are_clipped_and_what_is_wholly_outside_is_dropped() -> None:
    class Outside(SquareNetwork):
        def _one(self, image: Image) -> Heads:
            heads = super()._one(image)
            heads[0][0, 2, 2], heads[1][:, 2, 2] = 0.9, math.log(5000)
            heads[0][0, 0, 0], heads[1][:, 0, 0] = 0.7, math.log(2)
            heads[2][:, 0, 0] = -9
            return heads

    (faces,) = detect(Outside(), [np.zeros((40, 60, 3), np.uint8)], [0.5])
    assert faces.boxes.tolist() == [[0, 0, 60, 40]]
