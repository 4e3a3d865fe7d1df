"""What every handler shares: decoding a request's body and running a network.

A network is an ONNX file with one dynamic image input. It runs on OpenVINO on a
CPU (one stream per core, one thread per stream: small networks lose time to more
threads) and on onnxruntime's CUDA provider on a GPU.

Lives inside a model archive, next to the handler, so it imports nothing of the
gateway.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Heads = tuple[npt.NDArray[np.float32], ...]

NPY_MAGIC = b"\x93NUMPY"
MAX_FRAMES = 64
REQUEST_ID = "X-Request-Id"
QUOTA = Path("/sys/fs/cgroup/cpu.max")
BACKGROUND = "_jobs"
"""How the names end under which a model is registered once more, for work that can wait."""


def tell(context: Any, batch: int, images: int, begun: float) -> None:
    """Log one call of a handler as a line of JSON, and count it for ``serving/metrics.yaml``.

    batch: its requests. images: how many were looked at in all of them. begun:
    ``time.perf_counter()`` at its start. The line names the requests by the ids they came with.
    """
    from ts.metrics.dimension import Dimension
    from ts.metrics.metric_type_enum import MetricTypes

    seconds = time.perf_counter() - begun
    model = context.manifest["model"]["modelName"]
    named = (context.get_request_header(number, REQUEST_ID) for number in range(batch))
    line = {
        "logger": model,
        "message": "handled",
        "request_id": ",".join(filter(None, named)),
        "images": images,
        "ms": round(1000 * seconds, 1),
    }
    print(json.dumps(line), flush=True)
    for name, value, unit in (
        ("masquerade_model_seconds", seconds, "s"),
        ("masquerade_model_requests", batch, "count"),
        ("masquerade_model_images", images, "count"),
    ):
        # Theirs by default are one list, to which every call would add.
        dimensions = [Dimension("ModelName", model), Dimension("Level", "Model")]
        context.metrics.add_metric(
            name, value, unit, dimensions=dimensions, metric_type=MetricTypes.HISTOGRAM
        )


def make_way(context: Any) -> None:
    """Give this process, and the threads it will start, less priority where its work can wait."""
    if context.model_name.endswith(BACKGROUND):
        os.nice(10)


class BadInput(ValueError):
    """The request's body is neither an image nor an array we read."""


class Network(Protocol):
    """A loaded network."""

    device: str
    streams: int

    def run(self, images: Sequence[Image]) -> list[Heads]:
        """Run the network on ``images`` ((H, W, 3) uint8 BGR, sizes may differ).

        H and W must be multiples of the network's stride. Answers one tuple of
        float32 arrays per image, each with its leading batch axis removed.
        """
        ...


def cores() -> int:
    """Cores this process may use, by its affinity and its container's limit."""
    usable = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):
        granted, period = map(int, QUOTA.read_text().split())  # "max 100000" is no limit
        return min(usable, max(1, math.ceil(granted / period)))
    return usable


def load_network(path: str, gpu_id: int | None, wanted: str = "auto") -> Network:
    """Load ``path`` on the GPU TorchServe assigned, else on the CPU.

    Raises:
        RuntimeError: ``wanted`` is ``gpu`` and there is none (never a silent fallback).
    """
    if wanted not in ("auto", "cpu", "gpu"):
        raise RuntimeError(f"MODEL_DEVICE must be auto, cpu or gpu, not {wanted!r}")
    if wanted == "gpu" and gpu_id is None:
        raise RuntimeError("MODEL_DEVICE=gpu, but TorchServe sees no GPU: check the driver")
    if wanted != "cpu" and gpu_id is not None:
        return OnnxNetwork(path, [("CUDAExecutionProvider", {"device_id": gpu_id})], "gpu")
    return OpenVinoNetwork(path)


