"""The TorchServe client: the only place that knows its addresses and its answers.

The model server is in the same pod, yet it restarts, runs out of memory and keeps
answering "Healthy" while its worker is dead: every call has its own time limit, and
readiness means that a worker of the model reports READY.
"""

from __future__ import annotations

import io
import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import urllib3

from gateway.errors import BadMedia, ModelUnavailable, TooLarge
from gateway.faces.boxes import Detections
from gateway.settings import Settings

READY_TIMEOUT = 1.0


class FaceDetector:
    """Calls the ``face_detector`` model. Safe to share between threads."""

    def __init__(
        self,
        url: str,
        management_url: str,
        key_file: str = "",
        timeout: float = 20.0,
        patience: float = 0.0,
    ) -> None:
        """See the settings ``torchserve_*`` and ``model_timeout``.

        patience: how long to keep trying (seconds) while the model is away; jobs
        wait, interactive requests do not.
        """
        self._url = f"{url}/predictions/face_detector"
        self._describe = f"{management_url}/models/face_detector"
        self._key_file = key_file
        self._keys: dict[str, str] = {}
        self._lock = threading.Lock()
        self._timeout = timeout
        self._patience = patience
        self._http = urllib3.PoolManager(maxsize=8, retries=False)

    @classmethod
    def from_settings(cls, settings: Settings, patience: float = 0.0) -> FaceDetector:
        """The detector these settings point at."""
        return cls(
            settings.torchserve_url,
            settings.torchserve_management_url,
            settings.torchserve_key_file,
            settings.model_timeout,
            patience,
        )

    def detect_encoded(self, data: bytes, threshold: float) -> Detections:
        """Faces in one encoded image, in the pixels of the image turned upright.

        Raises:
            ModelUnavailable: the model is down or did not answer in time.
            BadMedia: the model server cannot read the image.
        """
        return self._detect(data, threshold)[0]

    def detect_frames(self, frames: npt.NDArray[np.uint8], threshold: float) -> list[Detections]:
        """Faces in N frames: (N, H, W, 3) BGR or (N, H·3/2, W) I420, uint8.

        Raises:
            ModelUnavailable: the model is down or did not answer in time.
        """
        body = io.BytesIO()
        np.lib.format.write_array(body, np.ascontiguousarray(frames), version=(1, 0))
        return self._detect(body.getbuffer(), threshold)

    def ready(self) -> str | None:
        """None when a worker of the model is ready, else what is wrong."""
        try:
            answer = self._http.request(
                "GET", self._describe, headers=self._auth("management"), timeout=READY_TIMEOUT
            )
            if answer.status >= 300:
                self._forget_keys()
                return f"the model server answers {answer.status}"
            workers = json.loads(answer.data)[0]["workers"]
            states = {str(worker["status"]) for worker in workers}
        except (urllib3.exceptions.HTTPError, OSError, ValueError, LookupError, TypeError):
            self._forget_keys()
            return "the model server does not answer"
        return None if "READY" in states else f"no model worker is ready ({', '.join(states)})"

    def _detect(self, body: Any, threshold: float) -> list[Detections]:
        give_up = time.monotonic() + self._patience
        while True:
            try:
                return self._call(body, threshold)
            except ModelUnavailable:
                if time.monotonic() > give_up:
                    raise
                time.sleep(1.0)

    def _call(self, body: Any, threshold: float) -> list[Detections]:
        answer = self._post(body, threshold)
        if answer.status == 400 and b"Token" in answer.data[:500]:
            # A restarted TorchServe has new keys.
            self._forget_keys()
            answer = self._post(body, threshold)
        if answer.status == 413:
            raise TooLarge("the picture is larger than the model server takes")
        if answer.status == 400 and b"Token" not in answer.data[:500]:
            raise BadMedia("the face detector cannot read this picture")
        if answer.status != 200:
            raise ModelUnavailable(f"the face detector failed (status {answer.status}); try again")
        try:
            images = json.loads(answer.data)["images"]
            found = [Detections.of(i["boxes"], i["scores"], i["landmarks"]) for i in images]
        except (ValueError, LookupError, TypeError):
            found = []
        if not found:
            raise ModelUnavailable("the face detector's answer is unreadable; try again")
        return found

    def _post(self, body: Any, threshold: float) -> urllib3.BaseHTTPResponse:
        try:
            return self._http.request(
                "POST",
                self._url,
                body=body,
                headers={
                    "Content-Type": "application/octet-stream",
                    "X-Threshold": f"{threshold:.3f}",
                    **self._auth("inference"),
                },
                timeout=urllib3.Timeout(connect=2.0, read=self._timeout),
            )
        except (urllib3.exceptions.HTTPError, OSError):
            raise ModelUnavailable("the face detector does not answer; try again") from None

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
