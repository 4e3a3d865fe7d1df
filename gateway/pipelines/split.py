"""Where a long video is cut into segments that many workers can blur at once.

A segment is rendered from its first frame to before the next one's, and watched from
earlier and until later: by as many frames as a track can live without being seen, and
so far as it reaches beyond its first and last sight. What is known of a face at either
side of a seam is then the same as if the video were watched in one piece, but for a face
that only weak detections have carried for longer than that; the join mends it, and as that
costs a segment's work, a segment watches a little more before it than it would need to.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from gateway.media.video import Scan, Section, VideoLimits, scan
from gateway.pipelines.analyse import spans

SEGMENT_SECONDS = 60.0
PATIENCE = 2  # full looks more before a segment, of which one may find a strong face


@dataclass(frozen=True)
class Segment:
    """A stretch of a video; plain values, so that it travels as JSON.

    index: 0, 1, 2 … start, end: frame numbers in order of presentation, [start, end), as
    the packets promise them. The other times are in ticks of the source, as frames have
    them; ``None`` is the beginning, or the end. first, stop: its own frames. key: when the
    keyframe to decode from is shown. watch_first, watch_stop: the frames to watch.
    refresh: where, among its own frames, the next segment begins to watch.
    """

    index: int
    start: int
    end: int
    first: int | None = None
    stop: int | None = None
    key: int | None = None
    watch_first: int | None = None
    watch_stop: int | None = None
    refresh: int | None = None

    def watched(self, *, sought: bool = True) -> Section:
        """What to decode for watching; not ``sought``: from the file's beginning on."""
        key = self.key if sought else None
        return Section(key, key if sought else None, self.watch_stop)

    def rendered(self, *, sought: bool = True) -> Section:
        """What to decode for rendering."""
        return Section(self.first if sought else None, self.first, self.stop)


def plan(
    source: str,
    limits: VideoLimits,
    seconds: float = SEGMENT_SECONDS,
    *,
    interval: float = 0.6,
) -> list[Segment]:
    """Cut the video at ``source`` at keyframes, into segments of about ``seconds``.

    One segment where it is short, cannot be cut safely, or ``seconds`` is 0. Nothing is
    decoded. ``interval``: as for the blur.

    Raises:
        EmptyUpload, UnsupportedMedia, BadMedia, TooLarge.
    """
    found = scan(source, limits, at_least=1.5 * seconds) if seconds else None
    if found is None:
        return [Segment(0, 0, 0)]
    every, gap = spans(found.rate, interval)
    length = round(seconds / found.time_base)
    return cut(found, length, before=gap + (1 + PATIENCE) * every, after=gap + every)


def cut(found: Scan, length: int, before: int, after: int) -> list[Segment]:
    """Segments of about ``length`` ticks, watched ``before`` and ``after`` frames further."""
    times = found.times
    # For each segment but the first: its first frame's number, and the key to watch from.
    seams: list[tuple[int, int | None]] = []
    begin = 0
    for key in _near_multiples(found, length):
        start = int(np.searchsorted(times, key))
        if min(start - begin, len(times) - start) <= before + after:
            continue
        watch = int(times[start - before])
        entry = _entry(found, watch)
        if watch - (int(times[0]) if entry is None else entry) <= length:
            seams.append((start, entry))
            begin = start

    def at(frame: int) -> int | None:
        return int(times[frame]) if 0 < frame < len(times) else None

    bounds = [0, *(start for start, _ in seams), len(times)]
    entries = [None, *(entry for _, entry in seams)]
    return [
        Segment(
            index=index,
            start=start,
            end=end,
            first=at(start),
            stop=at(end),
            key=entry,
            watch_first=at(start - before),
            watch_stop=at(end + after),
            refresh=at(end - before) if end < len(times) else None,
        )
        for index, ((start, end), entry) in enumerate(zip(pairwise(bounds), entries, strict=True))
    ]


def _near_multiples(found: Scan, length: int) -> list[int]:
    """The keyframes nearest to the ends of equal pieces of about ``length`` ticks."""
    first, total = int(found.times[0]), int(found.times[-1] - found.times[0])
    pieces = round(total / length)
    if pieces < 2 or not len(found.keys):
        return []
    piece = total / pieces
    chosen = []
    for number in range(1, pieces):
        target = first + number * piece
        key = int(found.keys[np.abs(found.keys - target).argmin()])
        if abs(key - target) <= piece / 2:
            chosen.append(key)
    return sorted(set(chosen))


def _entry(found: Scan, time: int) -> int | None:
    """The last keyframe shown at or before ``time``; None: the first frame."""
    place = int(np.searchsorted(found.keys, time, side="right"))
    return int(found.keys[place - 1]) if place else None
