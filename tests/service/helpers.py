"""How service tests talk to the pod: its HTTP interface, its bucket, its processes, its scratch."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import psutil
import requests
from botocore.config import Config

from deploy.local.pod import Pod
from gateway import metrics_folder
from gateway.settings import MIB
from tests.leaks import NAME, Sent

FINAL = ("done", "failed", "cancelled")
LIMITS = {
    "MASQUERADE_MAX_UPLOAD_BYTES": str(24 * MIB),
    "MASQUERADE_MAX_IMAGE_BYTES": str(12 * MIB),
    "MASQUERADE_MAX_IMAGE_PIXELS": "16000000",
    "MASQUERADE_MAX_VIDEO_SECONDS": "60",
    "MASQUERADE_IMAGE_DEADLINE": "15",
    "MASQUERADE_DRAWING_DEADLINE": "40",
    "MASQUERADE_SEGMENT_SECONDS": "8",
    "MASQUERADE_FETCH_PRIVATE_HOSTS": "127.0.0.1",
    "MASQUERADE_FETCH_TIMEOUT": "4",
    "MASQUERADE_FETCH_BYTES": str(4 * MIB),
}
"""How the pod of the tests is set."""
PATIENCE = 120.0  # seconds that anything may take on a busy machine


def eventually(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """The condition's first true answer; fails the test when there is none in time."""
    until = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < until, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)
    return answer


def becomes(observe: Callable[[], Any], wanted: Any, what: str, seconds: float = 30.0) -> None:
    """Return once ``observe`` answers what is wanted; fails showing what it answers instead."""
    until = time.monotonic() + seconds
    while (seen := observe()) != wanted:
        assert time.monotonic() < until, f"{what}: still {seen}"
        time.sleep(0.05)


