"""A video put through the transcoder, for the tests of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway.media.video import (
    VideoInfo,
    VideoLimits,
    Written,
    probe,
    transcode,
)

LIMITS = VideoLimits(pixels=4096 * 2176, seconds=3600)


def run(path: Path, edit=lambda frame: None, **options: Any) -> tuple[VideoInfo, Written, Path]:
    """The video's info, what was written, and the file written beside it."""
    info = probe(str(path), LIMITS)
    out = path.with_name("out.mp4")
    return info, transcode(str(path), str(out), info, edit, **options), out
