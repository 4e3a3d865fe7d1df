"""Where a video can be cut: its packets read once, without decoding any.

A cut is safe at a keyframe that everything stored before it is shown before: whoever
decodes from there gets exactly the frames shown from there on (leading pictures of an
open group are shown before it, and belong to what precedes).
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from av.stream import Stream

from gateway.media.video.source import Source, check_length, open_source
from gateway.media.video.types import VideoLimits

Ticks = npt.NDArray[np.int64]

# Every frame of these is a keyframe; of others that say so, the flags are not to be trusted.
_INTRA_CODECS = {"mjpeg", "prores"}
_REORDERED = 32  # frames; codecs hold back 16 at most


@dataclass(frozen=True)
class Scan:
    """What the packets tell: times in ticks of ``time_base`` on the output's clock.

    times: of all frames, in order of presentation, none twice. keys: of the keyframes
    that a cut is safe at, in order, without the first frame. rate: average frames per
    second, as ``probe`` has it.
    """

    times: Ticks
    keys: Ticks
    time_base: Fraction
    rate: float


def scan(path: str, limits: VideoLimits, at_least: float = 0.0) -> Scan | None:
    """Read the packets of the video at ``path``; None where no cut would be safe.

    A file that says that it is shorter than ``at_least`` seconds is not read: None.

    Raises:
        EmptyUpload, UnsupportedMedia, BadMedia, TooLarge: as ``probe``, but for what only
        decoding shows.
    """
    with open_source(path, limits) as source:
        if 0 < source.seconds < at_least:
            return None
        codec = source.video.codec_context.codec.canonical_name
        intra = codec in _INTRA_CODECS
        if source.demuxer == "avi" and not intra:
            return None  # its times depend on how many frames came before
        times, keys, flagged = array("q"), array("q"), 0
        latest: int | None = None
        for packet in source.packets(_watched_streams(source)):
            if packet.stream is not source.video or not packet.size or packet.is_discard:
                continue
            at = source.shown_at(packet)
            if at is None:
                return None
            flagged += packet.is_keyframe
            if latest is not None and packet.is_keyframe and at > latest:
                keys.append(at)
            times.append(at)
            latest = at if latest is None else max(latest, at)
        if source.splices.found or not times or (flagged == len(times) and not intra):
            return None
        stored = np.array(times, np.int64)
        ordered = np.sort(stored)
        check_length(source, int(ordered[-1] - ordered[0]))
        displaced = np.searchsorted(ordered, stored) - np.arange(len(stored))
        if (np.diff(ordered) <= 0).any() or np.abs(displaced).max() > _REORDERED:
            return None  # the times will be repaired, frame after frame
        return Scan(ordered, np.array(keys, np.int64), source.time_base, float(source.rate))


def _watched_streams(source: Source) -> list[Stream]:
    """A jump in any stream's clock moves the picture's, too, where clocks jump at all."""
    others = source.container.streams.audio if source.spliced else ()
    return [source.video, *others]
