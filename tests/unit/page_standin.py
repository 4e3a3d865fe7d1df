"""A stand-in of the pod and its object store: the v1 contract in two small Flask apps.

It lets the page, the client and the command line be tried without models: photos
come back with a grey disc, videos as they were after a pretended job, drawings as two
frames with a skeleton that stands in their middle. File names steer it: ``busy*`` is
refused once with 429, ``broken*`` is bad media, ``lost*`` fails in its job, ``slow*``
takes until it is cancelled, ``blank*`` shows no figure.
"""

from __future__ import annotations

import io
import json
import threading
import time
import uuid
from contextlib import contextmanager
from pathlib import Path

from flask import Flask, Response, abort, jsonify, request, send_from_directory
from PIL import Image, ImageDraw
from werkzeug.serving import make_server

import gateway.http

JOINTS = {
    **{"root": (0.5, 0.6), "hip": (0.5, 0.6), "torso": (0.5, 0.35), "neck": (0.5, 0.2)},
    **{"right_shoulder": (0.4, 0.35), "right_elbow": (0.3, 0.4), "right_hand": (0.2, 0.45)},
    **{"left_shoulder": (0.6, 0.35), "left_elbow": (0.7, 0.4), "left_hand": (0.8, 0.45)},
    **{"right_hip": (0.45, 0.6), "right_knee": (0.42, 0.75), "right_foot": (0.4, 0.9)},
    **{"left_hip": (0.55, 0.6), "left_knee": (0.58, 0.75), "left_foot": (0.6, 0.9)},
}
PAGE = Path(gateway.http.__file__).parent / "page"


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


def pod_app(state: Standin) -> Flask:
    app = Flask("pod", static_folder=None)
    app.json.sort_keys = False
    uploads: dict[str, str] = {}

    @app.before_request
    def ask_for_key() -> Response | None:
        given = request.headers.get("Authorization", "")
        if state.key in ("", given.removeprefix("Bearer ")) or not request.path.startswith("/v1"):
            return None
        detail = "this API key is unknown" if given else "this service needs an API key"
        return state.problem(401, "unauthorized", "API key needed", detail)

    @app.after_request
    def policy(answer: Response) -> Response:
        answer.headers["Content-Security-Policy"] = (
            f"default-src 'self'; img-src 'self' blob: {state.s3}; media-src blob: {state.s3}; "
            f"connect-src 'self' {state.s3}; base-uri 'none'; form-action 'self'; "
            "frame-ancestors 'none'; object-src 'none'"
        )
        return answer

    @app.get("/")
    def page():
        return send_from_directory(PAGE, "index.html")

    @app.get("/page/<path:name>")
    def asset(name):
        return send_from_directory(PAGE, name)

    @app.get("/healthz")
    def healthz():
        return {"status": "ok"}

    @app.post("/v1/uploads")
    def upload():
        id = uuid.uuid4().hex
        uploads[id] = f"{state.s3}/{id}?X-Amz-Signature=put"
        return {
            "upload_id": id,
            "method": "PUT",
            "url": uploads[id],
            "headers": {"Content-Type": "application/octet-stream"},
            "expires_at": state.expires(),
            "max_bytes": state.max_bytes,
        }, 201

    @app.post("/v1/blur")
    def blur():
        if request.is_json:
            fields = dict(request.json)
            name, (body, _) = "upload", state.objects.pop(fields["upload_id"])
        else:
            fields = dict(request.form)
            file = request.files["file"]
            name, body = file.filename, file.read()
        state.posts.append({"name": name, "bytes": len(body), **fields})
        if name.startswith("busy") and state.busy_left:
            state.busy_left -= 1
            return state.problem(
                429, "busy", "Busy", "all places are taken", **{"Retry-After": "1"}
            )
        if name.startswith("broken"):
            return state.problem(
                422,
                "bad-media",
                "Unreadable media",
                "the JPEG breaks off after 1,204 bytes; export it again and retry",
            )
        if body[:4] in (b"\xff\xd8\xff\xe0", b"\x89PNG") or b"WEBP" in body[:12]:
            return jsonify(state.photo(body))
        return jsonify(state.start_job(name, body)), 202

    @app.get("/v1/motions")
    def motions():
        names = ("cheer", "dab", "dance", "wave_hello")
        return {"motions": [{"motion": name, "frames": 90, "seconds": 3.0} for name in names]}

    @app.post("/v1/rigs")
    def rig():
        file = request.files["file"]
        if file.filename.startswith("blank"):
            detail = "no drawn figure found; photograph one figure"
            return state.problem(422, "no-figure", "No figure found", detail)
        state.posts.append({"name": file.filename})
        return state.rig(file.read()), 201

    @app.put("/v1/rigs/<id>")
    def correct(id):
        if id not in state.rigs:
            return state.problem(404, "not-found", "Not found", "no such rig")
        state.corrections.append(request.json)
        state.rigs[id]["figures"][request.json["figure"]]["joints"] |= request.json["joints"]
        return state.rigs[id]

    @app.post("/v1/animate")
    def animate():
        asked = request.json
        if asked["rig_id"] not in state.rigs:
            return state.problem(404, "not-found", "Not found", "no such rig")
        state.animated.append(asked)
        made = {name: state.animation(asked["format"]) for name in asked["motions"]}
        view = {"id": uuid.uuid4().hex, "rig_id": asked["rig_id"], "animations": made}
        return {**view, "expires_at": state.expires(), "timings": {}}

    @app.get("/v1/jobs")
    def jobs():
        listed = [view for view in state.jobs.values() if view["kind"] != "video"]
        return {"jobs": listed[::-1], "next": None}

    @app.get("/v1/jobs/<id>/items")
    def items(id):
        at = int(request.args.get("from", 0))
        rows = [
            {"name": f"{n}.jpg", "output": f"{n}.jpg", "url": f"{state.s3}/{n}"} for n in (0, 1)
        ]
        more = f"/v1/jobs/{id}/items?from=2"
        return {"items": rows if not at else rows[:1], "next": None if at else more}

    @app.post("/v1/jobs/<id>/retry")
    def retry(id):
        state.jobs[id] |= {"status": "running", "failures": []}
        state.jobs[id]["items"] |= {"failed": 0, "left": 1}
        return state.jobs[id]

    @app.get("/v1/jobs/<id>")
    def job(id):
        return state.jobs.get(id) or state.problem(404, "not-found", "Not found", "no such job")

    @app.get("/v1/jobs/<id>/events")
    def events(id):
        if id not in state.jobs:
            return state.problem(404, "not-found", "Not found", "no such job")

        def stream():
            yield ": hello\n\n"
            while True:
                view = json.dumps(state.jobs[id])
                status = json.loads(view)["status"]
                final = status in ("done", "failed", "cancelled")
                yield f"event: {status if final else 'progress'}\ndata: {view}\n\n"
                if final:
                    return
                if state.cut_streams:
                    state.cut_streams -= 1
                    return
                time.sleep(0.05)

        return Response(stream(), mimetype="text/event-stream")

    @app.delete("/v1/jobs/<id>")
    def delete(id):
        if id not in state.jobs:
            return state.problem(404, "not-found", "Not found", "no such job")
        state.deleted.append(id)
        view = state.jobs[id]
        if view["status"] in ("queued", "running"):
            view["status"] = "cancelled"
        else:
            del state.jobs[id]
        return view

    return app


