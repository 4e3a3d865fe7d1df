"""One input of a batch: look → fetch → blur (or split) → store beside what it was made from."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import cache
from typing import IO, Any

from gateway.errors import Cancelled, EmptyUpload, Forbidden, TooLarge, UnsupportedMedia
from gateway.jobs.attempts import MODEL_PATIENCE, fd_path
from gateway.jobs.batches import segment_keys
from gateway.jobs.tree import Tree
from gateway.jobs.work import Outcome, Told, Work
from gateway.media import names
from gateway.media.sniff import HEAD_BYTES, image_format, sniff
from gateway.settings import MIB

_JPEG = "image/jpeg"
_PNG, _WEBP = "image/png", "image/webp"
MP4 = "video/mp4"
_BECOMES: dict[str | None, tuple[str, ...]] = {
    **{"jpeg": (_JPEG,), "png": (_PNG,), "webp": (_WEBP,), "gif": ("image/gif",)},
    **{"heif": (_JPEG, _PNG), "avif": ("image/avif", _WEBP), None: (MP4,)},
}
"""What the result of a picture format, or of a video, may be."""


def blur(work: Work) -> Outcome | None:
    """Do one input; None when its segments go on with it."""
    store, batch, key = work.queue.store, work.task.batch, work.task.key
    plan = store.plan(batch.id, key)
    if plan is not None:  # delivered again after it was split
        _queue_segments(work, len(plan["segments"]))
        return None
    listed = store.input(batch.id, key)
    name = listed["name"]
    if fault := listed.get("fault"):
        raise Forbidden(fault)
    now = work.source.stat(name)
    size = now.size
    if not size:
        raise EmptyUpload("the file is empty")
    head = work.source.peek(name, min(size, HEAD_BYTES))
    kind = sniff(head)
    if kind is None:
        raise UnsupportedMedia("this is no photo or video that we read, whatever its name says")
    limit = work.settings.max_image_bytes if kind == "image" else None
    if limit and size > limit:
        raise TooLarge(f"the largest photo is {limit // MIB} MiB")
    size_counted = {"bytes_done": size}
    result_of = result_names(work.source, name)
    for result in map(result_of, _BECOMES[image_format(head)]):
        if work.has(result, now.version):
            return Outcome("skipped", {"output": result, "kind": kind}, size_counted)
    tell = work.progress(name)
    tell("fetch", 0, size)
    with tempfile.TemporaryFile() as file:
        version = work.source.fetch(name, file, lambda done: tell("fetch", done, size))
        outcome = (
            _photo(work, file, result_of, version)
            if kind == "image"
            else _video(work, file, result_of(MP4), version, size, tell)
        )
    return outcome and replace(outcome, counted={**outcome.counted, **size_counted})


def result_names(source: Tree, name: str) -> Callable[[str], str]:
    """Where in the output the result of an input belongs, by its content type; see
    :func:`names.result_name`. The tree is asked once at most.
    """
    folder, slash, last = name.rpartition("/")
    beside = cache(lambda: [other.rpartition("/")[2] for other in source.beside(name)])
    return lambda content_type: folder + slash + names.result_name(last, content_type, beside)


def _photo(work: Work, file: IO[bytes], result_of: Callable[[str], str], version: str) -> Outcome:
    from gateway.media.images import ImageLimits
    from gateway.models import PatientDetector
    from gateway.pipelines.blur_image import blur_image
    from gateway.pipelines.review import Review

    settings = work.settings
    file.seek(0)
    limits = ImageLimits(
        bytes=settings.max_image_bytes,
        pixels=settings.max_image_pixels,
        frames=settings.max_image_frames,
    )
    detector = PatientDetector.from_settings(settings, patience=MODEL_PATIENCE)
    review = Review.from_settings(settings, patience=MODEL_PATIENCE)
    made = blur_image(file.read(), work.options, detector, limits, review)
    result = result_of(made.content_type)
    work.store(result, io.BytesIO(made.body), made.content_type, work.note(version), made.report)
    record = {"output": result, "kind": "image", "frames": made.frames, "faces": len(made.faces)}
    return Outcome("done", record, {"faces": len(made.faces)})


def _video(
    work: Work, file: IO[bytes], result: str, version: str, size: int, tell: Told
) -> Outcome | None:
    from gateway.media.video import VideoLimits
    from gateway.models import PatientDetector
    from gateway.pipelines.blur_video import blur_video

    settings = work.settings
    limits = VideoLimits(pixels=settings.max_video_pixels, seconds=settings.max_video_seconds)
    if settings.segment_seconds and _split(work, fd_path(file), limits, result, version, size):
        return None
    with tempfile.TemporaryFile() as out:
        report = blur_video(
            fd_path(file),
            fd_path(out),
            work.options,
            PatientDetector.from_settings(settings, patience=MODEL_PATIENCE),
            limits,
            progress=tell,
            interval=settings.detect_interval,
            segment_seconds=settings.segment_seconds,
        )
        work.store(result, out, MP4, work.note(version), {"kind": "video", **report})
    return Outcome("done", video_record(result, report), video_counts(report))


def video_record(result: str, report: Mapping[str, Any]) -> dict[str, Any]:
    """What is remembered of a blurred video."""
    seconds = round(float(report["seconds"]), 3)
    return {
        **{"output": result, "kind": "video", "frames": report["frames"]},
        **{"seconds": seconds, "faces": report["tracks"]},
    }


def video_counts(report: Mapping[str, Any]) -> dict[str, int]:
    """What a blurred video adds to its batch."""
    milliseconds = round(1000 * float(report["seconds"]))
    return {"ms": milliseconds, "frames": int(report["frames"]), "faces": int(report["tracks"])}


def _split(work: Work, source: str, limits: Any, result: str, version: str, size: int) -> bool:
    """Hand a long video on to many workers; False when it is not worth it.

    Raises:
        Cancelled: the task is not ours any more.
    """
    from gateway.media.video import probe
    from gateway.pipelines.segments import plan

    settings = work.settings
    found = plan(source, limits, settings.segment_seconds, interval=settings.detect_interval)
    if len(found) < 2:
        return False
    info = probe(source, limits)
    noted = {
        "segments": [asdict(segment) for segment in found],
        "version": version,
        "result": result,
        "size": size,
        "ms": round(1000 * info.seconds),
        "frames": found[-1].end,
    }
    if not work.queue.store.split(work.task, noted, len(found)):
        raise Cancelled("the task was cancelled or taken over")
    _queue_segments(work, len(found))
    return True


def _queue_segments(work: Work, count: int) -> None:
    work.queue.ensure(work.task.batch.id, segment_keys(work.task.key, count))
