"""The blur of a video: probe → watch (decode, detect, track) → render (decode, hide, encode).

Two passes over the file instead of a buffer of frames: a face found late is hidden
from before it was found, however long the gap, and memory does not grow with length.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from gateway.faces.blur import hide
from gateway.faces.timeline import Spot, Timeline, stacked
from gateway.media.video import Frame, VideoInfo, VideoLimits, probe, read_frames, transcode
from gateway.pipelines.analyse import Analysis, Detector, watch
from gateway.pipelines.options import BlurOptions

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
) -> dict[str, Any]:
    """Hide every face of the video at ``source`` and write an MP4 to ``out``.

    ``progress(stage, done, total)`` hears of every frame; what it raises ends the work.
    ``interval``: seconds between full-resolution looks (setting ``detect_interval``).

    Returns:
        The report: sizes, counts, timings, and per frame what was hidden and whether
        it was detected or filled.

    Raises:
        BadMedia, UnsupportedMedia, TooLarge, ModelUnavailable, DiskFull.
    """
    info = probe(source, limits)
    begun = time.perf_counter()
    with Analysis(
        detector, threshold=options.threshold, rate=info.rate, interval=interval
    ) as analysis:
        watch(
            ((f.index, f.planes) for f in read_frames(source, info)),
            analysis,
            lambda done: progress("analyse", done, info.frames_estimate),
        )
        timeline = analysis.finish()
    watched = time.perf_counter()

    edit = _Edit(timeline, options, 0 if info.full_range else LIMITED_BLACK, info, progress)
    written = transcode(source, out, info, edit, keep_audio=options.audio == "keep")
    rendered = time.perf_counter()

    detected, filled = timeline.counts(written.frames)
    return {
        "width": info.width,
        "height": info.height,
        "frames": written.frames,
        "seconds": written.seconds,
        "tracks": len(timeline),
        "faces_detected": detected,
        "faces_filled": filled,
        "looks": analysis.looks_taken,
        "options": options.as_dict(),
        "timings": {
            "analyse_ms": round(1000 * (watched - begun), 1),
            "render_ms": round(1000 * (rendered - watched), 1),
        },
        "per_frame": _per_frame(timeline, written.frames),
    }


class _Edit:
    """Hides the faces of the frames that the encoder hands over, in order."""

    def __init__(
        self,
        timeline: Timeline,
        options: BlurOptions,
        black: int,
        info: VideoInfo,
        progress: Progress,
    ) -> None:
        self._spots = timeline.frames()
        self._options = options
        self._black = black
        self._total = info.frames_estimate
        self._progress = progress

    def __call__(self, frame: Frame) -> None:
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


def _per_frame(timeline: Timeline, frames: int) -> list[dict[str, Any]]:
    return [
        {
            "frame": number,
            "faces": [
                {
                    "track": s.track,
                    "box": [round(float(v), 1) for v in s.box],
                    "source": "detected" if s.detected else "filled",
                }
                for s in spots
            ],
        }
        for number, spots in zip(range(frames), timeline.frames(), strict=False)
        if spots
    ]
