"""Triangles over a figure: conforming to its outline, each owned by its nearest bone."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from gateway.drawings.character import Character, Mask
from gateway.drawings.outline import PAD, contours, solid
from gateway.errors import BadDrawing

F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]

INNER_POINTS = 320
"""About how many points are laid inside a figure; more bend no smoother, only slower."""

TOLERANCES = (1.0, 2.0, 4.0, 8.0)
"""Outline simplification in pixels; a coarser one is taken when the finer has too many points."""

MAX_OUTLINE = 1200
ROUNDS = 5

_GRID = 64.0
"""Places per pixel that points are rounded to."""


@dataclass(frozen=True)
class Mesh:
    """A figure's triangles.

    vertices: (V, 2) float64, pixels of the texture. triangles: (T, 3) int32. bones: (T,)
    int32, for each triangle the index (in the order of ``Character.joints``) of the joint
    in which its nearest bone ends, measured inside the figure; distances: (T,) to that
    bone, pixels. pins: (J, V) float64, the barycentric weights of each joint's place.
    shown: (H, W) bool, the texture's pixels to be seen.
    """

    vertices: F64
    triangles: I32
    bones: I32
    distances: F64
    pins: F64
    shown: Mask


def build(figure: Character) -> Mesh:
    """Lay a mesh over a figure whose joints lie inside its mask (see ``Character.snapped``).

    Raises:
        BadDrawing: the mask is too ragged or too thin for a mesh.
    """
    shown, region = solid(figure)
    spacing = max(2.0, float(np.sqrt(np.count_nonzero(region) / INNER_POINTS)))
    points, segments = _outline(region, spacing)
    points = np.concatenate([points, _inner(region, spacing)])
    points, triangles = _conforming(points, segments)
    kept = _inside(region, points[triangles].mean(axis=1)) & (_areas(points, triangles) > 1e-3)
    triangles = _largest(triangles[kept], len(points))
    if not len(triangles):
        raise BadDrawing("the figure is too thin to be animated; send a larger picture")
    used, flat = np.unique(triangles, return_inverse=True)
    vertices = points[used]
    triangles = np.asarray(flat.reshape(-1, 3), np.int32)
    bones, distances = _owners(figure, vertices, triangles, spacing)
    pins = _weights(np.array(list(figure.joints.values())), vertices, triangles)
    return Mesh(vertices, triangles, bones, distances, pins, shown)


def _outline(region: Mask, spacing: float) -> tuple[F64, I32]:
    """Points (N, 2) along the outlines and the segments (M, 2) between them, as indices."""
    for tolerance in TOLERANCES:
        polygons = contours(region, tolerance)
        if sum(map(len, polygons)) <= MAX_OUTLINE:
            break
    else:
        raise BadDrawing("the figure's outline is too ragged to be animated; clean up the mask")
    points: list[F64] = []
    segments: list[I32] = []
    start = 0
    for polygon in polygons:
        dense = _subdivided(polygon, 1.5 * spacing)
        index = np.arange(start, start + len(dense), dtype=np.int32)
        points.append(dense)
        segments.append(np.stack([index, np.roll(index, -1)], axis=1))
        start += len(dense)
    if not points:
        raise BadDrawing("the figure is too thin to be animated; send a larger picture")
    # An outline passes twice where a figure is one pixel thin: one point there, not two.
    unique, places = np.unique(_on_grid(np.concatenate(points)), axis=0, return_inverse=True)
    joined = places.reshape(-1)[np.concatenate(segments)].astype(np.int32)
    return unique, joined[joined[:, 0] != joined[:, 1]]


def _subdivided(polygon: F64, longest: float) -> F64:
    """The polygon's corners with points between them, no farther apart than ``longest``."""
    sides = np.roll(polygon, -1, axis=0) - polygon
    parts = np.maximum(1, np.ceil(np.linalg.norm(sides, axis=1) / longest)).astype(int)
    side = np.repeat(np.arange(len(polygon)), parts)
    step = np.arange(len(side)) - np.repeat(np.cumsum(parts) - parts, parts)
    return np.asarray(polygon[side] + (step / parts[side])[:, None] * sides[side])


