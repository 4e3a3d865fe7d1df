"""A small typed client of the v1 HTTP API: what the command line speaks.

Errors that the pod answers with come back as the same ``gateway.errors`` class
that it raised. ``PodUnreachable`` means that nobody answered at all. Nothing here
holds a whole video in memory: large files are streamed from and to the disk.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import NewConnectionError

from gateway.errors import Conflict, MasqueradeError, NotFound, PodUnreachable, TooLarge, revive

MIB = 1024 * 1024
DIRECT_LIMIT = 32 * MIB
"""Bytes; larger files go straight to the object store by a presigned PUT."""

FINAL = ("done", "failed", "cancelled")
_BUSY = (429, 503)
_TRIES = 3
_LONGEST_DELAY = 60.0  # seconds between two tries, whatever Retry-After says
_CONNECT = 5.0  # seconds
_QUIET = 60.0  # seconds without a byte on an event stream; it beats every 15

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in total."""


@dataclass(frozen=True)
class Result:
    """A finished photo or video. ``url`` and ``report_url`` are presigned and expire.

    ``width`` and ``height`` in pixels. ``faces``: faces of a photo, followed people
    (tracks) of a video. ``frames`` is 1 for a still photo.
    """

    kind: Literal["image", "video"]
    id: str
    url: str
    report_url: str
    expires_at: str
    content_type: str
    width: int
    height: int
    frames: int
    faces: int

    @classmethod
    def from_json(cls, kind: Literal["image", "video"], id: str, data: Mapping[str, Any]) -> Result:
        """From a photo's answer, or from ``result`` of a job view."""
        faces = len(data["faces"]) if kind == "image" else int(data.get("tracks") or 0)
        return cls(
            kind=kind,
            id=id,
            url=data["url"],
            report_url=data["report_url"],
            expires_at=data["expires_at"],
            content_type=data["content_type"],
            width=int(data["width"]),
            height=int(data["height"]),
            frames=int(data["frames"]),
            faces=faces,
        )


@dataclass(frozen=True)
class Job:
    """A video's job as the pod last showed it. ``fraction`` is 0 to 1 over all stages."""

    id: str
    status: str
    stage: str
    frames_done: int
    frames_total: int
    fraction: float
    fps: float
    eta_seconds: float | None
    result: Result | None
    error: MasqueradeError | None

    @property
    def finished(self) -> bool:
        """Whether the status will not change any more."""
        return self.status in FINAL

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Job:
        """From the pod's job view."""
        progress = data.get("progress") or {}
        result, error = data.get("result"), data.get("error")
        return cls(
            id=data["id"],
            status=data["status"],
            stage=progress.get("stage") or data["status"],
            frames_done=progress.get("frames_done") or 0,
            frames_total=progress.get("frames_total") or 0,
            fraction=progress.get("fraction") or 0.0,
            fps=progress.get("fps") or 0.0,
            eta_seconds=progress.get("eta_seconds"),
            result=Result.from_json("video", data["id"], result) if result else None,
            error=revive(error["code"], error["detail"]) if error else None,
        )


