"""One long video over many workers: plan → blur each segment, anywhere, in any order → join.

The result is, bit for bit, what :func:`gateway.pipelines.blur_video.blur_video` makes of the
video in one piece, as that begins to look and to encode afresh at the same places.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from gateway.errors import RendererFailed
from gateway.faces.boxes import F32
from gateway.faces.seams import Watched, lost, reconcile
from gateway.media.video import (
    Frame,
    Part,
    SeekFailed,
    VideoLimits,
    join_parts,
    probe,
    read_frames,
    write_part,
)
from gateway.pipelines.analyse import Analysis, Detector
from gateway.pipelines.blur_video import Edit, Progress, blur_report, frame_entry
from gateway.pipelines.options import BlurOptions
from gateway.pipelines.split import Segment, plan

_EVER = 1 << 62  # ticks

__all__ = ["Segment", "blur_segment", "join", "plan"]


def blur_segment(
    source: str,
    segment: Segment,
    out: str,
    options: BlurOptions,
    detector: Detector,
    limits: VideoLimits,
    *,
    progress: Progress,
    interval: float = 0.6,
    carried: F32 | None = None,
) -> dict[str, Any]:
    """Hide the faces of one segment of the video at ``source``; its part goes to ``out``.

    ``out`` holds packets for ``join`` (a NUT file) and is none a player needs to know.
    ``progress(stage, done, total)`` counts the segment's own frames. ``interval``: as it
    was for ``plan``. ``carried``: boxes (N, 4) of faces in the first frame watched that
    the detector need not be sure of.

    Returns:
        The part's report, plain values: what ``join`` needs, with the faces of frames
        around the segment, which are numbered below 0 and from ``frames`` on.

    Raises:
        BadMedia, UnsupportedMedia, TooLarge, ModelUnavailable, DiskFull.
    """
    info = probe(source, limits)
    total = segment.end - segment.start or info.frames_estimate
    for sought in (True, False):
        try:
            begun = time.perf_counter()
            with Analysis(
                detector,
                threshold=options.threshold,
                rate=info.rate,
                interval=interval,
                interlaced=info.interlaced,
            ) as analysis:
                if carried is not None:
                    analysis.carry(carried)
                frames = read_frames(source, info, section=segment.watched(sought=sought))
                seen = _watch(frames, analysis, segment, lambda n: progress("analyse", n, total))
                timeline = analysis.finish()
            watched = time.perf_counter()
            spots = islice(timeline.frames(), seen.before, None)
            edit = Edit(spots, options, info, progress, total)
            part = write_part(source, out, info, segment.rendered(sought=sought), edit)
            rendered = time.perf_counter()
            if part.times != seen.times:
                raise SeekFailed
            break
        except SeekFailed:
            continue  # slowly, but surely
    else:
        raise RendererFailed("the video's frames are not the same every time it is read")
    return {
        "index": segment.index,
        "frames": len(part.times),
        "before": seen.before,
        "times": part.times,
        "tail": part.tail,
        "faults": part.faults,
        "looks": analysis.looks_taken,
        "timings": {
            "analyse_ms": round(1000 * (watched - begun), 1),
            "render_ms": round(1000 * (rendered - watched), 1),
        },
        "per_frame": [
            frame_entry(number - seen.before, found)
            for number, found in enumerate(islice(timeline.frames(), seen.count))
            if found
        ],
    }


@dataclass
class _Seen:
    """How a segment was watched: its own frames' times, frames before them, frames in all."""

    times: list[int] = field(default_factory=list)
    before: int = 0
    count: int = 0


def _watch(
    frames: Iterable[Frame], analysis: Analysis, segment: Segment, progress: Callable[[int], None]
) -> _Seen:
    """Feed a segment's frames and those around it; ``progress`` hears of its own."""
    begin, first = (-_EVER if t is None else t for t in (segment.watch_first, segment.first))
    stop, refresh = (_EVER if t is None else t for t in (segment.stop, segment.refresh))
    seen = _Seen()
    for frame in frames:
        progress(len(seen.times))
        if frame.pts < begin:
            analysis.settle(frame.planes)
            continue
        if frame.pts >= refresh:
            analysis.refresh()
            refresh = _EVER
        analysis.feed(seen.count, frame.planes, frame.time)
        seen.count += 1
        if frame.pts < first:
            seen.before += 1
        elif frame.pts < stop:
            seen.times.append(frame.pts)
    progress(len(seen.times))
    return seen