class Api:
    """The pod's HTTP interface, one fresh connection a request; ``sent`` notes what is uploaded."""

    def __init__(self, url: str, sent: Sent | None = None) -> None:
        self.url = url
        self.sent = sent or Sent()
        self.address = (urlsplit(url).hostname, urlsplit(url).port)

    def call(self, method: str, path: str, **more: Any) -> requests.Response:
        more.setdefault("timeout", PATIENCE)
        return requests.request(method, self.url + path, **more)

    def get(self, path: str, **more: Any) -> requests.Response:
        return self.call("GET", path, **more)

    def blur(self, body: bytes, wait: float | None = None, **options: Any) -> requests.Response:
        """A file in a form."""
        self.sent.note(body)
        query = {} if wait is None else {"wait": wait}
        return self.call(
            "POST", "/v1/blur", params=query, files={"file": (f"{NAME}.bin", body)}, data=options
        )

    def blur_base64(self, body: bytes, prefix: str = "", **options: Any) -> requests.Response:
        """A file as base64 in JSON."""
        self.sent.note(body)
        text = prefix + base64.b64encode(body).decode()
        return self.call("POST", "/v1/blur", json={"file": text, **options})

    def blur_uploaded(self, body: bytes, **options: Any) -> requests.Response:
        """A file that is put into the bucket first."""
        return self.call("POST", "/v1/blur", json={"upload_id": self.upload(body), **options})

    def upload(self, body: bytes) -> str:
        """Put a file straight into the bucket; its upload id."""
        self.sent.note(body)
        ticket = self.call("POST", "/v1/uploads", json={"size": len(body)})
        assert ticket.status_code == 201, ticket.text
        put = requests.put(ticket.json()["url"], data=body, timeout=PATIENCE)
        assert put.status_code == 200, put.text
        return str(ticket.json()["upload_id"])

    def rig(self, body: bytes) -> requests.Response:
        """A drawing in a form."""
        self.sent.note(body)
        return self.call("POST", "/v1/rigs", files={"file": (f"{NAME}.jpg", body)})

    def animate(self, body: bytes, **options: Any) -> requests.Response:
        """A drawing in a form."""
        self.sent.note(body)
        files = {"file": (f"{NAME}.jpg", body)}
        return self.call("POST", "/v1/animate", files=files, data=options)

    def submit(self, body: bytes, **options: Any) -> str:
        """Hand a video in; its job's id."""
        answer = self.blur(body, **options)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        answer = self.get(f"/v1/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def until(
        self, job_id: str, condition: Callable[[dict[str, Any]], bool], seconds: float = PATIENCE
    ) -> dict[str, Any]:
        """The job's view once the condition holds for it."""
        view: dict[str, Any] = {}

        def holds() -> bool:
            view.update(self.job(job_id))
            return condition(view)

        until = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < until, f"waited in vain; the job is {view}"
            assert view["status"] not in FINAL, f"the job ended: {view}"
            time.sleep(0.05)
        return view

    def rendering(self, job_id: str) -> dict[str, Any]:
        """The job's view once a work-horse is at its frames."""
        stages = ("analyse", "render")
        return self.until(
            job_id, lambda v: v["status"] == "running" and v["progress"]["stage"] in stages
        )

    def ended(self, job_id: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """The job's view when it is over."""
        return self.until(job_id, lambda v: v["status"] in FINAL, seconds)

    def events(self, job_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """A job's server-sent events as (name, view)."""
        with self.get(f"/v1/jobs/{job_id}/events", stream=True) as answer:
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            name = ""
            answer.encoding = "utf-8"
            for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    yield name, json.loads(line.removeprefix("data: "))

    def ready(self) -> bool:
        return self.get("/readyz").status_code == 200

    @contextlib.contextmanager
    def raw(self, head: str, body: bytes = b"") -> Iterator[socket.socket]:
        """A connection on which this request head and piece of a body were sent."""
        with socket.create_connection(self.address, timeout=PATIENCE) as connection:
            connection.sendall(head.replace("\n", "\r\n").encode() + body)
            yield connection


def problem(answer: requests.Response, status: int, code: str) -> dict[str, Any]:
    """The body of an answer that must be this problem, told as the contract says."""
    assert answer.status_code == status, f"{answer.status_code} {answer.text[:500]}"
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = dict(answer.json())
    assert set(body) == {"type", "title", "status", "detail", "code", "request_id"}
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"] == f"about:blank#{code}"
    assert body["request_id"] == answer.headers["X-Request-Id"]
    assert body["title"]
    assert body["detail"]
    if status in (429, 503):
        assert int(answer.headers["Retry-After"]) > 0
    return body


def form(body: bytes, query: str = "", more: str = "") -> tuple[str, bytes]:
    """Head and body of a request that blurs a file; ``more``: lines for its head."""
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    whole = part + body + b"\r\n--b--\r\n"
    head = (
        f"POST /v1/blur{query} HTTP/1.1\nHost: pod\n{more}"
        f"Content-Type: multipart/form-data; boundary=b\nContent-Length: {len(whole)}\n\n"
    )
    return head, whole


def read_answer(connection: socket.socket) -> requests.Response:
    """The answer on a raw connection, to the end of its body."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        assert piece, f"the connection ended after {data!r}"
        data += piece
    head, body = data.split(b"\r\n\r\n", 1)
    first, *lines = head.decode().split("\r\n")
    answer = requests.Response()
    answer.status_code = int(first.split()[1])
    answer.headers.update(dict(line.split(": ", 1) for line in lines))
    while len(body) < int(answer.headers["Content-Length"]):
        piece = connection.recv(65536)
        assert piece, "the connection ended amid the answer"
        body += piece
    answer._content = body
    return answer


def live(api: Api) -> int:
    """Jobs that are queued or running."""
    for line in api.get("/metrics").text.splitlines():
        if line.startswith("masquerade_jobs_live "):
            return int(float(line.split()[1]))
    raise AssertionError("no such metric")


class Bucket:
    """The pod's bucket, seen past the gateway."""

    def __init__(self, environment: Mapping[str, str], name: str = "masquerade") -> None:
        self.name = name
        self.endpoint = environment["MASQUERADE_S3_ENDPOINT"]
        self.client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
            config=Config(s3={"addressing_style": "path"}),
        )

    def put(self, key: str, body: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=body)

    def read(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket=self.name, Key=key)["Body"].read())

    def keys(self, prefix: str = "") -> set[str]:
        pages = self.client.get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self.name, Prefix=prefix)
        return {item["Key"] for page in found for item in page.get("Contents", ())}


