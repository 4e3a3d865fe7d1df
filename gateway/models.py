"""The TorchServe clients: the only place that knows its addresses and its answers.

The model server is in the same pod, yet it restarts, runs out of memory and keeps
answering "Healthy" while its worker is dead: every call has its own time limit, and
readiness means that a worker of the model reports READY.
"""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import urllib3

from gateway import carry, deadline, traces
from gateway.drawings.character import PARENTS
from gateway.errors import BadMedia, ModelFailed, ModelUnavailable, TooLarge
from gateway.faces.boxes import Detections
from gateway.settings import Settings

U8 = npt.NDArray[np.uint8]
T = TypeVar("T")

READY_TIMEOUT = 1.0
_SHORTEST = 0.001  # seconds of waiting; urllib3 takes no less than something
_SILENT = "the model server does not answer"
_FAILED = b"InternalServerException"  # TorchServe's, of a handler that failed or died
_CONNECTIONS = 32  # kept open to the model server, a model and process; more come and go


class Model:
    """Calls one model of the server. Safe to share between threads."""

    name: ClassVar[str]
    title: ClassVar[str]

    def __init__(
        self,
        url: str,
        management_url: str,
        key_file: str = "",
        timeout: float = 60.0,
        patience: float = 0.0,
    ) -> None:
        """See the settings ``torchserve_*`` and ``model_timeout``.

        patience: how long to keep trying (seconds) while the model is away; jobs
        wait, interactive requests do not. One that fails is asked once more.
        """
        self._url = f"{url}/predictions/{self.name}"
        self._describe = f"{management_url}/models/{self.name}"
        self._key_file = key_file
        self._keys: dict[str, str] = {}
        self._lock = threading.Lock()
        self._timeout = timeout
        self._patience = patience
        self._doubted = False
        self._http = urllib3.PoolManager(maxsize=_CONNECTIONS, retries=False)

    @classmethod
    def from_settings(cls, settings: Settings, patience: float = 0.0) -> Self:
        """The model these settings point at."""
        return cls(
            settings.torchserve_url,
            settings.torchserve_management_url,
            settings.torchserve_key_file,
            settings.model_timeout,
            patience,
        )

    def ready(self) -> str | None:
        """None when a worker of the model is ready, else what is wrong."""
        try:
            answer = self._look(self._describe)
            if answer.status >= 300:
                self._forget_keys()
                return f"the model server answers {answer.status}"
            workers = json.loads(answer.data)[0]["workers"]
            states = {str(worker["status"]) for worker in workers}
        except (urllib3.exceptions.HTTPError, OSError, ValueError, LookupError, TypeError):
            self._forget_keys()
            return _SILENT
        return None if "READY" in states else f"no model worker is ready ({', '.join(states)})"

    def _look(self, url: str) -> urllib3.BaseHTTPResponse:
        return self._http.request(
            "GET", url, headers=self._auth("management"), timeout=READY_TIMEOUT
        )

    def _ask(
        self, body: Any, read: Callable[[Any], T], headers: Mapping[str, str] | None = None
    ) -> list[T]:
        """What ``read`` makes of each image in the answer; it may raise what bad values raise."""
        give_up, failures = time.monotonic() + self._patience, 0
        while True:
            try:
                self._look_again()
                found = self._call(body, read, headers or {})
                self._doubted = False
                return found
            except ModelUnavailable as error:
                self._doubted = True
                failures += isinstance(error, ModelFailed)
                if failures > 1 or time.monotonic() > give_up:
                    raise
                time.sleep(1.0)

    def _look_again(self) -> None:
        """After a failure: a server that is starting takes calls, and keeps them waiting."""
        if not self._doubted:
            return
        self._forget_keys()  # a restarted TorchServe has new ones
        if self.ready() not in (None, _SILENT):
            raise ModelUnavailable(f"the {self.title} is starting; try again")

    def _call(self, body: Any, read: Callable[[Any], T], headers: Mapping[str, str]) -> list[T]:
        answer = self._post(body, headers)
        if answer.status == 400 and b"Token" in answer.data[:500]:
            # A restarted TorchServe has new keys.
            self._forget_keys()
            answer = self._post(body, headers)
        if answer.status == 413:
            raise TooLarge("the picture is larger than the model server takes")
        if answer.status == 400 and b"Token" not in answer.data[:500]:
            raise BadMedia(f"the {self.title} cannot read this picture")
        if answer.status != 200:
            failed = answer.status in (500, 507) or _FAILED in answer.data[:500]
            raise (ModelFailed if failed else ModelUnavailable)(
                f"the {self.title} failed (status {answer.status}); try again"
            )
        try:
            found = [read(image) for image in json.loads(answer.data)["images"]]
        except (ValueError, LookupError, TypeError, AttributeError, cv2.error):
            found = []
        if not found:
            raise ModelFailed(f"the {self.title}'s answer is unreadable; try again")
        return found

    def _post(self, body: Any, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        deadline.check()
        with traces.span(f"model {self.name}", "client"):
            try:
                return self._http.request(
                    "POST",
                    self._url,
                    body=body,
                    headers={
                        "Content-Type": "application/octet-stream",
                        **headers,
                        **carry.headers(),
                        **self._auth("inference"),
                    },
                    timeout=urllib3.Timeout(
                        connect=2.0, read=max(_SHORTEST, min(self._timeout, deadline.left()))
                    ),
                )
            except (urllib3.exceptions.HTTPError, OSError):
                deadline.check()
                raise ModelUnavailable(f"the {self.title} does not answer; try again") from None

    def _auth(self, kind: str) -> dict[str, str]:
        if not self._key_file:
            return {}
        with self._lock:
            if not self._keys:
                try:
                    stored = json.loads(Path(self._key_file).read_text())
                    self._keys = {name: stored[name]["key"] for name in ("inference", "management")}
                except (OSError, ValueError, LookupError, TypeError):
                    return {}
            return {"Authorization": f"Bearer {self._keys[kind]}"}

    def _forget_keys(self) -> None:
        with self._lock:
            self._keys = {}


class ModelServer:
    """The server behind all models."""

    def __init__(self, metrics_url: str) -> None:
        self._url = f"{metrics_url}/metrics"
        self._http = urllib3.PoolManager(maxsize=1, retries=False)

    def metrics(self) -> str | None:
        """What it counts, in Prometheus' text format; None when it does not answer."""
        try:
            answer = self._http.request("GET", self._url, timeout=READY_TIMEOUT)
        except (urllib3.exceptions.HTTPError, OSError):
            return None
        return answer.data.decode() if answer.status == 200 else None


class FaceDetector(Model):
    """The ``face_detector`` model."""

    name, title = "face_detector", "face detector"

    def detect_encoded(self, data: bytes, threshold: float) -> Detections:
        """Faces in one encoded image, in the pixels of the image turned upright.

        Raises:
            ModelUnavailable: the model is down or did not answer in time.
            BadMedia: the model server cannot read the image.
        """
        return self._detect(data, threshold)[0]

    def detect_frames(self, frames: U8, threshold: float) -> list[Detections]:
        """Faces in N frames: (N, H, W, 3) BGR or (N, H·3/2, W) I420, uint8.

        Raises:
            ModelUnavailable: the model is down or did not answer in time.
        """
        return self._detect(_npy(frames), threshold)

    def _detect(self, body: Any, threshold: float) -> list[Detections]:
        return self._ask(body, _faces, {"X-Threshold": f"{threshold:.3f}"})


class PatientDetector(FaceDetector):
    """The same network in a process of its own, for videos and large photos, which yields to the
    one that small photos wait for.

    A model server that has no such process, as on a GPU, is asked for the other one.
    """

    name = "face_detector_jobs"

    def _look(self, url: str) -> urllib3.BaseHTTPResponse:
        answer = super()._look(url)
        if answer.status == 404:  # not for good: a server that starts may have it soon
            answer = super()._look(self._plain(url))
        return answer

    def _post(self, body: Any, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        answer = super()._post(body, headers)
        if answer.status == 404 and self._url.endswith(self.name):
            self._url = self._plain(self._url)
            answer = super()._post(body, headers)
        return answer

    def _plain(self, url: str) -> str:
        return url.removesuffix(self.name) + FaceDetector.name


@dataclass(frozen=True)
class FoundFigure:
    """A drawn figure as the rigger sees it, in pixels of the picture it was shown.

    box: x1, y1, x2, y2. score: 0 to 1. joints: the 16 of ``PARENTS``, each x, y.
    mask: uint8, 255 where the figure is; it covers ``mask_box`` (whole pixels, half-open).
    """

    box: tuple[float, float, float, float]
    score: float
    joints: dict[str, tuple[float, float]]
    mask_box: tuple[int, int, int, int]
    mask: U8


class Rigger(Model):
    """The ``rigger`` model."""

    name, title = "rigger", "rigger"

    def rig(self, picture: U8) -> list[FoundFigure]:
        """The drawn figures in a picture (H, W, 3) uint8 BGR, best first; maybe none.

        Raises:
            ModelUnavailable: the model is down, did not answer in time or unreadably.
        """

        def figures(image: Any) -> list[FoundFigure]:
            return [_figure(found, picture.shape) for found in image["figures"]]

        return self._ask(_npy(picture[None]), figures)[0]


@dataclass(frozen=True)
class Classified:
    """One frame's scores (0 to 1) by category; model: ``name`` and ``version``."""

    scores: dict[str, float]
    model: dict[str, str]


class Classifier(Model):
    """The model that sorts images into categories; the setting ``classifier`` names it."""

    name, title = "classifier", "classifier"

    @classmethod
    def from_settings(cls, settings: Settings, patience: float = 0.0) -> Self:
        """The model that these settings name."""
        named = type(cls.__name__, (cls,), {"name": settings.classifier})
        return super(Classifier, named).from_settings(settings, patience)  # type: ignore[misc]

    def classify(self, frames: U8) -> list[Classified]:
        """Categories of N frames, (N, h, w, 3) uint8 BGR.

        Raises:
            ModelUnavailable: the model is down, did not answer in time or unreadably.
        """
        return self.classify_packed(_npy(frames))

    def classify_packed(self, frames: bytes | memoryview) -> list[Classified]:
        """The same of a ``.npy`` array."""
        return self._ask(frames, _classified)


def _npy(frames: U8) -> memoryview:
    body = io.BytesIO()
    np.lib.format.write_array(body, np.ascontiguousarray(frames), version=(1, 0))
    return body.getbuffer()


def _faces(image: Any) -> Detections:
    return Detections.of(image["boxes"], image["scores"], image["landmarks"])


def _classified(image: Any) -> Classified:
    scores = {str(row["name"]): float(row["score"]) for row in image["categories"]}
    if not all(0 <= score <= 1 for score in scores.values()):
        raise ValueError("a score is none")
    return Classified(scores, {key: str(image["model"][key]) for key in ("name", "version")})


def _figure(found: Any, shape: Sequence[int]) -> FoundFigure:
    """One figure of the answer; ValueError where it contradicts itself or the picture."""
    box, score = np.array(found["box"], float), float(found["score"])
    joints = np.array([found["joints"][name][:2] for name in PARENTS], float)
    x1, y1, x2, y2 = (int(v) for v in found["mask"]["box"])
    encoded = np.frombuffer(base64.b64decode(found["mask"]["png"], validate=True), np.uint8)
    mask = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE) if encoded.size else None
    inside = 0 <= x1 < x2 <= shape[1] and 0 <= y1 < y2 <= shape[0]
    if mask is None or not inside or mask.shape != (y2 - y1, x2 - x1):
        raise ValueError("the mask does not fit")
    if box.shape != (4,) or joints.shape != (len(PARENTS), 2) or not np.isfinite(joints).all():
        raise ValueError("the box or the joints are no numbers")
    return FoundFigure(
        tuple(box.tolist()),
        score,
        dict(zip(PARENTS, (tuple(joint) for joint in joints.tolist()), strict=True)),
        (x1, y1, x2, y2),
        np.asarray(mask, np.uint8),
    )
