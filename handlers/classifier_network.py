"""Classification networks: ONNX on OpenVINO (CPU) or CUDA, TorchScript on either.

On a CPU the images of a batch run side by side, one stream a core: two cores do two
images in the time of one, whereas a batch inside one call gained nothing. On a GPU a batch
is one call.

Lives inside a model archive, so it imports nothing of the gateway.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

try:  # inside an archive the runtime is a sibling
    from runtime import cores
except ModuleNotFoundError:
    from handlers.runtime import cores

F32 = npt.NDArray[np.float32]
TORCHSCRIPT = (".pt", ".pth", ".ts")


class Classification(Protocol):
    """A loaded network."""

    device: str

    def run(self, images: Sequence[F32]) -> F32:
        """Outputs (N, categories) for N ≥ 1 images, each of the network's own shape."""
        ...


def load(
    path: Path, shape: tuple[int, ...], gpu_id: int | None, wanted: str = "auto"
) -> Classification:
    """Load a network for images of ``shape`` onto the GPU that TorchServe assigned, else the CPU.

    Raises:
        RuntimeError: ``wanted`` is ``gpu`` and there is none (never a silent fallback), or
            there is nothing to run the file with.
    """
    if wanted not in ("auto", "cpu", "gpu"):
        raise RuntimeError(f"MODEL_DEVICE must be auto, cpu or gpu, not {wanted!r}")
    if wanted == "gpu" and gpu_id is None:
        raise RuntimeError("MODEL_DEVICE=gpu, but TorchServe sees no GPU: check the driver")
    gpu = None if wanted == "cpu" else gpu_id
    if path.suffix in TORCHSCRIPT:
        return TorchScript(path, gpu)
    return OpenVino(path, shape) if gpu is None else OnnxCuda(path, gpu)


class OpenVino:
    """ONNX on the CPU."""

    device = "cpu"

    def __init__(self, path: Path, shape: tuple[int, ...], streams: int | None = None) -> None:
        import openvino as ov

        core = ov.Core()
        model = core.read_model(str(path))
        model.reshape([1, *shape])
        streams = streams or cores()
        settings = {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": streams}
        self._queue = ov.AsyncInferQueue(core.compile_model(model, "CPU", settings), streams)

    def run(self, images: Sequence[F32]) -> F32:
        """See :class:`Classification`."""
        found: list[F32] = [np.empty(0, np.float32)] * len(images)

        def keep(request: Any, index: int) -> None:
            # The request's buffer is reused by its next run: copy.
            found[index] = request.output_tensors[0].data.reshape(-1).astype(np.float32)

        self._queue.set_callback(keep)
        for index, image in enumerate(images):
            self._queue.start_async({0: image[None]}, index)
        self._queue.wait_all()
        return np.stack(found)


class OnnxCuda:
    """ONNX on a GPU, by onnxruntime."""

    device = "gpu"

    def __init__(self, path: Path, gpu_id: int) -> None:
        import onnxruntime as ort

        providers = [("CUDAExecutionProvider", {"device_id": gpu_id})]
        self._session = ort.InferenceSession(str(path), providers=providers)
        if self._session.get_providers()[0] != "CUDAExecutionProvider":
            raise RuntimeError("onnxruntime could not start CUDA: check driver and CUDA")
        entry = self._session.get_inputs()[0]
        self._input = entry.name
        # Some exporters nail the batch down to one image.
        self._one_by_one = entry.shape[0] == 1

    def run(self, images: Sequence[F32]) -> F32:
        """See :class:`Classification`."""
        step = 1 if self._one_by_one else len(images)
        parts = [
            self._session.run(None, {self._input: np.stack(images[at : at + step])})[0]
            for at in range(0, len(images), step)
        ]
        return np.concatenate(parts).reshape(len(images), -1).astype(np.float32)


class TorchScript:
    """A TorchScript file, where torch is installed."""

    def __init__(self, path: Path, gpu_id: int | None) -> None:
        import torch

        if not hasattr(torch, "jit"):  # the stand-in of images without torch
            raise RuntimeError(f"{path.name} is TorchScript: install torch beside TorchServe")
        self._torch: Any = torch
        self._place = torch.device("cpu" if gpu_id is None else f"cuda:{gpu_id}")
        self._module = torch.jit.load(str(path), map_location=self._place).eval()
        self.device = "cpu" if gpu_id is None else "gpu"

    def run(self, images: Sequence[F32]) -> F32:
        """See :class:`Classification`."""
        torch = self._torch
        with torch.inference_mode():
            outputs = self._module(torch.from_numpy(np.stack(images)).to(self._place))
        if isinstance(outputs, (tuple, list)):
            outputs = outputs[0]
        return np.asarray(outputs.float().cpu().numpy().reshape(len(images), -1), np.float32)