def _inner(region: Mask, spacing: float) -> F64:
    """Points of a triangular grid that keep half a spacing from the outline."""
    depth = cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_L2, 5)
    height, width = region.shape
    rows = np.arange(spacing / 2, height, spacing * np.sqrt(3) / 2)
    columns = np.arange(spacing / 2, width - spacing / 2, spacing)
    y = np.repeat(rows, len(columns))
    x = np.tile(columns, len(rows)) + np.repeat(np.arange(len(rows)) % 2, len(columns)) * (
        spacing / 2
    )
    deep = depth[y.astype(int), np.minimum(x.astype(int), width - 1)] > 0.6 * spacing
    return _on_grid(np.stack([x[deep], y[deep]], axis=1) - PAD)


def _conforming(points: F64, segments: I32) -> tuple[F64, I32]:
    """Points and a Delaunay triangulation in which the outline's segments are edges.

    Segments that it lacks are halved and it is made anew (J. Ruppert, "A Delaunay
    Refinement Algorithm for Quality 2-Dimensional Mesh Generation", 1995, section 3.1).
    """
    for _ in range(ROUNDS):
        triangles = _delaunay(points)
        missing = ~np.isin(_keys(segments, len(points)), _keys(_edges(triangles), len(points)))
        ends = points[segments[missing]]
        long = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1) > 1
        if not long.any():
            break
        halves = np.arange(len(points), len(points) + len(ends), dtype=np.int32)
        a, b = segments[missing].T
        parts = (segments[~missing], np.stack([a, halves], 1), np.stack([halves, b], 1))
        segments = np.concatenate(parts)
        points = np.concatenate([points, _on_grid(ends.mean(axis=1))])
    return points, triangles


def _delaunay(points: F64) -> I32:
    """Delaunay triangles (T, 3) of points (N, 2) on the grid of ``_on_grid``."""
    low, high = points.min(axis=0), points.max(axis=0)
    # Its triangulation is not quite Delaunay at the hull: far corners keep that outside.
    reach = float((high - low).max()) + 16
    corner = np.floor(low - reach)
    size = np.ceil(high + reach - corner).astype(int)
    net = cv2.Subdiv2D([0, 0, int(size[0]), int(size[1])])
    net.insert((points - corner).astype(np.float32).tolist())
    found = np.asarray(net.getTriangleList()).reshape(-1, 2) + corner
    keys, wanted = (
        np.rint(p * _GRID).astype(np.int64) @ np.array([1 << 24, 1]) for p in (points, found)
    )
    order = np.argsort(keys)
    place = order[np.minimum(np.searchsorted(keys[order], wanted), len(order) - 1)]
    known = (keys[place] == wanted).reshape(-1, 3).all(axis=1)
    return place.reshape(-1, 3)[known].astype(np.int32)


def _on_grid(points: F64) -> F64:
    """Points rounded so that float32 holds them exactly, and equal ones are equal."""
    return np.asarray(np.rint(points * _GRID) / _GRID)


def _edges(triangles: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """All three edges of each triangle, (3·T, 2): first all 01, then all 12, then all 20."""
    return np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])


def _keys(edges: npt.NDArray[np.integer], count: int) -> npt.NDArray[np.int64]:
    """One number per edge (N, 2), whichever way it runs."""
    return edges.min(axis=1).astype(np.int64) * count + edges.max(axis=1)


def _areas(points: F64, triangles: npt.NDArray[np.integer]) -> F64:
    a, b, c = (points[triangles[:, i]] for i in range(3))
    u, v = b - a, c - a
    return np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]) / 2


def _inside(region: Mask, points: F64) -> Mask:
    columns, rows = np.floor(points + PAD).astype(int).T
    height, width = region.shape
    return region[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)]


