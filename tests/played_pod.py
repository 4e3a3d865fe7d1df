"""The gateway and the renderer as real gunicorn processes, with a played model server."""

from __future__ import annotations

import contextlib
import io
import json
import secrets
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import skimage.data
import urllib3
from PIL import Image

from gateway.jobs.queue import JobQueue
from gateway.settings import MIB, Settings
from gateway.storage import Storage
from handlers.rig_figures import png
from tests.servers import as_env, free_port, gunicorn, keys, wait_for
from tests.unit.http_fakes import PLACES, found

FACE = [177.0, 62.0, 271.0, 190.0]  # in skimage's astronaut


def figure():
    """The rigger's answer for the page of http_fakes at its own size."""
    seen = found((320, 480, 3), PLACES[0])
    return {
        "box": seen.box,
        "score": seen.score,
        "joints": {name: [*place, 0.9] for name, place in seen.joints.items()},
        "mask": {"box": seen.mask_box, "png": png(seen.mask)},
    }


FIGURE = figure()


class PlayedModel:
    """Answers like TorchServe; finds one face or figure, after ``delay`` seconds, which may
    become fewer meanwhile.

    ``slow``: the only model that is so slow; empty for all. ``missing``: how the names of
    unknown models end. ``asked``: the paths that were.
    """

    def __init__(self):
        self.delay = 0.0
        self.slow = self.missing = ""
        self.waiting = 0
        self.asked = []
        played = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                if played.missing and self.path.endswith(played.missing):
                    self.reply({"code": 404}, 404)
                    return
                self.reply([{"workers": [{"status": "READY"}]}])

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                played.asked.append(self.path)
                if played.missing and self.path.endswith(played.missing):
                    self.reply({"code": 404}, 404)
                    return
                played.waiting += 1
                begun = time.monotonic()
                while self.path.endswith(played.slow) and time.monotonic() < begun + played.delay:
                    time.sleep(0.02)
                played.waiting -= 1
                if self.path.endswith("/rigger"):
                    self.reply({"images": [{"figures": [FIGURE]}]})
                    return
                marks = [[200.0, 100.0]] * 5
                self.reply({"images": [{"boxes": [FACE], "scores": [0.9], "landmarks": [marks]}]})

            def reply(self, value, status=200):
                body = json.dumps(value).encode()
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Pod:
    """Where the processes are, and how to talk to them."""

    def __init__(self, settings: Settings, url: str, model: PlayedModel) -> None:
        self.settings, self.url, self.model = settings, url, model
        self.storage = Storage(settings)
        self.queue = JobQueue(settings)
        self.gateway = self.renderer = 0

    def ask(self, method, path, **more):
        return urllib3.request(method, self.url + path, retries=False, timeout=60, **more)

    @contextlib.contextmanager
    def connection(self, sent=b""):
        """A connection to the gateway on which this was sent."""
        host, port = self.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(sent)
            yield connection

    def post(self, data, name="a.jpg", **fields):
        return self.ask("POST", "/v1/blur", fields={"file": (name, data), **fields})


@contextlib.contextmanager
def played_pod(redis_url, s3_endpoint, folder, large=False):
    """A running :class:`Pod`, with short deadlines; logs go to ``folder``.

    large: whether there are renderer processes for large work only.
    """
    model = PlayedModel()
    name = f"pod-{secrets.token_hex(4)}"
    settings = Settings(
        s3_endpoint=s3_endpoint,
        s3_bucket=name,
        redis_url=redis_url,
        queue_name=name,
        torchserve_url=model.url,
        torchserve_management_url=model.url,
        renderer_url=f"http://127.0.0.1:{free_port()}",
        renderer_large_url=f"http://127.0.0.1:{free_port()}" if large else "",
        max_photos_in_flight=4,
        s3_timeout=3.0,
        receive_timeout=4.0,
        image_deadline=4,
        drawing_deadline=8,
        model_timeout=30.0,
        max_upload_bytes=200 * MIB,
        max_image_bytes=20 * MIB,
        fetch_private_hosts="127.0.0.1",
        fetch_timeout=60.0,
        renderer_memory=1024 * MIB,
    )
    address = f"127.0.0.1:{free_port()}"
    env = {**as_env(settings), "WEB_CONCURRENCY": "1", "GATEWAY_BIND": address}
    made = Pod(settings, f"http://{address}", model)
    with (
        gunicorn(
            "gateway.gunicorn_renderer",
            settings.renderer_url + "/healthz",
            folder / "renderer.log",
            env,
        ) as renderer,
        gunicorn(
            "gateway.gunicorn_gateway", made.url + "/healthz", folder / "gateway.log", env
        ) as gateway,
    ):
        made.gateway, made.renderer = gateway.pid, renderer.pid
        wait_for(lambda: made.ask("GET", "/readyz").status == 200)
        yield made
    model.server.shutdown()


@contextlib.contextmanager
def calmed(pod):
    """What a test does with the pod leaves it working and clean."""
    pod.model.delay, pod.model.slow = 0.0, ""
    yield
    pod.model.delay, pod.model.slow = 0.0, ""
    wait_for(lambda: pod.post(astronaut()).status == 200)
    wait_for(lambda: not spooled(pod.gateway) and not spooled(pod.renderer))
    left = [key for key in keys(pod.storage) if key.startswith("uploads/")]
    assert set(left) == set(pod.queue.store.originals())


def astronaut(kind="JPEG"):
    """skimage's astronaut as a file."""
    out = io.BytesIO()
    Image.fromarray(skimage.data.astronaut()).save(out, kind)
    return out.getvalue()


def children(pid):
    """The ids of a server's workers."""
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def spooled(pid):
    """Temporary files that a server's workers still hold."""
    found = []
    for child in children(pid):
        for fd in Path(f"/proc/{child}/fd").iterdir():
            with contextlib.suppress(OSError):
                target = str(fd.readlink())
                if target.startswith("/tmp") and target.endswith("(deleted)"):
                    found.append(target)
    return [name for name in found if "wgunicorn" not in name]
