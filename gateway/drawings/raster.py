"""A deformed figure drawn into frames: textured triangles in depth order, with soft edges.

Each bone's triangles are a layer: they give every pixel a place in the texture, the
texture is read there, and the layer is laid over those behind it. Triangles share their
edges exactly, so there are no seams; the outline's softness comes from the texture's
alpha, which ends inside the triangles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from gateway.drawings.mesh import Mesh
from gateway.drawings.retarget import Poses

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]

_NOWHERE = -9.0
"""A place outside every texture."""

_EYE = np.eye(4, dtype=np.float32)
_ANGLE = math.pi / 2
"""Field of view: at distance 1 half the height spans 1, so pixels convert simply."""


_DEPTH = 0.002
"""Over which distance from the eye (at 1) a layer is spread, to decide where it folds."""


@dataclass(frozen=True)
class _Layer:
    """The N vertices and M triangles nearest to one bone, ready for every frame.

    boxes: per frame, x1, y1, x2, y2 in the canvas. points: (F, N, 3) float32, as the
    rasteriser wants them for a picture of that box. triangles: (M, 3). places: (N, 3)
    float32 x, y in the texture, and 0.
    """

    boxes: list[list[int]]
    points: F32
    triangles: I32
    places: F32


class Painter:
    """Draws a figure through a motion; may be used by several threads.

    cut: (H, W, 4) uint8 BGRA, the figure alone (see :mod:`matte`). shapes: (F, V, 2) the mesh's
    vertices in pixels of the canvas, in which the figure has ``scale`` times its size.
    """

    def __init__(self, cut: U8, mesh: Mesh, poses: Poses, shapes: F32, scale: float) -> None:
        shrink = min(1.0, scale)
        size = (max(1, round(cut.shape[1] * shrink)), max(1, round(cut.shape[0] * shrink)))
        ratio = np.array(size) / (cut.shape[1], cut.shape[0])
        self._texture = cv2.resize(cut, size, interpolation=cv2.INTER_AREA)
        places = (mesh.vertices * ratio - 0.5).astype(np.float32)
        layers = {j: _layer(mesh, j, places, shapes) for j in np.unique(mesh.bones).tolist()}
        self._parts = [[layers[j] for j in part if j in layers] for part in poses.parts]
        self._poses = poses
        self._settings = (
            cv2.TriangleRasterizeSettings()
            .setCullingMode(cv2.RASTERIZE_CULLING_NONE)
            .setShadingType(cv2.RASTERIZE_SHADING_SHADED)
        )

    def draw(self, canvas: U8, frame: int) -> None:
        """Draw one frame of the motion over a picture, in place.

        canvas: (H, W, 4) uint8 BGRA, premultiplied alpha. What reaches beyond is cut off.
        """
        reverse = self._poses.reverse[frame].tolist()
        for index in self._poses.order[frame].tolist():
            part = self._parts[index]
            for layer in reversed(part) if reverse[index] else part:
                self._lay(canvas, layer, frame)

    def _lay(self, canvas: U8, layer: _Layer, frame: int) -> None:
        x1, y1, x2, y2 = layer.boxes[frame]
        where = np.full((y2 - y1, x2 - x1, 3), _NOWHERE, np.float32)
        points, triangles, places = layer.points[frame], layer.triangles, layer.places
        cv2.triangleRasterizeColor(
            points, triangles, places, where, _EYE, _ANGLE, 0.5, 2.0, self._settings
        )
        drawn = cv2.remap(
            self._texture,
            cv2.extractChannel(where, 0),
            cv2.extractChannel(where, 1),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
        )
        height, width = canvas.shape[:2]
        behind = canvas[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)]
        if behind.shape != drawn.shape:
            drawn = drawn[max(-y1, 0) : max(height - y1, 0), max(-x1, 0) : max(width - x1, 0)]
            if not behind.size:
                return
        clear = cv2.bitwise_not(cv2.extractChannel(drawn, 3))
        cv2.multiply(behind, cv2.merge([clear] * 4), dst=behind, scale=1 / 255)
        cv2.add(behind, drawn, dst=behind)


def _layer(mesh: Mesh, joint: int, places: F32, shapes: F32) -> _Layer:
    mine = np.flatnonzero(mesh.bones == joint)
    used, index = np.unique(mesh.triangles[mine], return_inverse=True)
    index = index.reshape(-1)
    # What is nearest to the bone is in front where the layer folds over itself.
    away = np.bincount(index, np.repeat(mesh.distances[mine], 3)) / np.bincount(index)
    depths = (1 + _DEPTH * away / max(float(away.max()), 1e-9)).astype(np.float32)
    vertices = shapes[:, used]
    low = np.floor(vertices.min(axis=1))
    high = np.maximum(np.ceil(vertices.max(axis=1)), low + 1)
    points = np.empty((*vertices.shape[:2], 3), np.float32)
    points[..., :2] = vertices
    points[..., :2] -= ((low + high) / 2)[:, None]
    points[..., :2] *= [1, -1] * (2 / (high - low)[:, 1:, None])
    points[..., :2] *= depths[:, None]
    points[..., 2] = -depths
    texture = np.zeros((len(used), 3), np.float32)
    texture[:, :2] = places[used]
    boxes = np.concatenate([low, high], axis=1).astype(int).tolist()
    return _Layer(boxes, points, index.reshape(-1, 3).astype(np.int32), texture)
