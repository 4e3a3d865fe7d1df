"""Real workers with played pipelines, for batches: ``python -m tests.batch_standin [--burst]``.

A played file is a JPEG's or an MP4's first bytes and then JSON that says what happens to it:
``seconds`` of sleep, ``length`` of a video in s, ``crash`` (SIGKILL on these attempts),
``error`` (a code, on the attempts ``fail_on``), ``hang``. ``marks`` is a file to which each
attempt adds a line. A video longer than ``SEGMENT`` seconds is split. ``PLAYED_LISTING`` in the
environment makes the listing's page and bound smaller.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import time
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.errors import revive
from gateway.pipelines.blur_image import BlurredImage
from gateway.storage import Storage

JPEG = b"\xff\xd8\xff\xe0"
MP4 = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom"
RATE = 10


def photo(**script) -> bytes:
    return JPEG + json.dumps(script).encode()


def video(length=1.0, **script) -> bytes:
    return MP4 + json.dumps({"length": length, **script}).encode()


def _play(data: bytes, what: str) -> dict:
    script = json.loads(data[data.index(b"{") :])
    attempt = 1
    if "marks" in script:
        marks = Path(script["marks"])
        with marks.open("a") as file:
            file.write(f"{os.getpid()} {what}\n")
        attempt = len(marks.read_text().splitlines())
    time.sleep(script.get("seconds", 0))
    if attempt in script.get("crash", ()):
        os.kill(os.getpid(), signal.SIGKILL)
    if "error" in script and attempt in script.get("fail_on", range(99)):
        raise revive(script["error"], "as the script says")
    while script.get("hang"):
        time.sleep(0.1)
    return script


def blur_image(data, options, detector, limits, review):
    _play(data, "photo")
    report = {"kind": "image", "gate": review and review.limits}
    return BlurredImage(b"blurred " + data, "image/jpeg", "jpg", 8, 6, 1, [{}], report, {})


def blur_video(source, out, options, detector, limits, *, progress, interval, segment_seconds):
    data = Path(source).read_bytes()
    script = _play(data, "whole")
    progress("render", 1, 1)
    Path(out).write_bytes(b"blurred " + data)
    return _report(script["length"])


def _report(length):
    return {
        **{"width": 8, "height": 6, "frames": int(length * RATE), "seconds": length},
        **{"tracks": 1, "faces_detected": 3, "faces_filled": 2, "timings": {}},
    }


@dataclass(frozen=True)
class Segment:
    index: int
    start: int
    end: int


def plan(source, limits, seconds=60.0, *, interval=0.6):
    data = Path(source).read_bytes()
    length = json.loads(data[data.index(b"{") :])["length"]
    count = max(1, round(length / seconds))
    step = int(length * RATE / count)
    return [Segment(n, n * step, (n + 1) * step) for n in range(count)]


def blur_segment(source, segment, out, options, detector, limits, *, progress, interval):
    _play(Path(source).read_bytes(), f"segment {segment.index}")
    progress("render", 1, 1)
    Path(out).write_bytes(b"part %d;" % segment.index)
    return {"index": segment.index}


def join(source, segments, parts, reports, out, options, limits, *, progress, detector, interval):
    data = Path(source).read_bytes()
    assert [report["index"] for report in reports] == [s.index for s in segments]
    Path(out).write_bytes(b"".join(Path(part).read_bytes() for part in parts) + data)
    return _report(json.loads(data[data.index(b"{") :])["length"])


@dataclass(frozen=True)
class Info:
    seconds: float


def probe(source, limits):
    data = Path(source).read_bytes()
    return Info(json.loads(data[data.index(b"{") :])["length"])


def modules():
    """The played pipelines, by the names of the real ones."""
    made = {}
    for name, members in {
        "gateway.pipelines.blur_image": {"blur_image": blur_image},
        "gateway.pipelines.blur_video": {"blur_video": blur_video},
        "gateway.pipelines.segments": {
            **{"Segment": Segment, "plan": plan, "blur_segment": blur_segment, "join": join},
        },
    }.items():
        made[name] = types.ModuleType(name)
        vars(made[name]).update(members)
    return made


def install() -> None:
    """Put the played pipelines in place of the real ones, in this process."""
    import gateway.media.video
    from gateway.jobs import attempts, listing, worker

    sys.modules.update(modules())
    gateway.media.video.probe = probe
    # As in earnest, but sooner: this is what tests wait for.
    attempts.BACKOFF = attempts.PAUSES = (0.3, 0.6)
    worker._BEAT, worker._LEASE = 1, 6
    if sizes := os.environ.get("PLAYED_LISTING"):
        listing.PAGE, listing.MOST_WAITING = map(int, sizes.split())


def content(storage: Storage, key: str) -> bytes:
    """What an object holds."""
    out = io.BytesIO()
    storage.fetch(key, out)
    return out.getvalue()


def numbers(queue: Any, batch: Any) -> tuple[str, dict[str, int]]:
    """How a batch stands: its status and its counters."""
    now = queue.get(batch.id)
    return now.status, {k: now.counters[k] for k in ("total", "done", "skipped", "failed")}


if __name__ == "__main__":
    install()
    from gateway.jobs import worker

    sys.exit(worker.main())