@dataclass(frozen=True)
class Scratch:
    """The temporary folder of the pod's processes; ``own`` when it is a file system by itself."""

    path: Path
    own: bool

    def names(self) -> set[str]:
        """What lies in it, except where there is no memory to keep a gateway's counters in."""
        names = {entry.name for entry in self.path.iterdir()}
        return {name for name in names if not name.startswith(metrics_folder.PREFIX)}

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """No byte of room while entered."""
        ballast = self.path / "ballast"
        try:
            with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while file.write(bytes(4096)):
                    pass
            yield
        finally:
            ballast.unlink()


class Family:
    """A program's processes now: supervisor is asked again only after its restart."""

    def __init__(self, pod: Pod, program: str) -> None:
        self._pod, self._program = pod, program
        self._parent: psutil.Process | None = None

    def processes(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            if self._parent is None or not self._parent.is_running():
                self._parent = psutil.Process(self._pod.pids(self._program)[0])
            return [self._parent, *self._parent.children(recursive=True)]
        return []


def unlinked_files(family: Family) -> int:
    """Open files without a name: a spooled upload that nobody closed would show."""
    count = 0
    for process in family.processes():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for link in os.scandir(f"/proc/{process.pid}/fd"):
                with contextlib.suppress(FileNotFoundError):
                    name = str(Path(link.path).readlink())
                    # but gunicorn's own signs of life of its workers are none
                    count += name.endswith("(deleted)") and "wgunicorn-" not in name
    return count


@contextlib.contextmanager
def suspended(*processes: psutil.Process) -> Iterator[None]:
    """While entered these are there, listen, and do nothing."""
    try:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        yield
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


def work_horse(pod: Pod) -> psutil.Process:
    """The process that the worker forked for the job that it is at."""
    found = eventually(lambda: pod.pids("worker")[1:], "a work-horse")
    return psutil.Process(found[0])


def metrics_of(process: psutil.Process) -> Path:
    """The folder in which a gateway's process counts."""
    links = (Path(link.path).readlink() for link in os.scandir(f"/proc/{process.pid}/fd"))
    return next(link for link in links if link.name.startswith(metrics_folder.PREFIX))


def drawing_renderer(pod: Pod) -> psutil.Process:
    """The renderer process, of a pod or a replica, that works on a request right now."""
    names = ("MASQUERADE_RENDERER_URL", "MASQUERADE_RENDERER_LARGE_URL")
    ports = {urlsplit(pod.environment()[name]).port for name in names}

    def busy() -> psutil.Process | None:
        for pid in pod.pids("renderer")[1:]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                for connection in process.net_connections("tcp"):
                    if connection.status == "ESTABLISHED" and connection.laddr.port in ports:
                        return process
        return None

    found = eventually(busy, "a renderer at work")
    assert isinstance(found, psutil.Process)
    return found


def model_server(pod: Pod) -> psutil.Process:
    """TorchServe's Java process."""
    return _descendant(pod, lambda process: Path(process.exe()).name == "java")


def model_worker(pod: Pod) -> psutil.Process:
    """TorchServe's Python process in which the face detector runs."""
    return _descendant(pod, lambda process: _serves(process, "face_detector"))


def _serves(process: psutil.Process, model: str) -> bool:
    """TorchServe starts a worker in the folder to which it unpacked the archive."""
    return "--sock-name" in process.cmdline() and (Path(process.cwd()) / f"{model}.py").exists()


def _descendant(pod: Pod, wanted: Callable[[psutil.Process], bool]) -> psutil.Process:
    def find() -> psutil.Process | None:
        for pid in pod.pids("torchserve"):
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                if wanted(process):
                    return process
        return None

    found = eventually(find, "TorchServe's process")
    assert isinstance(found, psutil.Process)
    return found
