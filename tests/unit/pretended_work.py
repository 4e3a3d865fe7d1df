"""What the stand-in of the pod pretends to do, and what its tests read and set.

Photos come back with a grey disc, videos as they were after a pretended job, drawings as two
frames with a skeleton that stands in their middle. The job of a file ``lost*`` fails, that of
``slow*`` takes until it is cancelled.
"""

from __future__ import annotations

import io
import json
import threading
import time
import uuid

from flask import Response
from PIL import Image, ImageDraw

JOINTS = {
    **{"root": (0.5, 0.6), "hip": (0.5, 0.6), "torso": (0.5, 0.35), "neck": (0.5, 0.2)},
    **{"right_shoulder": (0.4, 0.35), "right_elbow": (0.3, 0.4), "right_hand": (0.2, 0.45)},
    **{"left_shoulder": (0.6, 0.35), "left_elbow": (0.7, 0.4), "left_hand": (0.8, 0.45)},
    **{"right_hip": (0.45, 0.6), "right_knee": (0.42, 0.75), "right_foot": (0.4, 0.9)},
    **{"left_hip": (0.55, 0.6), "left_knee": (0.58, 0.75), "left_foot": (0.6, 0.9)},
}


class Standin:
    """The state of both apps; tests read and set it."""

    def __init__(self) -> None:
        self.url = self.s3 = ""
        self.cors = True
        self.key = ""
        self.leaked: list[str] = []  # what the store was told along with a key
        self.objects: dict[str, tuple[bytes, str]] = {}
        self.jobs: dict[str, dict] = {}
        self.rigs: dict[str, dict] = {}
        self.corrections: list[dict] = []
        self.animated: list[dict] = []
        self.posts: list[dict] = []
        self.puts: list[str] = []
        self.deleted: list[str] = []
        self.busy_left = 1
        self.frames = 40
        self.frame_seconds = 0.01
        self.max_bytes = 2**31
        self.cut_streams = 0  # event streams still to be cut off after one event
        self.cut_downloads = 0  # downloads still to be cut off half-way

    def problem(self, status: int, code: str, title: str, detail: str, **headers: str) -> Response:
        body = {
            "type": f"about:blank#{code}",
            "title": title,
            "status": status,
            "detail": detail,
            "code": code,
            "request_id": "req-0123",
        }
        return Response(json.dumps(body), status, headers, mimetype="application/problem+json")

    def keep(self, body: bytes, content_type: str) -> str:
        key = uuid.uuid4().hex
        self.objects[key] = (body, content_type)
        return f"{self.s3}/{key}?X-Amz-Signature=abc"

    def expires(self) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))

    def photo(self, body: bytes) -> dict:
        image = Image.open(io.BytesIO(body)).convert("RGB")
        w, h = image.size
        box = [w * 0.36, h * 0.08, w * 0.55, h * 0.42]
        ImageDraw.Draw(image).ellipse(box, fill=(128, 128, 128))
        out = io.BytesIO()
        image.save(out, "JPEG")
        return {
            "id": uuid.uuid4().hex,
            "kind": "image",
            "url": self.keep(out.getvalue(), "image/jpeg"),
            "report_url": self.keep(b'{"faces": 1}', "application/json"),
            "expires_at": self.expires(),
            "content_type": "image/jpeg",
            "width": w,
            "height": h,
            "frames": 1,
            "faces": [{"box": box, "score": 0.9, "landmarks": []}],
            "timings": {"total_ms": 12.0},
        }

    def batch(self, status: str = "running", **more) -> dict:
        """A batch of four files: two are done, one has failed."""
        items = {"total": 4, "done": 2, "skipped": 0, "failed": 1, "left": 1, "workers": 1}
        pace = [(0, 4.0), (5, 8.5), (20, 2.0)]
        view = {
            **{"id": uuid.uuid4().hex, "kind": "batch", "status": status},
            **{
                "created_at": "2026-11-23T10:00:00Z",
                "input": "s3://b/in/",
                "output": "s3://b/out/",
            },
            "items": {**items, "listed": True},
            "progress": {
                **{"fraction": 0.75, "fps": 25.0, "eta_seconds": 90.0},
                **{"video_seconds_done": 5400.0, "video_seconds_total": 7200.0},
            },
            "pace": [
                {"begin": begin, "length": 5, "video_seconds_per_second": speed}
                for begin, speed in pace
            ],
            "failures": [{"name": "bad.mp4", "detail": "it breaks off after 3 frames"}],
            **more,
        }
        self.jobs[view["id"]] = view
        return view

    def rig(self, body: bytes) -> dict:
        w, h = Image.open(io.BytesIO(body)).size
        url = self.keep(body, "image/png")
        figure = {
            "box": [0, 0, w, h],
            "score": 0.9,
            "joints": {name: [x * w, y * h] for name, (x, y) in JOINTS.items()},
            "size": [w, h],
            **dict.fromkeys(("texture_url", "mask_url", "overlay_url"), url),
        }
        id = uuid.uuid4().hex
        view = {"rig_id": id, "width": w, "height": h, "figures": [figure]}
        self.rigs[id] = {**view, "expires_at": self.expires()}
        return self.rigs[id]

    def animation(self, kind: str) -> dict:
        frames = [Image.new("RGB", (120, 160), colour) for colour in ("white", "pink")]
        out = io.BytesIO()
        frames[0].save(out, kind.upper(), save_all=True, append_images=frames[1:], duration=100)
        return {
            "url": self.keep(out.getvalue(), f"image/{kind}"),
            "frames": 2,
            "width": 120,
            "height": 160,
            "seconds": 0.2,
            "content_type": f"image/{kind}",
        }

    def start_job(self, name: str, body: bytes) -> dict:
        id = uuid.uuid4().hex
        self.jobs[id] = {
            "id": id,
            "kind": "video",
            "pipeline": "blur",
            "status": "queued",
            "progress": {
                "stage": "queued",
                "frames_done": 0,
                "frames_total": self.frames,
                "fraction": 0.0,
                "fps": 0.0,
                "eta_seconds": None,
            },
        }
        threading.Thread(target=self._work, args=(id, name, body), daemon=True).start()
        return self.jobs[id]

    def _work(self, id: str, name: str, body: bytes) -> None:
        job, begun = self.jobs[id], time.monotonic()
        job["status"] = "running"
        done = 0
        while done < self.frames:
            time.sleep(self.frame_seconds)
            if job["status"] == "cancelled":
                return
            done = min(done + 1, self.frames // 2 if name.startswith("slow") else self.frames)
            fps = done / (time.monotonic() - begun)
            job["progress"] = {
                "stage": "analyse" if done < self.frames / 3 else "render",
                "frames_done": done,
                "frames_total": self.frames,
                "fraction": done / self.frames,
                "fps": fps,
                "eta_seconds": (self.frames - done) / fps,
            }
            if name.startswith("lost") and done > self.frames / 2:
                job["error"] = {
                    "code": "bad-media",
                    "title": "Unreadable media",
                    "status": 422,
                    "detail": "the video breaks off after frame 20",
                }
                job["status"] = "failed"
                return
        job["result"] = {
            "url": self.keep(body, "video/mp4"),
            "report_url": self.keep(b'{"tracks": 2}', "application/json"),
            "expires_at": self.expires(),
            "content_type": "video/mp4",
            "width": 320,
            "height": 240,
            "frames": self.frames,
            "seconds": 2.0,
            "tracks": 2,
            "faces_detected": 70,
            "faces_filled": 10,
            "timings": {},
        }
        job["status"] = "done"
