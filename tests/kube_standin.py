"""A Kubernetes API of Jobs and Deployments over HTTP, as far as a launcher can tell.

Objects are checked against the real API's schema, names are taken once, versions count up,
deletes honour their preconditions, watches stream events. ``faults`` answers instead of it;
``compact`` forgets old versions, so that a watch from one of them is told 410 Gone.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kubernetes_validate

from gateway.settings import Settings

_JOBS = re.compile(r"/apis/batch/v1/namespaces/([^/]+)/jobs(?:/([^/]+))?")
_PODS = re.compile(r"/api/v1/namespaces/([^/]+)/pods")
_DEPLOYMENTS = re.compile(r"/apis/apps/v1/namespaces/([^/]+)/deployments/([^/]+)")

COMPLETE = {"conditions": [{"type": "Complete", "status": "True"}], "succeeded": 2}
"""The status of a Job that has done its work."""


class Fault(Exception):
    """An answer that is no success: HTTP status, reason, message."""

    def __init__(self, status: int, reason: str, message: str = "") -> None:
        self.status, self.reason, self.message = status, reason, message or reason

    def body(self) -> dict[str, Any]:
        return {
            "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.status,
        }  # fmt: skip


class Cluster:
    """The state behind the API, and what was asked of it."""

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self.jobs: dict[tuple[str, str], dict[str, Any]] = {}
        self.deployments: dict[tuple[str, str], str] = {}
        self.pods: list[dict[str, Any]] = []  # statuses of the pods of any Job
        self.calls: list[tuple[str, str]] = []
        self.tokens: set[str | None] = set()
        self.deletions: list[dict[str, Any]] = []
        self.faults: list[Fault | None] = []
        self.url = ""
        self._version, self._oldest = 0, 0
        self._events: list[tuple[int, str, dict[str, Any]]] = []

    def change(self, name: str, *, kind: str = "MODIFIED", **status: Any) -> None:
        """Set a Job's status, as its controller would."""
        with self.lock:
            key = next(key for key in self.jobs if key[1] == name)
            self.jobs[key]["status"] = status
            self._note(kind, self.jobs[key])

    def compact(self) -> None:
        """Forget all versions before the next."""
        with self.lock:
            self._version += 10
            self._oldest = self._version

    def _note(self, kind: str, job: dict[str, Any]) -> None:
        self._version += 1
        job["metadata"]["resourceVersion"] = str(self._version)
        self._events.append((self._version, kind, json.loads(json.dumps(job))))
        self.lock.notify_all()

    # calls

    def create(self, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        kubernetes_validate.validate(body, "1.31", strict=True)
        with self.lock:
            key = namespace, body["metadata"]["name"]
            if key in self.jobs:
                raise Fault(409, "AlreadyExists", f'jobs.batch "{key[1]}" already exists')
            job = {**body, "status": {}}
            job["metadata"] = {
                **body["metadata"],
                "uid": f"uid-{self._version}",
                "creationTimestamp": "2026-01-01T00:00:00Z",
            }
            self.jobs[key] = job
            self._note("ADDED", job)
            return job

    def read(self, namespace: str, name: str) -> dict[str, Any]:
        with self.lock:
            if (namespace, name) not in self.jobs:
                raise Fault(404, "NotFound", f'jobs.batch "{name}" not found')
            return self.jobs[namespace, name]

    def delete(self, namespace: str, name: str, options: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            job = self.read(namespace, name)
            wanted = options.get("preconditions", {}).get("uid", job["metadata"]["uid"])
            if wanted != job["metadata"]["uid"]:
                raise Fault(409, "Conflict", "the UID in the precondition differs")
            self.deletions.append(options)
            del self.jobs[namespace, name]
            self._note("DELETED", job)
        return {"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Success"}

    def list(self, namespace: str, name: str) -> dict[str, Any]:
        with self.lock:
            items = [job for key, job in self.jobs.items() if key == (namespace, name)]
            version = {"resourceVersion": str(self._version)}
            return {
                "apiVersion": "batch/v1",
                "kind": "JobList",
                "metadata": version,
                "items": items,
            }

    def watch(self, name: str, version: int, seconds: float) -> Iterator[dict[str, Any]]:
        until = time.monotonic() + seconds
        while True:
            with self.lock:
                if version < self._oldest:
                    gone = Fault(410, "Expired", f"too old resource version: {version}")
                    yield {"type": "ERROR", "object": gone.body()}
                    return
                fresh = [e for e in self._events if e[0] > version]
                left = until - time.monotonic()
                if not fresh and (left <= 0 or not self.lock.wait(left)):
                    return
            version = fresh[-1][0] if fresh else version
            for _, kind, job in fresh:
                if job["metadata"]["name"] == name:
                    yield {"type": kind, "object": job}

    def list_pods(self, selector: str) -> dict[str, Any]:
        with self.lock:
            label, name = selector.split("=")
            assert label == "batch.kubernetes.io/job-name"
            known = any(key[1] == name for key in self.jobs)
            items = [
                {"metadata": {"name": f"{name}-{n}"}, "status": status}
                for n, status in enumerate(self.pods if known else ())
            ]
            return {"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items}

    def deployment(self, namespace: str, name: str) -> dict[str, Any]:
        if (namespace, name) not in self.deployments:
            raise Fault(404, "NotFound", f'deployments.apps "{name}" not found')
        metadata = {"name": name, "uid": self.deployments[namespace, name]}
        template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": name}]}}
        spec = {"selector": {"matchLabels": {"app": name}}, "template": template}
        return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster: Cluster

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        cluster = self.cluster
        cluster.tokens.add(self.headers["Authorization"])
        cluster.calls.append((self.command, "watch" if "watch" in query else parts.path))
        try:
            if cluster.faults and (fault := cluster.faults.pop(0)):
                raise fault
            if found := _DEPLOYMENTS.fullmatch(parts.path):
                return self._answer(200, cluster.deployment(*found.groups()))
            if _PODS.fullmatch(parts.path):
                return self._answer(200, cluster.list_pods(query["labelSelector"]))
            found = _JOBS.fullmatch(parts.path)
            if not found:
                raise Fault(404, "NotFound")
            namespace, name = found.groups()
            if self.command == "POST":
                return self._answer(201, cluster.create(namespace, body))
            if self.command == "DELETE":
                return self._answer(200, cluster.delete(namespace, name, body))
            if name:
                return self._answer(200, cluster.read(namespace, name))
            wanted = query["fieldSelector"].removeprefix("metadata.name=")
            if "watch" not in query:
                return self._answer(200, cluster.list(namespace, wanted))
            self._stream(wanted, query)
        except Fault as fault:
            self._answer(fault.status, fault.body())
        except kubernetes_validate.ValidationError as error:
            self._answer(422, Fault(422, "Invalid", error.message).body())

    def _stream(self, name: str, query: dict[str, str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        seconds = min(float(query.get("timeoutSeconds", 3)), 3)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for event in self.cluster.watch(name, int(query["resourceVersion"]), seconds):
                line = json.dumps(event).encode() + b"\n"
                self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_DELETE = _serve

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """A cluster whose API answers at ``url``."""
    state = Cluster()
    handler = type("Handler", (_Handler,), {"cluster": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


def settings_of(state: Cluster) -> Settings:
    """Those of a gateway that launches in this cluster."""
    return Settings(
        launcher="kubernetes", k8s_api=state.url, k8s_namespace="video", k8s_image="w:1",
        k8s_model_image="m:1", k8s_train_image="t:1",
    )  # fmt: skip
