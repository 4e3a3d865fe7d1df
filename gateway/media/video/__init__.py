"""Videos: bytes to upright planar frames, and edited frames back to an MP4.

``probe`` looks at a file, ``read_frames`` decodes it, ``transcode`` decodes it,
hands each frame to an edit and writes H.264 with the original sound. All three
stream: memory does not grow with the length of the video.
"""

from gateway.media.video.reader import probe, read_frames
from gateway.media.video.transcode import transcode
from gateway.media.video.types import Frame, Orientation, VideoInfo, VideoLimits, Written

__all__ = [
    "Frame",
    "Orientation",
    "VideoInfo",
    "VideoLimits",
    "Written",
    "probe",
    "read_frames",
    "transcode",
]
