"""Image categories behind TorchServe: any classifier with a manifest.

A request is an encoded image or a ``.npy`` batch (see :func:`runtime.read_images`). The
answer is ``{"images": [{"categories": [{"name", "score"}, …], "model": {"name",
"version"}}, …]}``, categories by falling score. What the network is, see
:mod:`classifier_manifest`; requests that TorchServe batches run together.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

try:  # inside an archive these are siblings
    from classifier_manifest import BadManifest, Manifest
    from classifier_network import load
    from runtime import BadInput, Image, read_images, tell
except ModuleNotFoundError:
    from handlers.classifier_manifest import BadManifest, Manifest
    from handlers.classifier_network import load
    from handlers.runtime import BadInput, Image, read_images, tell


class Classifier:
    """The TorchServe entry point."""

    def initialize(self, context: Any) -> None:
        """Load manifest and network, and run it once, so that ready means ready.

        Raises:
            BadManifest: it does not fit the network.
        """
        properties = context.system_properties
        folder = Path(properties["model_dir"])
        self.manifest = Manifest.load(folder)
        path = folder / context.manifest["model"]["serializedFile"]
        device = os.environ.get("MODEL_DEVICE", "auto")
        self.network = load(path, self.manifest.shape, properties.get("gpu_id"), device)
        white = np.full((self.manifest.side, self.manifest.side, 3), 255, np.uint8)
        found = self.network.run([self.manifest.prepared(white)])
        if found.shape != (1, len(self.manifest.categories)):
            raise BadManifest(
                f"the network has {found.size} outputs, for {len(self.manifest.categories)}"
                " categories"
            )
        scores = self.manifest.probabilities(found)
        if not ((scores >= 0) & (scores <= 1)).all():
            raise BadManifest("scores must be softmax or sigmoid: the network does not end in it")

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """Answer a batch of requests; a bad one gets 400 and spoils no other."""
        begun = time.perf_counter()
        images: list[Image] = []
        owner: list[int] = []
        answers: list[Any] = [{"images": []} for _ in data]
        for number, row in enumerate(data):
            try:
                decoded = list(read_images(_body(row)))
            except BadInput as error:
                context.set_response_status(400, "Bad Request", number)
                answers[number] = {"code": 400, "message": str(error)}
                continue
            images += decoded
            owner += [number] * len(decoded)
        if images:
            outputs = self.network.run([self.manifest.prepared(image) for image in images])
            scores = self.manifest.probabilities(outputs)
            for number, row_scores in zip(owner, scores, strict=True):
                answers[number]["images"].append(self.manifest.described(row_scores))
        tell(context, len(data), len(images), begun)
        return answers


def _body(row: dict[str, Any]) -> bytes | bytearray:
    body = row.get("body") or row.get("data") or b""
    # TorchServe parses what is declared as JSON or text before we see it.
    if not isinstance(body, (bytes, bytearray)):
        raise BadInput("the body is neither an encoded image nor a .npy array")
    return body
