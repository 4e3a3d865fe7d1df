"""The blur of a video: probe → watch (decode, detect, track) → render (decode, hide, encode).

Two passes over the file instead of a buffer of frames: a face found late is hidden
from before it was found, however long the gap, and memory does not grow with length.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any

from gateway.faces.blur import hide
from gateway.faces.timeline import Spot, stacked
from gateway.media.video import (
    Frame,
    VideoInfo,
    VideoLimits,
    Written,
    probe,
    read_frames,
    transcode,
)
from gateway.media.video.types import Plane
from gateway.pipelines.analyse import Analysis, Detector, watch
from gateway.pipelines.options import BlurOptions
from gateway.pipelines.split import SEGMENT_SECONDS, plan

Progress = Callable[[str, int, int], None]

LIMITED_BLACK = 16
NEUTRAL = 128


def blur_video(
    source: str,
    out: str,
    options: BlurOptions,
    detector: Detector,
    limits: VideoLimits,
    *,
    progress: Progress,
    interval: float = 0.6,
    segment_seconds: float = SEGMENT_SECONDS,
) -> dict[str, Any]:
    """Hide every face of the video at ``source`` and write an MP4 to ``out``.

    ``progress(stage, done, total)`` hears of every frame; what it raises ends the work.
    ``interval``: seconds between full-resolution looks (setting ``detect_interval``).
    ``segment_seconds``: a longer video comes out as if blurred in segments of that length
    (:mod:`gateway.pipelines.segments`).

    Returns:
        The report: sizes, counts, timings, and per frame what was hidden and whether
        it was detected or filled.

    Raises:
        BadMedia, UnsupportedMedia, TooLarge, ModelUnavailable, DiskFull.
    """
    info = probe(source, limits)
    begun = time.perf_counter()
    seams = plan(source, limits, segment_seconds, interval=interval)[1:]
    with Analysis(
        detector,
        threshold=options.threshold,
        rate=info.rate,
        interval=interval,
        interlaced=info.interlaced,
    ) as analysis:
        frames = _Refreshed(read_frames(source, info), analysis, [s.watch_first for s in seams])
        watch(frames, analysis, lambda done: progress("analyse", done, info.frames_estimate))
        timeline = analysis.finish()
    watched = time.perf_counter()

    edit = Edit(timeline.frames(), options, info, progress, info.frames_estimate)
    written = transcode(
        source,
        out,
        info,
        edit,
        keep_audio=options.audio == "keep",
        keep_subtitles=options.subtitles == "keep",
        picture_end=frames.end,
        seams=[s.first for s in seams if s.first is not None],
    )
    rendered = time.perf_counter()
    return blur_report(
        info,
        written,
        options,
        [
            frame_entry(number, spots)
            for number, spots in enumerate(islice(timeline.frames(), written.frames))
            if spots
        ],
        looks=analysis.looks_taken,
        timings={
            "analyse_ms": round(1000 * (watched - begun), 1),
            "render_ms": round(1000 * (rendered - watched), 1),
        },
    )


class _Refreshed:
    """Frames for ``watch``, looked at anew where each of ``times`` (ticks, rising) is reached.

    ``end``: when those that were given out end, seconds.
    """

    def __init__(
        self, frames: Iterable[Frame], analysis: Analysis, times: Iterable[int | None]
    ) -> None:
        self._frames = frames
        self._analysis = analysis
        self._waiting = deque(time for time in times if time is not None)
        self.end = 0.0

    def __iter__(self) -> Iterator[tuple[int, tuple[Plane, Plane, Plane], float]]:
        for frame in self._frames:
            while self._waiting and frame.pts >= self._waiting[0]:
                self._waiting.popleft()
                self._analysis.refresh()
            self.end = frame.end
            yield frame.index, frame.planes, frame.time


class Edit:
    """Hides the faces of the frames that the encoder hands over, in order."""

    def __init__(
        self,
        spots: Iterator[list[Spot]],
        options: BlurOptions,
        info: VideoInfo,
        progress: Progress,
        total: int,
    ) -> None:
        self._spots = spots
        self._options = options
        self._black = 0 if info.full_range else LIMITED_BLACK
        self._total = total
        self._progress = progress

    def __call__(self, frame: Frame) -> None:
        """Take the next frame."""
        spots = next(self._spots)
        if spots:  # asking for the planes may cost a copy
            hide_in_planes(frame, spots, self._options, self._black)
        self._progress("render", frame.index + 1, self._total)


def hide_in_planes(frame: Frame, spots: list[Spot], options: BlurOptions, black: int) -> None:
    """Hide the spots in a frame's Y, U and V planes; ``black`` is the luma of black."""
    boxes = stacked(spots)
    luma, chroma = frame.planes[0], frame.planes[1:]
    ratio = (round(luma.shape[1] / chroma[0].shape[1]), round(luma.shape[0] / chroma[0].shape[0]))
    mask = partial(hide, boxes=boxes, style=options.style, shape=options.shape, scale=options.scale)
    mask(luma, fill=black)
    mask(chroma, subsampling=ratio, fill=NEUTRAL)


def frame_entry(number: int, spots: list[Spot]) -> dict[str, Any]:
    """What was hidden in one frame, for the report."""
    faces = [
        {
            "track": s.track,
            "box": [round(float(v), 1) for v in s.box],
            "source": "detected" if s.detected else "filled",
        }
        for s in spots
    ]
    return {"frame": number, "faces": faces}


def blur_report(
    info: VideoInfo,
    written: Written,
    options: BlurOptions,
    per_frame: list[dict[str, Any]],
    *,
    looks: dict[str, int],
    timings: dict[str, float],
) -> dict[str, Any]:
    """The report; ``per_frame`` has the entries of frames with faces."""
    faces = [face for entry in per_frame for face in entry["faces"]]
    detected = sum(face["source"] == "detected" for face in faces)
    return {
        "width": info.width,
        "height": info.height,
        "frames": written.frames,
        "seconds": written.seconds,
        "tracks": len({face["track"] for face in faces}),
        "faces_detected": detected,
        "faces_filled": len(faces) - detected,
        "looks": looks,
        "options": options.as_dict(),
        "timings": timings,
        "per_frame": per_frame,
    }