class OpenVinoNetwork:
    """OpenVINO on the CPU; images of any mix of sizes run side by side."""

    device = "cpu"

    def __init__(self, path: str, streams: int | None = None) -> None:
        import openvino as ov
        from openvino.preprocess import ColorFormat, PrePostProcessor

        core = ov.Core()
        prep = PrePostProcessor(core.read_model(path))
        prep.input().tensor().set_element_type(ov.Type.u8).set_layout(
            ov.Layout("NHWC")
        ).set_color_format(ColorFormat.BGR)
        prep.input().model().set_layout(ov.Layout("NCHW"))
        prep.input().preprocess().convert_element_type(ov.Type.f32).convert_color(ColorFormat.RGB)
        model = prep.build()
        model.reshape([1, -1, -1, 3])
        self.streams = streams or cores()
        compiled = core.compile_model(
            model,
            "CPU",
            {"NUM_STREAMS": self.streams, "INFERENCE_NUM_THREADS": self.streams},
        )
        self._queue = ov.AsyncInferQueue(compiled, self.streams)

    def run(self, images: Sequence[Image]) -> list[Heads]:
        """See :class:`Network`."""
        results: list[Heads] = [()] * len(images)

        def keep(request: Any, index: int) -> None:
            # The request's buffers are reused by its next run: copy.
            results[index] = tuple(t.data[0].copy() for t in request.output_tensors)

        self._queue.set_callback(keep)
        for index in sorted(range(len(images)), key=lambda i: -images[i].size):
            self._queue.start_async({0: images[index][None]}, index)
        self._queue.wait_all()
        return results


class OnnxNetwork:
    """onnxruntime with the given execution providers; the GPU's way."""

    def __init__(self, path: str, providers: list[Any], device: str) -> None:
        import onnxruntime as ort

        if device == "gpu":
            ort.preload_dlls()  # CUDA and cuDNN from their wheels, where there are such
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1 if device == "cpu" else 0
        self._session = ort.InferenceSession(path, options, providers=providers)
        wanted = providers[0][0] if isinstance(providers[0], tuple) else providers[0]
        if self._session.get_providers()[0] != wanted:
            raise RuntimeError(f"onnxruntime could not start {wanted}: check driver and CUDA")
        self.device = device
        self.streams = 2 if device == "gpu" else 1
        self._input = self._session.get_inputs()[0].name
        self._pool = ThreadPoolExecutor(self.streams)

    def run(self, images: Sequence[Image]) -> list[Heads]:
        """See :class:`Network`."""
        return list(self._pool.map(self._one, images))

    def _one(self, image: Image) -> Heads:
        blob = np.ascontiguousarray(image[None, :, :, ::-1].transpose(0, 3, 1, 2), np.float32)
        return tuple(head[0] for head in self._session.run(None, {self._input: blob}))


def read_images(body: bytes | bytearray | memoryview) -> Iterator[Image]:
    """Images in a request's body, (H, W, 3) uint8 BGR, upright.

    The body is one encoded image (EXIF orientation is applied) or a ``.npy`` array,
    uint8: (N, H, W, 3) BGR, or (N, H·3/2, W) planar YUV 4:2:0 (I420).

    Raises:
        BadInput: anything else.
    """
    data = bytes(body) if isinstance(body, memoryview) else body
    if data[:6] == NPY_MAGIC:
        yield from _read_npy(data)
        return
    image = None
    if data:
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error as error:
            raise BadInput("the image is too large or damaged") from error
    if image is None:
        raise BadInput("the body is neither an encoded image nor a .npy array")
    yield np.asarray(image, np.uint8)


def _read_npy(data: bytes | bytearray) -> Iterator[Image]:
    head = io.BytesIO(data[:256])
    try:
        if np.lib.format.read_magic(head) != (1, 0):
            raise ValueError("another version of the format")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(head)
    # numpy parses the header as Python: whatever a parser raises may come.
    except Exception as error:
        raise BadInput("the .npy header is damaged") from error
    planar = len(shape) == 3 and shape[1] % 3 == 0 and shape[2] % 2 == 0
    packed = len(shape) == 4 and shape[3] == 3
    if fortran or dtype != np.uint8 or not (planar or packed) or min(shape) < 1:
        raise BadInput("the .npy array must be uint8, (N, H, W, 3) BGR or (N, H*3/2, W) I420")
    if shape[0] > MAX_FRAMES:
        raise BadInput(f"at most {MAX_FRAMES} frames a request, not {shape[0]}")
    if len(data) - head.tell() != math.prod(shape):
        raise BadInput("the .npy array's length does not fit its shape")
    for frame in np.frombuffer(data, np.uint8, offset=head.tell()).reshape(shape):
        colour = cv2.cvtColor(frame, cv2.COLOR_YUV2BGR_I420) if planar else frame
        yield np.asarray(colour, np.uint8)