class Client:
    """One pod, from many threads if need be.

    key: the API key, where the pod wants one; nobody else gets it.
    patience: seconds that a call keeps coming back while the pod is busy (429, 503) or
    restarting; not where it asks for more. pause: how to wait; it is also called with 0
    between the pieces of a transfer, so that raising from it abandons whatever goes on.

    Every method raises ``gateway.errors.MasqueradeError`` or ``PodUnreachable``.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str = "",
        patience: float = 120.0,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self._key = key
        self._patience = patience
        self._pause = pause
        self._http = requests.Session()
        # A connection kept alive may be closed by the server just as the next POST is
        # sent on it, which cannot be told from a crash: open a fresh one each time.
        self._http.headers.update({"Connection": "close", "User-Agent": "masquerade-cli"})

    def ping(self) -> None:
        """Return when a pod answers; raises when nobody or something else does."""
        self._call("GET", "/healthz")

    def blur(
        self, path: Path, options: Mapping[str, str], *, sent: Progress | None = None
    ) -> Result | Job:
        """Hand one file in: a photo comes back finished, a video as a job."""
        data = self._send("/v1/blur", path, options, sent)
        if data["kind"] == "image":
            return Result.from_json("image", data["id"], data)
        return Job.from_json(data)

    def animate(self, path: Path, options: Mapping[str, str]) -> dict[str, str]:
        """Hand a drawing in; returns motion → presigned URL."""
        answer = self._send("/v1/animate", path, options, None)
        return {name: item["url"] for name, item in answer["animations"].items()}

    def upload(self, path: Path, *, sent: Progress | None = None) -> str:
        """Put a file into the object store by a presigned URL; returns its upload id."""
        size = path.stat().st_size
        ticket = self._call("POST", "/v1/uploads", json={"size": size}).json()
        if size > ticket["max_bytes"]:
            raise TooLarge(
                f"the file has {size / MIB:.0f} MiB; the pod takes {ticket['max_bytes'] / MIB:.0f}"
            )
        self._call(
            ticket["method"],
            ticket["url"],
            headers=ticket["headers"],
            data=_FileBody(path, size, self._pause, sent),
        )
        return str(ticket["upload_id"])

    def job(self, id: str) -> Job:
        """The job as it is now, with freshly signed URLs when it is done."""
        return Job.from_json(self._call("GET", f"/v1/jobs/{id}").json())

    def training(self, id: str) -> dict[str, Any]:
        """What a finished training job has made: ``model``, ``checkpoint_url`` and more.

        Raises:
            Conflict: it is no training, or has not ended well (yet).
        """
        job = self._call("GET", f"/v1/jobs/{id}").json()
        made = job.get("training") or {}
        if job["status"] != "done" or "checkpoint_url" not in made:
            raise Conflict("that is no training job that has ended well")
        return dict(made)

    def watch(self, id: str) -> Iterator[Job]:
        """The job each time it changes, ending with its final state.

        A broken event stream is taken up again; a pod that is away for less than
        ``patience`` seconds is waited for.
        """
        yield from map(Job.from_json, self.follow(id))

    def follow(self, id: str) -> Iterator[dict[str, Any]]:
        """The same as the pod's own views, of jobs of every kind."""
        heard = time.monotonic()
        while True:
            try:
                for view in self._events(id):
                    heard = time.monotonic()
                    yield view
                    if view["status"] in FINAL:
                        return
            except (PodUnreachable, requests.RequestException) as error:
                if time.monotonic() - heard > self._patience:
                    raise PodUnreachable(f"the pod at {self.url} went away: {error}") from error
            self._pause(1.0)

    def submit(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        """Submit a batch or a training; its view."""
        return dict(self._call("POST", "/v1/jobs", json=dict(wish)).json())

    def jobs(self, limit: int) -> list[dict[str, Any]]:
        """The newest batches and trainings, at most so many."""
        found: list[dict[str, Any]] = []
        path = "/v1/jobs?limit=100"
        while path and len(found) < limit:
            page = self._call("GET", path).json()
            found += page["jobs"]
            path = page["next"]
        return found[:limit]

    def view(self, id: str) -> dict[str, Any]:
        """A job of any kind as the pod shows it."""
        return dict(self._call("GET", f"/v1/jobs/{id}").json())

    def retry(self, id: str) -> dict[str, Any]:
        """Have what failed of a batch tried again; its view, with ``retried``."""
        return dict(self._call("POST", f"/v1/jobs/{id}/retry").json())

    def cancel(self, id: str) -> dict[str, Any]:
        """Cancel a live job, forget an ended one; its view."""
        return dict(self._call("DELETE", f"/v1/jobs/{id}").json())

    def delete(self, id: str) -> bool:
        """Cancel a running job or forget a finished one; False when it is not known."""
        try:
            self._call("DELETE", f"/v1/jobs/{id}")
        except NotFound:
            return False
        return True

    def download(self, url: str, out: BinaryIO, *, got: Progress | None = None) -> None:
        """Stream a presigned URL into a seekable binary file, from its beginning."""
        for left in reversed(range(_TRIES)):
            out.seek(0)
            out.truncate()
            try:
                with self._call("GET", url, stream=True) as answer:
                    total, done = int(answer.headers.get("Content-Length", 0)), 0
                    for piece in answer.iter_content(MIB):
                        out.write(piece)
                        done += len(piece)
                        self._pause(0)
                        if got:
                            got(done, total)
                return
            except requests.RequestException as error:
                if not left:
                    raise MasqueradeError(f"the download broke off: {error}") from error
                self._pause(1.0)

    def _send(
        self, route: str, path: Path, options: Mapping[str, str], sent: Progress | None
    ) -> dict[str, Any]:
        size = path.stat().st_size
        if size > DIRECT_LIMIT:
            ticket = self.upload(path, sent=sent)
            return dict(self._call("POST", route, json={"upload_id": ticket, **options}).json())
        files = {"file": (path.name, path.read_bytes())}
        answer = self._call("POST", route, data=dict(options), files=files)
        if sent:
            sent(size, size)
        return dict(answer.json())

    def _events(self, id: str) -> Iterator[dict[str, Any]]:
        with self._call(
            "GET", f"/v1/jobs/{id}/events", stream=True, timeout=(_CONNECT, _QUIET)
        ) as answer:
            answer.encoding = "utf-8"
            # One byte at a time: a larger read would hold an event back until it is full.
            for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
                self._pause(0)
                if line.startswith("data:"):
                    yield json.loads(line[5:])

    def _call(self, method: str, url: str, **request: Any) -> requests.Response:
        """One answer below 400; busy answers and lost idempotent calls are tried again."""
        url = self.url + url if url.startswith("/") else url
        signed = not url.startswith(self.url + "/")
        request.setdefault("timeout", (_CONNECT, 120.0))
        if signed:  # a ~/.netrc entry would add a second, refused authorisation
            request["auth"] = _bearer("")
        elif self._key:
            request["auth"] = _bearer(self._key)
        waited, tries = 0.0, 1 if method == "POST" else _TRIES
        while True:
            try:
                answer = self._http.request(method, url, **request)
            except requests.RequestException as error:
                if _never_connected(error):
                    raise PodUnreachable(f"nobody answers at {_origin(url)}") from error
                tries -= 1
                if not tries:
                    raise MasqueradeError(
                        f"{_origin(url)} broke the connection off: {_reason(error)}"
                    ) from error
                self._pause(1.0)
                continue
            if answer.status_code < 400:
                return answer
            delay = _retry_after(answer)
            if answer.status_code not in _BUSY or waited + delay > self._patience:
                raise _problem(answer)
            answer.close()
            self._pause(min(delay, _LONGEST_DELAY))
            waited += min(delay, _LONGEST_DELAY)


def _bearer(key: str) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    """Adds the key, if any; requests takes it off where the pod leads to another host."""

    def add(request: requests.PreparedRequest) -> requests.PreparedRequest:
        if key:
            request.headers["Authorization"] = f"Bearer {key}"
        return request

    return add


class _FileBody:
    """A file as a request body of known length, read in pieces; may be sent again."""

    def __init__(
        self, path: Path, size: int, pause: Callable[[float], object], sent: Progress | None
    ) -> None:
        self._path, self._size, self._pause, self._sent = path, size, pause, sent

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        done = 0
        with self._path.open("rb") as file:
            while piece := file.read(MIB):
                yield piece
                done += len(piece)
                self._pause(0)
                if self._sent:
                    self._sent(done, self._size)


def _problem(answer: requests.Response) -> MasqueradeError:
    try:
        data = answer.json()
        code, detail = str(data["code"]), str(data["detail"])
    except (ValueError, KeyError, TypeError):
        return MasqueradeError(
            f"{_origin(answer.url)} answered {answer.status_code} without saying why"
        )
    if answer.status_code == 500 and data.get("request_id"):
        detail += f" (request {data['request_id']}, for the pod's log)"
    return revive(code, detail)


def _retry_after(answer: requests.Response) -> float:
    """Seconds from the header, a number or a date; 2 when it is missing or odd."""
    text = answer.headers.get("Retry-After", "")
    try:
        delay = float(text)
    except ValueError:
        try:
            delay = parsedate_to_datetime(text).timestamp() - time.time()
        except ValueError:
            delay = 2.0
    return max(delay, 0.2)


def _never_connected(error: requests.RequestException) -> bool:
    cause = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(error, requests.ConnectTimeout) or isinstance(cause, NewConnectionError)


def _reason(error: requests.RequestException) -> str:
    return "no answer in time" if isinstance(error, requests.Timeout) else type(error).__name__


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
