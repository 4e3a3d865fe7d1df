"""As-rigid-as-possible deformation of a mesh by pins, all frames at once.

T. Igarashi and Y. Igarashi, "Implementing As-Rigid-As-Possible Shape Manipulation and
Surface Flattening", Journal of Graphics, GPU, and Game Tools 14(1), 2009. Two least-squares
problems: the first lets every edge turn and scale with its surroundings, the second keeps
the turns and gives the edges back their lengths. A point (x, y) is the complex number
x + iy here, in which a turn with scale is one factor, so the first problem has one unknown
per vertex; and since its answer is linear in the pins, it is solved once for each pin
instead of once for each frame. The second has one matrix for all frames: it is inverted
once, and a motion is one matrix product. Meshes of some hundred vertices make dense
matrices cheaper than sparse ones.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
C64 = npt.NDArray[np.complex64]
C128 = npt.NDArray[np.complex128]

PIN_WEIGHT = 1000.0
"""Of a pin against an edge, as in the paper: practically fixed."""

CHUNK = 256
"""Frames solved together: bounds the memory of long motions."""


class Arap:
    """A mesh prepared for any number of poses.

    vertices: (V, 2) at rest. triangles: (T, 3), in which every vertex occurs. pins: (P, V)
    weights, each row summing to 1, of the places that poses give.
    """

    def __init__(self, vertices: F64, triangles: I32, pins: F64) -> None:
        rest = vertices[:, 0] + 1j * vertices[:, 1]
        count = len(rest)
        edges, columns, weights = _turns(rest, triangles)
        self._vectors = (rest[edges[:, 1]] - rest[edges[:, 0]]).astype(np.complex64)
        pull = PIN_WEIGHT**2 * pins.T
        fixed = pull @ pins
        # An edge as it is, less as it would be if it turned and scaled with its surroundings.
        rows = -weights * (rest[edges[:, 1]] - rest[edges[:, 0]])[:, None]
        rows[:, 0] -= 1
        rows[:, 1] += 1
        by_pin = np.linalg.solve(_gram(columns, rows, count) + fixed, pull.astype(complex))
        self._turn_by_pin: C64 = np.einsum("em,emp->ep", weights, by_pin[columns]).astype(
            np.complex64
        )
        plain = np.broadcast_to([-1.0, 1.0], edges.shape)
        inverse = np.linalg.inv(_gram(edges, plain, count).real + fixed)
        self._by_pin: F32 = (inverse @ pull).astype(np.float32)
        self._by_sum: F32 = inverse.astype(np.float32)
        # Edges sorted by vertex, so that the sums at each vertex are runs.
        ends = edges.T.reshape(-1)
        order = np.argsort(ends, kind="stable")
        self._edge = order % len(edges)
        self._sign = np.where(order < len(edges), -1, 1).astype(np.float32)
        self._runs = np.searchsorted(ends[order], np.arange(count))

    def solve(self, pins: F64) -> F32:
        """Vertices (F, V, 2) for pins (F, P, 2), same units."""
        out = np.empty((len(pins), len(self._by_sum), 2), np.float32)
        for start in range(0, len(pins), CHUNK):
            part = pins[start : start + CHUNK]
            out[start : start + CHUNK] = self._solve(part)
        return out

    def _solve(self, pins: F64) -> F32:
        middle = pins.mean(axis=(0, 1))  # small numbers keep float32 exact
        places = (pins - middle).astype(np.float32).view(np.complex64)[..., 0].T
        turn = self._turn_by_pin @ places
        size = np.abs(turn)
        # A neighbourhood squeezed to a point has no direction; any unit will do.
        turn = np.divide(turn, size, out=np.ones_like(turn), where=size > 1e-9)
        turn *= self._vectors[:, None]
        runs = turn[self._edge] * self._sign[:, None]
        sums = np.add.reduceat(runs, self._runs)
        by_pin = self._by_pin @ np.ascontiguousarray(places).view(np.float32)
        flat = self._by_sum @ sums.view(np.float32) + by_pin
        solved = flat.reshape(len(flat), -1, 2).transpose(1, 0, 2)
        return np.asarray(solved + middle.astype(np.float32))


def _turns(rest: C128, triangles: I32) -> tuple[I32, I32, C128]:
    """Edges, and how each one's turn and scale is read off a deformed shape.

    An edge's surroundings are its own end and the far corners of its one or two triangles,
    seen from its start; the factor that fits them best is Σ conj(rest)·now / Σ |rest|².

    Returns:
        edges: (E, 2). columns, weights: (E, 4), the vertices start, end, corner, corner and
        what they count; a corner that is not there is the start, with no weight.
    """
    count = len(rest)
    a, b, c = triangles.T
    sides = np.concatenate([np.stack([a, b], 1), np.stack([b, c], 1), np.stack([c, a], 1)])
    corners = np.concatenate([c, a, b])
    keys = sides.min(axis=1).astype(np.int64) * count + sides.max(axis=1)
    order = np.argsort(keys, kind="stable")
    unique, first = np.unique(keys[order], return_index=True)
    edges = np.stack([unique // count, unique % count], axis=1).astype(np.int32)
    last = np.append(first[1:], len(order)) - 1
    one, other = corners[order[first]], corners[order[last]]
    other = np.where(first == last, edges[:, 0], other)
    columns = np.stack([edges[:, 0], edges[:, 1], one, other], axis=1)
    reach = rest[columns] - rest[edges[:, :1]]
    weights = reach.conj() / (np.abs(reach) ** 2).sum(axis=1, keepdims=True)
    weights[:, 0] = -weights.sum(axis=1)
    return edges, columns, weights


def _gram(columns: I32, rows: npt.NDArray[np.inexact], count: int) -> C128:
    """The matrix (V, V) of a sum of squares whose terms have ``rows`` (E, M) at ``columns``."""
    place = (columns[:, :, None] * count + columns[:, None, :]).reshape(-1)
    value = (rows.conj()[:, :, None] * rows[:, None, :]).reshape(-1)
    size = count * count
    return (
        np.bincount(place, value.real, size) + 1j * np.bincount(place, value.imag, size)
    ).reshape(count, count)
