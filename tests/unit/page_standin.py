"""A stand-in of the pod and its object store: the v1 contract in two small Flask apps.

It lets the page, the client and the command line be tried without models: what they are
answered is made up (pretended_work). File names steer it: ``busy*`` is refused once with 429,
``broken*`` is bad media, ``blank*`` shows no figure.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from contextlib import contextmanager
from pathlib import Path

from flask import Flask, Response, abort, jsonify, request, send_from_directory
from pretended_work import Standin
from werkzeug.serving import make_server

import gateway.http

PAGE = Path(gateway.http.__file__).parent / "page"


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
        state.jobs[id] |= {"status": "queued", "failures": []}
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