def store_app(state: Standin) -> Flask:
    app = Flask("store", static_folder=None)

    @app.before_request
    def mind_keys() -> None:
        if "Authorization" in request.headers:
            state.leaked.append(request.path)

    @app.after_request
    def cors(answer: Response) -> Response:
        if state.cors:
            answer.headers["Access-Control-Allow-Origin"] = "*"
            answer.headers["Access-Control-Allow-Methods"] = "GET, PUT"
            answer.headers["Access-Control-Allow-Headers"] = "*"
        return answer

    @app.put("/<key>")
    def put(key):
        state.puts.append(key)
        state.objects[key] = (request.get_data(), "application/octet-stream")
        return ""

    @app.get("/<key>")
    def get(key):
        if key not in state.objects:
            abort(403)
        body, content_type = state.objects[key]
        if state.cut_downloads:
            state.cut_downloads -= 1
            half = Response(body[: len(body) // 2], mimetype=content_type)
            half.headers["Content-Length"] = str(len(body))
            return half
        answer = Response(body, mimetype=content_type)
        return answer.make_conditional(request, accept_ranges=True, complete_length=len(body))

    return app


@contextmanager
def standin():
    """Both apps on free loopback ports; yields their ``Standin``."""
    state = Standin()
    pod = make_server("127.0.0.1", 0, pod_app(state), threaded=True)
    store = make_server("127.0.0.1", 0, store_app(state), threaded=True)
    state.url = f"http://127.0.0.1:{pod.server_port}"
    state.s3 = f"http://127.0.0.1:{store.server_port}"
    threads = [
        threading.Thread(target=s.serve_forever, args=(0.02,), daemon=True) for s in (pod, store)
    ]
    for thread in threads:
        thread.start()
    try:
        yield state
    finally:
        for server in (pod, store):
            server.shutdown()
            server.server_close()
