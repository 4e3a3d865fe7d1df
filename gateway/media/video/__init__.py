"""Videos: bytes to upright planar frames, and edited frames back to an MP4.

``probe`` looks at a file, ``read_frames`` decodes it, ``transcode`` decodes it,
hands each frame to an edit and writes H.264 with the original sound. For a video
worked on in parts, ``scan`` tells where it can be cut, ``write_part`` does one part of
what ``transcode`` does and ``join_parts`` the rest. All of them stream: memory does not
grow with the length of the video, but for a few bytes a frame that tell its time.
"""

from gateway.media.video.parts import Part, join_parts, write_part
from gateway.media.video.reader import probe, read_frames
from gateway.media.video.scan import Scan, scan
from gateway.media.video.transcode import transcode
from gateway.media.video.types import (
    Frame,
    Orientation,
    Section,
    SeekFailed,
    VideoInfo,
    VideoLimits,
    Written,
)

__all__ = [
    "Frame",
    "Orientation",
    "Part",
    "Scan",
    "Section",
    "SeekFailed",
    "VideoInfo",
    "VideoLimits",
    "Written",
    "join_parts",
    "probe",
    "read_frames",
    "scan",
    "transcode",
    "write_part",
]