def join(
    source: str,
    segments: Sequence[Segment],
    parts: Sequence[str],
    reports: Sequence[dict[str, Any]],
    out: str,
    options: BlurOptions,
    limits: VideoLimits,
    *,
    progress: Progress,
    detector: Detector,
    interval: float = 0.6,
) -> dict[str, Any]:
    """Make one MP4 of the parts of all segments, in order, with the sound of the original.

    ``parts`` are the files and ``reports`` the answers of ``blur_segment``. Nothing is
    encoded again, but for a segment that lost a face at its seam, which is rare: it is
    blurred again, with ``detector`` and ``interval``, and its file in ``parts`` is
    overwritten. ``progress("join", done, total)`` counts frames.

    Returns:
        The report that ``blur_video`` gives, with ``join_ms`` beside its timings.

    Raises:
        BadMedia: no frame, or fewer frames than faults, could be decoded in all.
        RendererFailed: the parts do not fit together. DiskFull.
    """
    begun = time.perf_counter()
    indexes = [segment.index for segment in segments]
    if not len(parts) == len(reports) == len(segments) or indexes != [r["index"] for r in reports]:
        raise RendererFailed("the segments of this video are not complete")
    reports = list(reports)
    for index in range(1, len(segments)):
        carried = _lost(reports[index - 1], reports[index])
        if len(carried):
            reports[index] = blur_segment(
                source,
                segments[index],
                parts[index],
                options,
                detector,
                limits,
                progress=progress,
                interval=interval,
                carried=carried,
            )
    info = probe(source, limits)
    pieces = [
        Part(path, report["times"], report["tail"], report["faults"])
        for path, report in zip(parts, reports, strict=True)
    ]
    total = sum(report["frames"] for report in reports)
    written = join_parts(
        source,
        out,
        info,
        pieces,
        keep_audio=options.audio == "keep",
        keep_subtitles=options.subtitles == "keep",
        progress=lambda done: progress("join", done, total),
    )
    per_frame = _joined(reports)
    return blur_report(
        info,
        written,
        options,
        per_frame,
        looks=_summed(reports, "looks"),
        timings={
            **{name: round(ms, 1) for name, ms in _summed(reports, "timings").items()},
            "join_ms": round(1000 * (time.perf_counter() - begun), 1),
        },
    )


def _lost(before: dict[str, Any], after: dict[str, Any]) -> F32:
    """Where faces that ``after`` lost at its seam are in the first frame that it watched."""
    return lost(_watched(before), _watched(after), -after["before"])


def _joined(reports: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The faces of each segment's own frames, numbered as in one video."""
    numbers = reconcile([_watched(report) for report in reports])
    entries = []
    offset = 0
    for report, names in zip(reports, numbers, strict=True):
        for entry in report["per_frame"]:
            if 0 <= entry["frame"] < report["frames"]:
                faces = [{**face, "track": names[face["track"]]} for face in entry["faces"]]
                entries.append({"frame": entry["frame"] + offset, "faces": faces})
        offset += report["frames"]
    return entries


def _watched(report: dict[str, Any]) -> Watched:
    faces = {
        entry["frame"]: (
            [face["track"] for face in entry["faces"]],
            np.array([face["box"] for face in entry["faces"]], np.float32),
        )
        for entry in report["per_frame"]
    }
    return Watched(report["frames"], faces)


def _summed(reports: Sequence[dict[str, Any]], field: str) -> dict[str, Any]:
    totals: dict[str, Any] = {}
    for report in reports:
        for name, value in report[field].items():
            totals[name] = totals.get(name, 0) + value
    return totals