def _largest(triangles: I32, count: int) -> I32:
    """Those triangles that make up the largest piece hanging together by edges."""
    neighbours = _neighbours(triangles, count)
    label = np.arange(len(triangles))
    while True:
        best = np.maximum(label, label[neighbours].max(axis=1))
        best = best[best]  # follow the best's own best: far fewer rounds
        if (best == label).all():
            break
        label = best
    return triangles[label == np.bincount(label).argmax()] if len(label) else triangles


def _neighbours(triangles: I32, count: int) -> I32:
    """For each triangle its three neighbours (T, 3), itself where there is none."""
    size = len(triangles)
    keys = _keys(_edges(triangles), count)
    order = np.argsort(keys, kind="stable")
    same = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    one, other = order[same], order[same + 1]
    neighbours = np.tile(np.arange(size, dtype=np.int32), 3)
    neighbours[one], neighbours[other] = other % size, one % size
    return neighbours.reshape(3, size).T


def _containing(points: F64, vertices: F64, triangles: I32) -> tuple[I32, F64]:
    """Triangle of each point (N,), -1 outside the mesh, and the weights (N, 3) in it."""
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    u, v, p = b - a, c - a, points[:, None] - a
    scale = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    second = (p[..., 0] * v[:, 1] - p[..., 1] * v[:, 0]) / scale
    third = (u[:, 0] * p[..., 1] - u[:, 1] * p[..., 0]) / scale
    least = np.minimum(np.minimum(second, third), 1 - second - third)
    found = least.argmax(axis=1)
    rows = np.arange(len(points))
    second, third = second[rows, found], third[rows, found]
    outside = least[rows, found] < -1e-6
    weights = np.stack([1 - second - third, second, third], axis=1)
    return np.where(outside, -1, found).astype(np.int32), weights


def _weights(points: F64, vertices: F64, triangles: I32) -> F64:
    """Barycentric weights (N, V) of points; one outside counts as at the nearest vertex."""
    out = np.zeros((len(points), len(vertices)))
    for row, (found, weights) in enumerate(
        zip(*_containing(points, vertices, triangles), strict=True)
    ):
        if found < 0:
            out[row, np.linalg.norm(vertices - points[row], axis=1).argmin()] = 1
        else:
            out[row, triangles[found]] = weights
    return out


def _owners(figure: Character, vertices: F64, triangles: I32, spacing: float) -> tuple[I32, F64]:
    """Nearest bone of each triangle, and the way to it through the mesh in pixels.

    Shortest ways from all bones at once, every triangle relaxed in each round.
    """
    middles = vertices[triangles].mean(axis=1)
    owner = np.full(len(triangles), -1, np.int32)
    way = np.full(len(triangles), np.inf)
    for index, (name, parent) in enumerate(figure.parents.items()):
        if parent is None:
            continue
        a, b = np.array(figure.joints[parent]), np.array(figure.joints[name])
        if np.allclose(a, b):
            continue
        steps = 2 + int(np.linalg.norm(b - a) / (spacing / 2))
        crossed, _ = _containing(
            a + np.linspace(0, 1, steps)[:, None] * (b - a), vertices, triangles
        )
        touched = np.unique(crossed[crossed >= 0])
        distance = _to_segment(middles[touched], a, b)
        nearer = distance < way[touched]
        way[touched[nearer]] = distance[nearer]
        owner[touched[nearer]] = index
    neighbours = _neighbours(triangles, len(vertices))
    steps_to = np.linalg.norm(middles[neighbours] - middles[:, None], axis=2)
    while True:
        through = way[neighbours] + steps_to
        best = through.argmin(axis=1)[:, None]
        shorter = np.take_along_axis(through, best, 1)[:, 0]
        better = shorter < way - 1e-9
        if not better.any():
            break
        way[better] = shorter[better]
        owner[better] = owner[np.take_along_axis(neighbours, best, 1)[better, 0]]
    if (owner < 0).any():
        raise BadDrawing("the figure's joints do not lie on its mask")
    return owner, way


def _to_segment(points: F64, a: F64, b: F64) -> F64:
    along = np.clip((points - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
    return np.asarray(np.linalg.norm(points - a - along[:, None] * (b - a), axis=1))
