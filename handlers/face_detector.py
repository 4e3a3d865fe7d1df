"""Face detector: CenterFace behind TorchServe.

A request is an encoded image or a ``.npy`` batch of frames (see
:func:`runtime.read_images`), with an optional header ``X-Threshold`` (or
form field ``threshold``; TorchServe drops the query of a raw body). The answer is
``{"images": [{"width", "height", "boxes": [[x1, y1, x2, y2], …], "scores": […],
"landmarks": [[[x, y] × 5], …]}, …]}`` in pixels of the image as sent, landmarks in
the order eye, eye, nose, corner and corner of the mouth, each pair from left to
right in the picture.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

try:  # inside an archive these are siblings
    from centerface import Faces, detect
    from runtime import BadInput, Image, load_network, make_way, read_images, tell
except ModuleNotFoundError:
    from handlers.centerface import Faces, detect
    from handlers.runtime import BadInput, Image, load_network, make_way, read_images, tell

DEFAULT_THRESHOLD = 0.2
THRESHOLD_HEADER = "X-Threshold"


def as_json(faces: Faces, image: Image) -> dict[str, Any]:
    """One image's entry in the answer; coordinates to a tenth of a pixel."""
    return {
        "width": image.shape[1],
        "height": image.shape[0],
        "boxes": faces.boxes.astype(float).round(1).tolist(),
        "scores": faces.scores.astype(float).round(4).tolist(),
        "landmarks": faces.landmarks.astype(float).round(1).tolist(),
    }


def _body(row: dict[str, Any]) -> bytes | bytearray:
    body = row.get("body") or row.get("data") or b""
    # TorchServe parses what is declared as JSON or text before we see it.
    if not isinstance(body, (bytes, bytearray)):
        raise BadInput("the body is neither an encoded image nor a .npy array")
    return body


def _threshold(row: dict[str, Any], header: str | None) -> float:
    raw = row.get("threshold", header or DEFAULT_THRESHOLD)
    try:
        value = float(raw.decode() if isinstance(raw, (bytes, bytearray)) else raw)
    except (TypeError, ValueError):
        raise BadInput("threshold must be a number") from None
    if not 0 < value < 1:
        raise BadInput("threshold must be between 0 and 1")
    return value


class FaceDetector:
    """The TorchServe entry point."""

    def initialize(self, context: Any) -> None:
        """Load the network of the archive and run it once, so that ready means ready."""
        make_way(context)
        properties = context.system_properties
        gpu_id = properties.get("gpu_id")
        path = Path(properties["model_dir"]) / context.manifest["model"]["serializedFile"]
        self.network = load_network(str(path), gpu_id, os.environ.get("MODEL_DEVICE", "auto"))
        detect(self.network, [np.zeros((360, 640, 3), np.uint8)], [DEFAULT_THRESHOLD])

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """Answer a batch of requests; a bad one gets 400 and spoils no other."""
        begun = time.perf_counter()
        images: list[Image] = []
        thresholds: list[float] = []
        owner: list[int] = []
        answers: list[Any] = [{"images": []} for _ in data]
        for number, row in enumerate(data):
            try:
                threshold = _threshold(row, context.get_request_header(number, THRESHOLD_HEADER))
                decoded = list(read_images(_body(row)))
            except BadInput as error:
                context.set_response_status(400, "Bad Request", number)
                answers[number] = {"code": 400, "message": str(error)}
                continue
            images += decoded
            thresholds += [threshold] * len(decoded)
            owner += [number] * len(decoded)
        if images:
            for number, image, faces in zip(
                owner, images, detect(self.network, images, thresholds), strict=True
            ):
                answers[number]["images"].append(as_json(faces, image))
        tell(context, len(data), len(images), begun)
        return answers
