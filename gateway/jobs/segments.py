"""A long video over many workers: one segment of it, and the join of all.

The parts lie under ``work/<batch>/<item>/`` in our bucket until their join has ended; a sweep
deletes what a cancel or a failure leaves.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Iterator
from typing import IO, Any

from gateway.errors import Conflict, NotFound
from gateway.jobs.attempts import MODEL_PATIENCE, fd_path
from gateway.jobs.batches import item_of, join_key
from gateway.jobs.kept import Kept
from gateway.jobs.rendering import MP4, video_record
from gateway.jobs.work import Outcome, Told, Work
from gateway.object_names import WORK

KEPT = Kept()
"""The worker's, and known to the work-horses that it forks."""


def join_of(segment: str) -> str:
    """The join that a segment belongs to."""
    return join_key(item_of(segment))


def blur_segment(work: Work) -> Outcome:
    """Blur one segment of a video and lay it aside."""
    from gateway.models import PatientDetector
    from gateway.pipelines.segments import Segment
    from gateway.pipelines.segments import blur_segment as blur

    settings, plan = work.settings, _plan(work)
    number = int(work.task.key.rpartition("-")[2])
    segment = Segment(**plan["segments"][number])
    name = _name(work)
    tell = work.progress(f"{name} ({number + 1}/{len(plan['segments'])})")
    with _source(work, name, plan, tell) as source, tempfile.TemporaryFile() as out:
        report = blur(
            fd_path(source),
            segment,
            fd_path(out),
            work.options,
            PatientDetector.from_settings(settings, patience=MODEL_PATIENCE),
            _limits(work),
            progress=tell,
            interval=settings.detect_interval,
        )
        part, told = _places(work, number)
        work.storage.put(part, out, MP4)
        text = json.dumps(report, separators=(",", ":")).encode()
        work.storage.put(told, io.BytesIO(text), "application/json")
    frames = segment.end - segment.start
    share = frames / max(plan["frames"], 1)
    counted = {
        "frames": frames,
        "ms": round(plan["ms"] * share),
        "bytes_done": int(plan["size"] * share),
    }
    return Outcome("done", {}, counted)


def join(work: Work) -> Outcome:
    """Join a video's segments without encoding again, and store it.

    Done, too, when that was done before and its parts are gone: Redis may have lost the end.
    """
    plan = _plan(work)
    try:
        return _join(work, plan)
    except (NotFound, Conflict):
        if not work.has(plan["result"], plan["version"]):
            raise
        return Outcome("done", _record(plan))


def _join(work: Work, plan: dict[str, Any]) -> Outcome:
    from gateway.models import PatientDetector
    from gateway.pipelines.segments import Segment
    from gateway.pipelines.segments import join as join_parts

    name = _name(work)
    tell = work.progress(name)
    segments = [Segment(**segment) for segment in plan["segments"]]
    places = [_places(work, number) for number in range(len(segments))]
    with contextlib.ExitStack() as stack:
        new = lambda: stack.enter_context(tempfile.TemporaryFile())  # noqa: E731
        source = stack.enter_context(_source(work, name, plan, tell))
        out, parts = new(), [new() for _ in segments]
        reports = []
        for file, place in zip(parts, places, strict=True):
            reports.append(_fetch_part(work, place, file))
        report = join_parts(
            fd_path(source),
            segments,
            [fd_path(part) for part in parts],
            reports,
            fd_path(out),
            work.options,
            _limits(work),
            progress=tell,
            detector=PatientDetector.from_settings(work.settings, patience=MODEL_PATIENCE),
            interval=work.settings.detect_interval,
        )
        note = work.note(plan["version"])
        work.store(plan["result"], out, MP4, note, {"kind": "video", **report})
    return Outcome(
        "done",
        video_record(plan["result"], report),
        {"faces": int(report["tracks"])},
        leftovers=[key for place in places for key in place],
    )


def _record(plan: dict[str, Any]) -> dict[str, Any]:
    """What is remembered of a video whose report is gone: its faces are not known."""
    seconds = plan["ms"] / 1000
    return {
        **{"output": plan["result"], "kind": "video"},
        **{"frames": plan["frames"], "seconds": seconds},
    }


def _fetch_part(work: Work, place: tuple[str, str], out: IO[bytes]) -> dict[str, Any]:
    """A segment's part into ``out``; returns its report."""
    text = io.BytesIO()
    try:
        work.storage.fetch(place[0], out)  # type: ignore[arg-type]
        work.storage.fetch(place[1], text)
    except NotFound as error:
        raise Conflict("the parts of this video are gone; try it again") from error
    return dict(json.loads(text.getvalue()))


def _plan(work: Work) -> dict[str, Any]:
    plan = work.queue.store.plan(work.task.batch.id, item_of(work.task.key))
    assert plan is not None, "a segment begins only while its video is split"
    return plan


def _name(work: Work) -> str:
    return str(work.queue.store.input(work.task.batch.id, item_of(work.task.key))["name"])


@contextlib.contextmanager
def _source(work: Work, name: str, plan: dict[str, Any], tell: Told) -> Iterator[IO[bytes]]:
    """The whole video, in the version that was split."""
    tell("fetch", 0, plan["size"])

    def fetch(out: IO[bytes]) -> str:
        return work.source.fetch(name, out, lambda done: tell("fetch", done, plan["size"]))  # type: ignore[arg-type]

    with KEPT.file(video_of(work.task.batch.id, work.task.key), fetch) as (file, version):
        if version != plan["version"]:
            raise Conflict("the file was changed while it was worked on; try it again")
        yield file


def video_of(batch_id: str, key: str) -> str:
    """Which video a task is about, '' for tasks other than segments and joins."""
    item = item_of(key)
    return f"{batch_id}-{item}" if item else ""


def _limits(work: Work) -> Any:
    from gateway.media.video import VideoLimits

    settings = work.settings
    return VideoLimits(pixels=settings.max_video_pixels, seconds=settings.max_video_seconds)


def _places(work: Work, number: int) -> tuple[str, str]:
    folder = f"{WORK}{work.task.batch.id}/{item_of(work.task.key)}/{number}"
    return f"{folder}.mp4", f"{folder}.json"
