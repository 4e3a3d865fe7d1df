"""``make demo``: start the pod, blur a photo and a video, animate a drawing; Ctrl-C ends it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

from deploy.local.pod import PORT, ROOT, Pod, PodError, caller_settings
from deploy.local.samples import write_drawing, write_photo, write_video
from gateway.access import CLIENT_KEY
from gateway.client import Client, Job, Result

MOTIONS = "dab,jumping,zombie"


def main() -> int:
    """Run the demo; ``--once`` leaves at its end instead of waiting."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--once", action="store_true")
    args = parser.parse_args()
    pod = Pod(Path(os.environ.get("POD_HOME", ROOT / ".pod")), args.port)
    started_here = not pod.running()
    # However it is told to go, and a closed terminal is one way, its pod goes along.
    for told in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(told, signal.default_int_handler)
    try:
        print("starting the pod …", flush=True)
        pod.up(caller_settings())
        with tempfile.TemporaryDirectory() as folder:
            show(Client(pod.url, key=os.environ.get(CLIENT_KEY, "")), Path(folder))
        print(f"\nthe page:  {pod.url}/\nthe API:   {pod.url}/docs\nlogs:      {pod.logs}")
        if not args.once:
            print("Ctrl-C ends the pod.", flush=True)
            threading.Event().wait()
    except KeyboardInterrupt:
        print()
    except PodError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        if started_here:
            print("stopping the pod …", flush=True)
            pod.down()
    return 0


def show(client: Client, folder: Path) -> None:
    """Have the three samples done and print where the results are."""
    for name, path in (
        ("photo", write_photo(folder / "photo.jpg")),
        ("video", write_video(folder / "video.mp4")),
    ):
        begun = time.perf_counter()
        answer = client.blur(path, {})
        if isinstance(answer, Job):
            answer = _finished(client, answer)
        seconds = time.perf_counter() - begun
        print(
            f"\n{name}: {answer.faces} face(s) hidden in {answer.frames} frame(s), {seconds:.1f} s"
        )
        print(f"  result: {answer.url}\n  report: {answer.report_url}", flush=True)
    begun = time.perf_counter()
    animations = client.animate(write_drawing(folder / "drawing.jpg"), {"motions": MOTIONS})
    print(f"\ndrawing: {len(animations)} animations, {time.perf_counter() - begun:.1f} s")
    for motion, url in animations.items():
        print(f"  {motion}: {url}", flush=True)


def _finished(client: Client, job: Job) -> Result:
    for seen in client.watch(job.id):
        print(f"\r  video: {seen.stage:8} {seen.fraction:4.0%} ", end="", flush=True)
        job = seen
    if job.result is None:
        raise PodError(f"the video failed: {job.error}")
    return job.result


if __name__ == "__main__":
    sys.exit(main())
