"""A real worker whose video pipeline is played: ``python -m tests.worker_standin``.

The "video" is JSON that says what happens to it: ``frames`` at ``seconds`` each, then
``hang``, ``crash`` (SIGKILL on these attempts) or ``error`` (a code, on these attempts).
``marks`` is a file to which each attempt adds its process id.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from gateway.errors import revive


def blur_video(source, out, options, detector, limits, *, progress, interval, segment_seconds):
    script = json.loads(Path(source).read_bytes())
    attempt = 1
    if "marks" in script:
        marks = Path(script["marks"])
        with marks.open("a") as file:
            file.write(f"{os.getpid()}\n")
        attempt = len(marks.read_text().split())
    frames = script.get("frames", 4)
    for stage in ("analyse", "render"):
        for done in range(frames + 1):
            progress(stage, done, frames)
            time.sleep(script.get("seconds", 0))
    if attempt in script.get("crash", ()):
        os.kill(os.getpid(), signal.SIGKILL)
    if attempt in script.get("fail_on", (1, 2, 3, 4, 5)) and "error" in script:
        raise revive(script["error"], "as the script says")
    if "bug" in script:
        raise ZeroDivisionError("secret internal detail")
    if script.get("hang"):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGALRM])
        while True:
            time.sleep(1)
    Path(out).write_bytes(b"blurred " + json.dumps(options.as_dict()).encode())
    return {
        **{"width": 64, "height": 48, "frames": frames, "seconds": 1.0, "tracks": 1},
        **{"faces_detected": 3, "faces_filled": 2, "timings": {"decode_ms": 1.0}},
        **{"options": options.as_dict(), "per_frame": []},
    }


def install() -> None:
    """Put the played pipeline in place of the real one, in this process."""
    import gateway.pipelines.blur_video

    gateway.pipelines.blur_video.blur_video = blur_video


if __name__ == "__main__":
    install()
    from gateway.jobs import attempts, worker

    # As in earnest, but sooner: this is what tests wait for.
    attempts.BACKOFF = attempts.PAUSES = (0.5, 1.0)
    worker._BEAT, worker._LEASE = 1, 6
    sys.exit(worker.main())
