"""The fast solver against a slow, explicit one, and what "as rigid as possible" promises."""

from __future__ import annotations

import numpy as np
import pytest
from drawings_figures import man
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.drawings import mesh
from gateway.drawings.arap import CHUNK, PIN_WEIGHT, Arap


def reference(vertices, triangles, weights, pins):
    """Igarashi & Igarashi 2009 as printed: real matrices, one row at a time, one frame."""
    edges = sorted({tuple(sorted((t[i], t[(i + 1) % 3]))) for t in triangles for i in range(3)})
    around = {e: [v for t in triangles if set(e) <= set(t) for v in t if v not in e] for e in edges}
    count, pinned = len(vertices), len(weights)
    first = np.zeros((2 * len(edges) + 2 * pinned, 2 * count))
    fits = []
    for k, (i, j) in enumerate(edges):
        near = [j, *around[i, j]]
        local, pick = [], np.zeros((2 * len(near), 2 * count))
        for row, v in enumerate(near):
            x, y = vertices[v] - vertices[i]
            local += [[x, y], [y, -x]]
            for axis in (0, 1):
                pick[2 * row + axis, 2 * v + axis] += 1
                pick[2 * row + axis, 2 * i + axis] -= 1
        fit = np.linalg.pinv(np.array(local)) @ pick  # (c, s) from the deformed shape
        x, y = vertices[j] - vertices[i]
        edge = np.zeros((2, 2 * count))
        edge[[0, 1], [2 * j, 2 * j + 1]] = 1
        edge[[0, 1], [2 * i, 2 * i + 1]] = -1
        first[2 * k : 2 * k + 2] = edge - np.array([[x, y], [y, -x]]) @ fit
        fits.append(fit)
    wanted = np.zeros(len(first))
    for p, row in enumerate(weights):
        for axis in (0, 1):
            first[2 * len(edges) + 2 * p + axis, axis::2] = PIN_WEIGHT * row
            wanted[2 * len(edges) + 2 * p + axis] = PIN_WEIGHT * pins[p, axis]
    similar = np.linalg.lstsq(first, wanted, rcond=None)[0]
    second = np.zeros((len(edges) + pinned, count))
    sides = np.zeros((len(edges) + pinned, 2))
    for k, ((i, j), fit) in enumerate(zip(edges, fits, strict=True)):
        c, s = fit @ similar
        c, s = np.array([c, s]) / np.hypot(c, s)
        second[k, [i, j]] = -1, 1
        sides[k] = np.array([[c, s], [-s, c]]) @ (vertices[j] - vertices[i])
    second[len(edges) :] = PIN_WEIGHT * weights
    sides[len(edges) :] = PIN_WEIGHT * pins
    return np.linalg.lstsq(second, sides, rcond=None)[0]


FIGURE = mesh.build(man(scale=0.5).snapped())
SOLVER = Arap(FIGURE.vertices, FIGURE.triangles, FIGURE.pins)


REST = FIGURE.pins @ FIGURE.vertices


def test_agrees_with_the_reference():
    small = mesh.build(man(scale=0.2).snapped())
    assert 60 < len(small.vertices) < 250  # the reference is slow
    rng = np.random.default_rng(3)
    pins = small.pins @ small.vertices + rng.normal(0, 4, (2, len(small.pins), 2))
    pins[:, 1] = pins[:, 0]  # root and hip lie in one place
    fast = Arap(small.vertices, small.triangles, small.pins).solve(pins)
    for frame, places in zip(fast, pins, strict=True):
        slow = reference(small.vertices, small.triangles.tolist(), small.pins, places)
        assert np.abs(frame - slow).max() < 2e-3


def test_agrees_with_the_reference_on_a_plain_grid():
    x, y = np.meshgrid(np.arange(4.0), np.arange(3.0))
    vertices = np.stack([x.ravel(), y.ravel()], 1) * 10
    triangles = []
    for row in range(2):
        for column in range(3):
            a = 4 * row + column
            triangles += [[a, a + 1, a + 4], [a + 1, a + 5, a + 4]]
    weights = np.eye(12)[[0, 3, 9]]
    pins = np.array([[0, 0], [25, -12], [8, 30.0]])
    fast = Arap(vertices, np.array(triangles, np.int32), weights).solve(pins[None])[0]
    assert fast == pytest.approx(reference(vertices, triangles, weights, pins), abs=2e-3)


def test_rest_stays_at_rest():
    assert SOLVER.solve(REST[None])[0] == pytest.approx(FIGURE.vertices, abs=2e-3)


@settings(max_examples=20, deadline=None)
@given(st.floats(-3.1, 3.1), st.floats(-5000, 5000), st.floats(-5000, 5000))
def test_a_turned_and_moved_skeleton_turns_and_moves_the_figure(angle, x, y):
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s], [s, c]])
    moved = SOLVER.solve((REST @ turn.T + [x, y])[None])[0]
    assert moved == pytest.approx(FIGURE.vertices @ turn.T + [x, y], abs=0.02)


def test_pins_are_reached_and_frames_are_independent():
    rng = np.random.default_rng(5)
    pins = REST + rng.normal(0, 15, (CHUNK + 3, len(FIGURE.pins), 2))
    pins[:, 1] = pins[:, 0]
    all_at_once = SOLVER.solve(pins)
    reached = np.einsum("pv,fvc->fpc", FIGURE.pins, all_at_once)
    assert np.abs(reached - pins).max() < 0.05
    alone = SOLVER.solve(pins[-1:])
    assert alone[0] == pytest.approx(all_at_once[-1], abs=2e-3)


def test_collapsed_pins_give_finite_shapes():
    assert np.isfinite(SOLVER.solve(np.zeros((2, len(FIGURE.pins), 2)))).all()
