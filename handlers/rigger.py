"""The rigger behind TorchServe: drawn figures, their joints and masks.

A request is an encoded image or a ``.npy`` batch (see :func:`rig_photo.read_photos`). The
answer is ``{"images": [{"width", "height", "figures": [{"box": [x1, y1, x2, y2], "score",
"joints": {name: [x, y, score], …16}, "mask": {"box": [x1, y1, x2, y2], "png"}}]}]}`` in
pixels of the image as sent, figures best first, none where there is no drawn figure. A
mask's ``png`` is base64 of an 8-bit grey PNG, 0 or 255, exactly its box's size.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

try:  # inside an archive these are siblings
    from rig_figures import as_json, rig
    from rig_photo import Photo, read_photos
    from runtime import BadInput, load_network, tell
except ModuleNotFoundError:
    from handlers.rig_figures import as_json, rig
    from handlers.rig_photo import Photo, read_photos
    from handlers.runtime import BadInput, load_network, tell


def body_of(row: dict[str, Any]) -> bytes | bytearray:
    """The bytes of one request: its body, or the form field ``data``.

    Raises:
        BadInput: it is no binary body.
    """
    body = row.get("data") or row.get("body") or b""
    # TorchServe parses what is declared as JSON or text before we see it.
    if not isinstance(body, (bytes, bytearray)):
        raise BadInput("the body is neither an encoded image nor a .npy array")
    return body


class Rigger:
    """The TorchServe entry point; the drawn_humanoid_* handlers answer in another shape."""

    def initialize(self, context: Any) -> None:
        """Load the network of the archive and run it once, so that ready means ready."""
        properties = context.system_properties
        path = Path(properties["model_dir"]) / context.manifest["model"]["serializedFile"]
        device = os.environ.get("MODEL_DEVICE", "auto")
        self.network = load_network(str(path), properties.get("gpu_id"), device)
        blank = np.full((480, 640, 3), 255, np.uint8)
        self.answer([Photo(blank, 640, 480)])

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """Answer a batch of requests; a bad one gets 400 and spoils no other."""
        begun, images = time.perf_counter(), 0
        answers: list[Any] = [None] * len(data)
        for number, row in enumerate(data):
            try:
                photos = list(read_photos(body_of(row)))
                answers[number] = self.answer(photos)
                images += len(photos)
            except BadInput as error:
                context.set_response_status(400, "Bad Request", number)
                answers[number] = {"code": 400, "message": str(error)}
        tell(context, len(data), images, begun)
        return answers

    def answer(self, photos: list[Photo]) -> Any:
        """One request's answer."""
        found = rig(self.network, photos)
        return {"images": [as_json(p, f) for p, f in zip(photos, found, strict=True)]}
