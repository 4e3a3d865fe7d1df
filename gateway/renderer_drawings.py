"""The renderer's part for drawings: a task in records comes in, what it makes goes out as made.

In: ``task`` (``motions``, ``look``, ``figures``, ``pictures``), then either ``photo`` or, per
stored figure, ``figure`` (its joints; body: its texture) and ``mask``, then a ``motion`` for
each that is not of the library (body: records named as ``own_motion.PARTS``). Out: per figure
``figure`` and the ``picture`` records asked for, then an ``animation`` per motion, and
``end`` with the photo's upright size in pixels and its review, if there were any, and timings.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from gateway import traces
from gateway.drawings.motions import library_motion
from gateway.drawings.retarget import Motion
from gateway.errors import BadMotion, BadRequest
from gateway.http.records import Records, record
from gateway.media.images import ImageLimits
from gateway.pipelines.animate_drawing import Animator, Placed
from gateway.pipelines.options import AnimateOptions
from gateway.pipelines.own_motion import PARTS, measure, read_motion
from gateway.pipelines.review import Review
from gateway.pipelines.rig_drawing import RiggedFigure, Rigger, rig_drawing
from gateway.pipelines.rig_pictures import picture, read_figure


@dataclass
class _Task:
    """What was asked, as it came: nothing in it is decoded yet."""

    motions: list[str]
    look: AnimateOptions
    figures: int
    pictures: list[str]
    photo: bytes | None = None
    stored: list[tuple[dict[str, Any], bytes]] = field(default_factory=list)
    masks: list[bytes] = field(default_factory=list)
    own: dict[str, bytes] = field(default_factory=dict)


def work(
    body: bytes,
    rigger: Rigger,
    limits: ImageLimits,
    check: Callable[[], None],
    review: Review | None = None,
) -> Iterator[bytes]:
    """Do the task; yields records. ``check`` is called often and may raise to stop.

    Raises:
        MasqueradeError: whatever is wrong with the drawing, the motions or the model.
    """
    task = _read(body)
    motions = {name: _motion(task, name) for name in task.motions}
    begun = time.perf_counter()
    figures, photo, reviewed, timings = _figures(task, rigger, limits, review)
    with ThreadPoolExecutor(1) as beside:
        pictures = [
            (index, name, beside.submit(picture, rigged.character, name))
            for index, rigged in enumerate(figures)
            for name in task.pictures
        ]
        if motions:
            check()
            before = time.perf_counter()
            animator = Animator([Placed(f.character, *f.place) for f in figures], task.look)
            _add(timings, "mesh_ms", before)
        for index, rigged in enumerate(figures):
            yield record({"kind": "figure", "index": index, **_described(rigged)})
        for index, name, encoded in pictures:
            yield record({"kind": "picture", "index": index, "name": name}, encoded.result())
    for name, motion in motions.items():
        before = time.perf_counter()
        made = animator.animate(motion, check=check)
        _add(timings, "animate_ms", before)
        head = {
            **{"kind": "animation", "motion": name, "frames": made.frames},
            **{"width": made.width, "height": made.height, "seconds": round(made.seconds, 3)},
            **{"content_type": made.file.content_type, "extension": made.file.extension},
        }
        yield record(head, made.file.body)
    traces.stages(timings)
    timings["render_ms"] = round(1000 * (time.perf_counter() - begun), 1)
    yield record({"kind": "end", "photo": photo, "review": reviewed, "timings": timings})


def check_motion(body: bytes) -> dict[str, Any]:
    """Frames and seconds of a motion in records.

    Raises:
        BadMotion, TooLarge: no figure can be moved by it.
    """
    return asdict(measure(_own_motion(body)))


def _read(body: bytes) -> _Task:
    stream = Records(io.BytesIO(body).read)
    heads = iter(stream)
    task = next(heads)
    look = task["look"]
    size = look["size"] if isinstance(look["size"], int) else tuple(look["size"])
    asked = _Task(
        task["motions"],
        AnimateOptions(**{**look, "size": size}),
        task["figures"],
        task["pictures"],
    )
    for head in heads:
        if head["kind"] == "photo":
            asked.photo = stream.body()
        elif head["kind"] == "figure":
            asked.stored.append((head, stream.body()))
        elif head["kind"] == "mask":
            asked.masks.append(stream.body())
        elif head["kind"] == "motion":
            asked.own[head["name"]] = stream.body()
        else:
            raise BadRequest("an unknown record")
    return asked


def _motion(task: _Task, name: str) -> Motion:
    return _own_motion(task.own[name]) if name in task.own else library_motion(name)


def _own_motion(body: bytes) -> Motion:
    stream = Records(io.BytesIO(body).read)
    parts = {head["name"]: stream.body() for head in stream}
    if set(parts) != set(PARTS):
        raise BadMotion("this motion is incomplete; upload it again")
    return read_motion(*(parts[name] for name in PARTS))


def _figures(
    task: _Task, rigger: Rigger, limits: ImageLimits, review: Review | None
) -> tuple[list[RiggedFigure], tuple[int, int] | None, dict[str, Any] | None, dict[str, float]]:
    """The figures to work on, the photo's width, height and review if there is one, timings."""
    if task.photo is not None:
        rigged = rig_drawing(task.photo, rigger, limits, figures=task.figures, review=review)
        size = (rigged.width, rigged.height)
        return rigged.figures, size, rigged.review, dict(rigged.timings)
    begun = time.perf_counter()
    figures = [
        RiggedFigure(
            read_figure(texture, mask, head["joints"], limits),
            tuple(head["box"]),
            head["score"],
            tuple(head["place"]),
        )
        for (head, texture), mask in zip(task.stored, task.masks, strict=True)
    ]
    timings: dict[str, float] = {}
    _add(timings, "decode_ms", begun)
    return figures, None, None, timings


def _described(rigged: RiggedFigure) -> dict[str, Any]:
    height, width = rigged.character.mask.shape
    joints = rigged.character.joints.items()
    return {
        "box": [round(v, 1) for v in rigged.box],
        "score": round(rigged.score, 4),
        "joints": {name: [round(x, 1), round(y, 1)] for name, (x, y) in joints},
        "extent": [width, height],
        "place": [round(v, 2) for v in rigged.place],
    }


def _add(timings: dict[str, float], stage: str, since: float) -> None:
    spent = 1000 * (time.perf_counter() - since)
    timings[stage] = round(timings.get(stage, 0.0) + spent, 1)
