"""Pass two: decode, edit, encode, and mux beside the original sound."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable

import av

from gateway.media.video.encoder import Encoder, mp4
from gateway.media.video.pictures import Uniform
from gateway.media.video.source import open_source
from gateway.media.video.tracks import Track, plan_tracks
from gateway.media.video.types import Frame, VideoInfo, Written


def transcode(
    path: str,
    out: str,
    info: VideoInfo,
    edit: Callable[[Frame], None],
    *,
    keep_audio: bool = True,
    keep_subtitles: bool = True,
    picture_end: float = math.inf,
    threads: int = 0,
    seams: Collection[int] = (),
) -> Written:
    """Write the video at ``path`` to ``out`` as MP4, each frame changed by ``edit``.

    H.264 (x264 veryfast, crf 22), fast-start; same picture size, frame count,
    timestamps, aspect and colour tags; pixels upright, no display matrix. All sound
    tracks are copied bit for bit where MP4 players take the codec, else converted
    to AAC; text subtitles are kept; other tracks, captions in the picture's stream and all
    metadata stay out.
    ``edit(frame)`` may write into ``frame.planes`` and may raise to stop. ``out``
    is overwritten and may be ``/proc/self/fd/N`` of an unlinked file. ``threads``
    bounds the decoder's and the encoder's threads each, 0 lets them choose. At the times
    ``seams`` (ticks of the source) encoding begins afresh, as in ``write_part``. Sound
    beyond ``picture_end`` (seconds, as the last frame's ``end``) stays out.

    Raises:
        BadMedia, TooLarge: as ``read_frames``. DiskFull: no room left for ``out``.
    """
    uniform = Uniform(info.picture, info.width, info.height, info.orientation)
    with open_source(path, info.limits) as source, mp4(out, source) as container:
        encoder = Encoder(container, source, info, threads, seams)
        tracks, dropped = plan_tracks(
            source.container,
            container,
            keep_audio=keep_audio,
            keep_subtitles=keep_subtitles,
            picture_end=picture_end,
        )
        container.start_encoding()
        others = [source.container.streams[index] for index in tracks]
        for item in source.items(others, threads):
            if isinstance(item, av.VideoFrame):
                upright = uniform(item)
                edit(Frame(encoder.frames, source.seconds_at(upright), upright, writable=True))
                encoder.write(upright)
            else:
                tracks[item.stream.index].write(item)
        encoder.finish()
    return summary(encoder.frames, encoder.seconds, tracks.values(), dropped)


def summary(
    frames: int, seconds: float, tracks: Iterable[Track], dropped: Iterable[str]
) -> Written:
    """What was written, counted."""
    kinds = [track.kind for track in tracks]
    return Written(
        frames=frames,
        seconds=seconds,
        audio_tracks=kinds.count("audio"),
        audio_converted=sum(t.converted for t in tracks if t.kind == "audio"),
        subtitle_tracks=len(kinds) - kinds.count("audio"),
        dropped=tuple(dropped),
    )
