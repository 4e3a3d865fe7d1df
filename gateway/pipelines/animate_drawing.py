"""Animate a drawing: rigged figure → mesh → retarget → deform → view → draw → encode.

A figure's mesh and factorisation serve any number of motions. Frames are drawn
by several threads and encoded, in order, as they are finished.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from gateway.drawings import mesh
from gateway.drawings.arap import Arap
from gateway.drawings.character import Character
from gateway.drawings.matte import cut_out
from gateway.drawings.raster import Painter
from gateway.drawings.retarget import Motion, Poses, retarget
from gateway.drawings.view import fit
from gateway.media.animation import writer
from gateway.media.image_base import Encoded
from gateway.pipelines.options import AnimateOptions
from gateway.settings import cores

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]

RATE = 30.0
"""Frames per second at most."""

SAMPLES = 6
"""Frames drawn ahead, from which GIF takes its colours."""

DETAIL = 1.3
"""Pixels of the drawing worked with per pixel of the frame; more would not be seen."""

AHEAD = 8
"""Frames per thread that may be drawn but not yet encoded."""


@dataclass(frozen=True)
class Animation:
    """A finished animation. seconds: how long one round takes; timings: milliseconds by stage."""

    file: Encoded
    frames: int
    width: int
    height: int
    seconds: float
    timings: dict[str, float]


@dataclass(frozen=True)
class Placed:
    """A figure, and where in the drawing the corner of its texture lies, in pixels."""

    figure: Character
    x: float = 0
    y: float = 0


class Animator:
    """The figures of one drawing (most often one), ready for any motion.

    workers: threads that draw; by default one per core that this process may use.

    Raises:
        BadDrawing: a mask cannot be laid with a mesh.
    """

    def __init__(
        self, figures: Sequence[Placed], options: AnimateOptions, *, workers: int | None = None
    ) -> None:
        self._options = options
        self._workers = workers or cores()
        size = options.size if isinstance(options.size, int) else max(options.size)
        shrink = min(1.0, DETAIL * size / max(_extent(figures)))
        self._actors = [_Actor(placed, shrink) for placed in figures]
        self._transparent = options.background == "transparent" and options.format != "mp4"
        self._background = _background(self._actors[0].figure, options)

    def animate(self, motion: Motion, *, check: Callable[[], None] = lambda: None) -> Animation:
        """Move the figures and write the file.

        Args:
            check: called between frames; may raise to stop (a deadline, a cancelled job).

        Raises:
            BadMotion, TooLarge: see :func:`retarget`. Whatever ``check`` raises.
        """
        clock = _Clock()
        poses = [retarget(actor.figure, motion, RATE) for actor in self._actors]
        clock.lap("retarget_ms")
        shapes = [actor.shapes(pose) for actor, pose in zip(self._actors, poses, strict=True)]
        clock.lap("deform_ms")
        frame_time = poses[0].frame_time
        view = fit(np.concatenate(shapes, axis=1), self._options.size, frame_time)
        painters = [
            actor.painter(pose, view.apply(shape), view.scale)
            for actor, pose, shape in zip(self._actors, poses, shapes, strict=True)
        ]
        canvas = np.full((view.height, view.width, 4), self._background, np.uint8)
        stage = _Stage(painters, canvas)
        count = len(shapes[0])
        with ThreadPoolExecutor(self._workers) as pool:
            ahead = np.linspace(0, count - 1, SAMPLES, dtype=int).tolist()
            samples = list(pool.map(lambda i: stage.frame(i).copy(), sorted(set(ahead))))
            clock.lap("prepare_ms")
            file = writer(
                self._options.format,
                frame_time,
                samples,
                transparent=self._transparent,
            )
            jobs = (pool.submit(lambda i: file.prepare(stage.frame(i)), i) for i in range(count))
            for frame in _in_order(jobs, AHEAD * self._workers):
                check()
                file.write(frame)
        encoded = file.finish()
        clock.lap("draw_ms")
        return Animation(encoded, count, view.width, view.height, count * frame_time, clock.spent)


class _Actor:
    """One figure with its mesh and factorisation, in the drawing's coordinates × ``shrink``."""

    def __init__(self, placed: Placed, shrink: float) -> None:
        figure = placed.figure.scaled(shrink) if shrink < 1 else placed.figure
        self.figure = figure.snapped()
        self._mesh = mesh.build(self.figure)
        self._cut = cut_out(self.figure.texture, self._mesh.shown)
        self._arap = Arap(self._mesh.vertices, self._mesh.triangles, self._mesh.pins)
        self._corner = np.array([placed.x, placed.y], np.float32) * np.float32(shrink)

    def shapes(self, poses: Poses) -> F32:
        """The vertices (F, V, 2) through a motion."""
        return self._arap.solve(poses.joints) + self._corner

    def painter(self, poses: Poses, shapes: F32, scale: float) -> Painter:
        return Painter(self._cut, self._mesh, poses, shapes, scale)


def _extent(figures: Sequence[Placed]) -> tuple[float, float]:
    """Width and height of all figures together, pixels."""
    corners = np.array([[p.x, p.y] for p in figures])
    sizes = np.array([p.figure.mask.shape[::-1] for p in figures])
    width, height = (corners + sizes).max(axis=0) - corners.min(axis=0)
    return float(width), float(height)


class _Stage:
    """Draws frames, each thread again and again on a canvas of its own."""

    def __init__(self, painters: Sequence[Painter], empty: U8) -> None:
        self._painters = painters
        self._empty = empty
        self._own = threading.local()

    def frame(self, index: int) -> U8:
        """A frame; the calling thread's next one overwrites it."""
        if not hasattr(self._own, "canvas"):
            self._own.canvas = np.empty_like(self._empty)
        canvas: U8 = self._own.canvas
        np.copyto(canvas, self._empty)
        for painter in self._painters:
            painter.draw(canvas, index)
        return canvas


def _in_order(jobs: Iterator[Future[U8]], ahead: int) -> Iterator[U8]:
    """Results in order, with at most ``ahead`` jobs begun before they are taken."""
    begun: deque[Future[U8]] = deque()
    try:
        for job in jobs:
            begun.append(job)
            if len(begun) > ahead:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        for job in begun:
            job.cancel()


def _background(figure: Character, options: AnimateOptions) -> tuple[int, ...]:
    """BGRA, premultiplied, of what is behind the figure."""
    wanted = options.background
    if wanted == "transparent":
        return (255, 255, 255, 255) if options.format == "mp4" else (0, 0, 0, 0)
    if wanted != "paper":
        red, green, blue = (int(wanted[i : i + 2], 16) for i in (1, 3, 5))
        return blue, green, red, 255
    reach = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    away = cv2.dilate(figure.mask.astype(np.uint8), reach) == 0
    paper = figure.texture[away & (figure.texture[..., 3] == 255)]
    if not len(paper):  # the figure fills the picture
        return 255, 255, 255, 255
    blue, green, red = (int(v) for v in np.median(paper[:, :3], axis=0))
    return blue, green, red, 255


class _Clock:
    """Wall time by stage, in milliseconds."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.spent: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.spent[stage] = round(1000 * (now - self._last), 1)
        self._last = now
