"""The search for leaks in a pod: its bucket, its folder with logs and stores, its scratch."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
from collections.abc import Iterator

import av
import numpy as np
from PIL import Image, ImageSequence
from redis import Redis

from deploy.local.pod import Pod
from gateway.models import FaceDetector
from gateway.settings import Settings
from tests.leaks import (
    ENTRY,
    NAME,
    PLACE,
    SECRET,
    Folder,
    Leak,
    Needles,
    Sent,
    in_redis,
    metadata,
)
from tests.service.helpers import Bucket, Scratch

SURE = 0.5  # the score from which a face counts as one
_OWN = re.compile(r"s3/[^/]+/(uploads|batch-[^/]+/in)/")  # users' files, as long as they need them
_MADE = re.compile(r"results/[^/]+/blurred\.|batch-[^/]+/out/")
_STILLS = 3  # frames of a result that are looked at


class Privacy:
    """What one pod has written since the last look."""

    def __init__(self, pod: Pod, bucket: Bucket, scratch: Scratch, sent: Sent) -> None:
        self._bucket = bucket
        self._home, self._scratch = Folder(pod.home), Folder(scratch.path)
        self._redis = Redis.from_url(pod.environment()["MASQUERADE_REDIS_URL"])
        self._detector = FaceDetector.from_settings(_settings(pod))
        self._words = Needles(sent)
        self._all_words = Needles(sent, (SECRET, PLACE, NAME, ENTRY))
        self._looked_at: set[str] = set()

    def leaks(self) -> list[Leak]:
        """In files and in Redis, told once each."""
        found = list(in_redis(self._redis, self._words))
        for name, data in self._home.new():
            found += self._words.in_text(name.encode(), name)
            if not _OWN.match(name):
                found += self._in_file(name, data)
        for name, data in self._scratch.new():
            found += self._all_words.in_text(name.encode() + data, name)
        return found

    def _in_file(self, name: str, data: bytes) -> Iterator[Leak]:
        if name.startswith("s3/") and ".nanio" not in name:
            return self._words.in_object(data, name)
        stores = name.startswith(("s3/", "redis/"))
        return (self._words if stores else self._all_words).in_text(data, name)

    def bared(self) -> list[Leak]:
        """Results in the bucket with a face, or that tell of more than pixels; told once each."""
        found = []
        for key in filter(_MADE.match, self._bucket.keys()):
            with contextlib.suppress(self._bucket.client.exceptions.NoSuchKey):
                body = self._bucket.read(key)
                digest = hashlib.sha256(body).hexdigest()
                if digest not in self._looked_at and not self._faces_wanted(key):
                    self._looked_at.add(digest)
                    found += self._told(key, body)
        return found

    def _told(self, key: str, body: bytes) -> Iterator[Leak]:
        if told := metadata(body):
            yield Leak(f"metadata {sorted(map(str, told))}", key)
        for frame in _stills(body):
            seen = self._detector.detect_frames(np.ascontiguousarray(frame[None, ..., ::-1]), SURE)
            if len(seen[0].scores):
                yield Leak(f"a face ({max(seen[0].scores):.2f})", key)

    def _faces_wanted(self, key: str) -> bool:
        """Whether it was asked to hide surer faces only."""
        if not key.startswith("results/"):
            return False
        report = json.loads(self._bucket.read(f"{key.rsplit('/', 1)[0]}/report.json"))
        return float(report["options"]["threshold"]) > SURE


def _settings(pod: Pod) -> Settings:
    given = pod.environment()
    return Settings(
        torchserve_url=given["MASQUERADE_TORCHSERVE_URL"],
        torchserve_key_file=given["MASQUERADE_TORCHSERVE_KEY_FILE"],
    )


def _stills(body: bytes) -> list[np.ndarray]:
    """Some frames, (H, W, 3) uint8 RGB, of a picture or video; none of anything else."""
    with contextlib.suppress(OSError), Image.open(io.BytesIO(body)) as image:
        return _some([np.asarray(one.convert("RGB")) for one in ImageSequence.Iterator(image)])
    if body[4:8] != b"ftyp":
        return []
    with av.open(io.BytesIO(body)) as file:
        file.streams.video[0].codec_context.skip_frame = "NONKEY"
        return _some([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


def _some(frames: list[np.ndarray]) -> list[np.ndarray]:
    return frames[:: max(1, len(frames) // _STILLS)]
