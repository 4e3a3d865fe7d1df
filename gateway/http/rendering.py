"""The gateway's side of the renderer: photos, probes and drawings done in other processes.

Whatever happens to such a process, only the request that it worked on notices:
a death is ``RendererFailed``, a deadline ``DeadlineExceeded``.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, BinaryIO

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ReadTimeoutError,
)

from gateway import carry, deadline, traces
from gateway.errors import (
    DeadlineExceeded,
    MasqueradeError,
    RendererFailed,
    RendererUnavailable,
    revive,
)
from gateway.http import hangups
from gateway.http.records import Records
from gateway.http.turns import TurnTaking, give_way
from gateway.pipelines.options import BlurOptions
from gateway.settings import MIB, Settings

META_LENGTH = "X-Meta-Length"
OPTIONS = "X-Options"
DEADLINE = "X-Deadline"
LARGE = "X-Large"
WORKED = "X-Worked"
_READY_TIMEOUT = 0.5  # seconds; of both lanes together less than /readyz waits for a check
_LONGEST_SHOWN = 256 * MIB  # bytes of pixels for a classifier
_LONGEST_META = 64 * MIB  # bytes of JSON beside a picture


@dataclass(frozen=True)
class Rendered:
    """A blurred picture. ``body`` is an unlinked temporary file, closed by its user.

    ``meta``: content_type, extension, width, height, frames, faces, timings, report.
    ``seconds``: what it took of a renderer process.
    """

    body: IO[bytes]
    meta: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class Probed:
    """What a video is like; meta: width, height, frames (an estimate), seconds of it.

    ``seconds``: what it took of a renderer process.
    """

    meta: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class Piece:
    """One record of a drawing's answer; see ``gateway.renderer_drawings``.

    ``body`` is an unlinked temporary file, closed by its user.
    """

    head: dict[str, Any]
    body: IO[bytes]


@dataclass(frozen=True)
class Shown:
    """What a classifier is shown of a picture: ``.npy``; meta: width, height, frames of it.

    ``seconds``: what it took of a renderer process.
    """

    frames: bytes
    meta: dict[str, Any]
    seconds: float


class Renderer:
    """Calls the renderer over HTTP on loopback."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.renderer_url.rstrip("/")
        self._large_url = settings.renderer_large_url.rstrip("/") or self._url
        self._photo = float(settings.image_deadline)
        self._drawing = float(settings.drawing_deadline)
        # gunicorn's sync workers answer one request a connection: nothing to keep alive
        self._http = urllib3.PoolManager(maxsize=1, headers={"Connection": "close"})

    def image(
        self, file: BinaryIO, size: int, options: BlurOptions, *, large: bool = False
    ) -> Rendered:
        """Blur a picture file of ``size`` bytes, read from its start.

        ``large``: it takes long, and shall not hold up those that do not.

        Raises:
            MasqueradeError: whatever the renderer found wrong with it, or with itself.
        """
        file.seek(0)
        headers = {
            "Content-Length": str(size),
            "Content-Type": "application/octet-stream",
            OPTIONS: json.dumps(options.as_dict()),
            **({LARGE: "yes"} if large else {}),
        }
        with _asking("large" if large else "photo"):
            return self._image(file, headers, self._large_url if large else self._url)

    def _image(self, file: BinaryIO, headers: Mapping[str, str], url: str) -> Rendered:
        turn = _Turn(self._photo)
        answer = self._call(turn, url + "/image", file, headers)
        body = tempfile.TemporaryFile()  # noqa: SIM115 - its user closes it
        try:
            length = int(answer.headers[META_LENGTH])
            if length > _LONGEST_META:
                raise RendererFailed("this picture's report is too long")
            meta = json.loads(turn.read(answer, length))
            while chunk := turn.read(answer, MIB):
                body.write(chunk)
            return Rendered(body, meta, _worked(answer))
        except BaseException:
            body.close()
            raise
        finally:
            answer.close()

    def shown(self, file: BinaryIO, size: int) -> Shown:
        """Decode a picture file of ``size`` bytes to what a classifier is shown.

        Raises:
            MasqueradeError: whatever the renderer found wrong with it, or with itself.
        """
        file.seek(0)
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        with _asking("shown"):
            turn = _Turn(self._photo)
            answer = self._call(turn, self._url + "/shown", file, headers)
            with contextlib.closing(answer):
                meta = json.loads(turn.read(answer, int(answer.headers[META_LENGTH])))
                return Shown(turn.read(answer, _LONGEST_SHOWN), meta, _worked(answer))

    def probe(self, file: IO[bytes]) -> Probed:
        """Check a video in an open file.

        Raises:
            MasqueradeError: whatever the renderer found wrong with it, or with itself.
        """
        file.flush()
        path = f"/proc/{os.getpid()}/fd/{file.fileno()}"
        asked = json.dumps({"path": path}).encode()
        with _asking("probe"):
            turn = _Turn(self._photo)
            json_sent = {"Content-Type": "application/json"}
            answer = self._call(turn, self._url + "/probe", asked, json_sent)
            with contextlib.closing(answer):
                return Probed(json.loads(turn.read(answer, MIB)), _worked(answer))

    def drawing(self, task: IO[bytes]) -> Generator[Piece, None, None]:
        """Do a task of ``gateway.renderer_drawings``, a file of records; pieces come as made.

        Who takes them has to give up for a client that hangs up: between two pieces nothing in
        here can.

        Raises:
            MasqueradeError: whatever the renderer found wrong with it, or with itself.
        """
        turn = _Turn(self._drawing)
        answer = self._send(turn, "/drawing", task)
        stream = Records(lambda count: turn.read(answer, count))
        ended = False
        try:
            for head in stream:
                if head["kind"] == "error":
                    raise revive(head["code"], head["message"], head["retry_after"])
                ended = head["kind"] == "end"
                body = tempfile.TemporaryFile()  # noqa: SIM115 - its user closes it
                try:
                    for data in stream.body_pieces():
                        body.write(data)
                except BaseException:
                    body.close()
                    raise
                yield Piece(head, body)
            if not ended:
                raise turn.died()
        except (ValueError, LookupError, TypeError) as error:
            raise turn.died() from error
        finally:
            answer.close()

    def motion(self, motion: IO[bytes]) -> dict[str, Any]:
        """Try a motion, a file of records; answers frames and seconds."""
        with _asking("motion"):
            turn = _Turn(self._drawing)
            answer = self._send(turn, "/motion", motion)
            with contextlib.closing(answer):
                return dict(json.loads(turn.read(answer, MIB)))

    def ready(self) -> str | None:
        """None when a renderer process answers, of those for large work too; else why not."""
        faults = (self._fault(url) for url in dict.fromkeys((self._url, self._large_url)))
        return next(filter(None, faults), None)

    def _fault(self, url: str) -> str | None:
        try:
            answer = self._http.request(
                "GET", url + "/healthz", timeout=_READY_TIMEOUT, retries=False, redirect=False
            )
        except ReadTimeoutError:
            return None  # all are busy: they queue, which is what admission is for
        except HTTPError as error:
            return f"the renderer does not answer ({type(error).__name__})"
        return None if answer.status == 200 else f"the renderer answers {answer.status}"

    def _send(self, turn: _Turn, path: str, records: IO[bytes]) -> urllib3.BaseHTTPResponse:
        size = records.seek(0, os.SEEK_END)
        records.seek(0)
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        return self._call(turn, self._large_url + path, records, headers)

    def _call(
        self, turn: _Turn, url: str, body: IO[bytes] | bytes, headers: Mapping[str, str]
    ) -> urllib3.BaseHTTPResponse:
        try:
            answer = self._http.request(
                "POST",
                url,
                body=body if isinstance(body, bytes) else TurnTaking(body),  # type: ignore[arg-type]
                headers={
                    **headers,
                    "Connection": "close",
                    DEADLINE: str(time.time() + turn.patience),
                    **carry.headers(),
                },
                timeout=urllib3.Timeout(connect=2.0, read=turn.patience),
                retries=False,
                redirect=False,
                preload_content=False,
            )
        except (NewConnectionError, ConnectTimeoutError) as error:
            raise RendererUnavailable("the renderer is restarting; try again soon") from error
        except ReadTimeoutError as error:
            raise turn.too_late() from error
        except HTTPError as error:
            raise turn.died() from error
        if answer.status == 200:
            return answer
        try:
            told = json.loads(turn.read(answer, MIB))
            reported = revive(told["code"], told["message"], told.get("retry_after"))
        except (ValueError, KeyError, TypeError):  # gunicorn's own page about its process
            raise turn.died() from None
        finally:
            answer.close()
        raise reported


@contextlib.contextmanager
def _asking(kind: str) -> Iterator[None]:
    with traces.span(f"renderer {kind}", "client"), hangups.giving_up():
        yield


def _worked(answer: urllib3.BaseHTTPResponse) -> float:
    """Seconds that the renderer says it took."""
    return float(answer.headers[WORKED])


class _Turn:
    """One request's time at the renderer: ``patience`` seconds from now on, or what is left."""

    def __init__(self, patience: float) -> None:
        deadline.check()
        self.patience = min(patience, deadline.left())
        self._begun = time.monotonic()

    def read(self, answer: urllib3.BaseHTTPResponse, count: int) -> bytes:
        try:
            give_way()  # an answer that is all there would keep the event loop to itself
            return answer.read(count)
        except ReadTimeoutError as error:
            raise self.too_late() from error
        except HTTPError as error:
            raise self.died() from error

    def died(self) -> MasqueradeError:
        # a process ends at its deadline, which looks like a crash from here
        if time.monotonic() - self._begun > self.patience - min(1.5, self.patience / 2):
            return self.too_late()
        return RendererFailed("the process that read this file died; the file may be damaged")

    def too_late(self) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"the file took longer than the {round(self.patience, 1):g} s that it may take"
        )
