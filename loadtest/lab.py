"""The bench's own pod, and what it and its peers make of a file."""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import requests

from deploy.local.pod import Pod
from gateway.client import Client, Result
from gateway.media.images import ImageLimits, encode, open_picture
from gateway.media.video import probe, transcode
from gateway.models import FaceDetector
from gateway.settings import Settings
from loadtest.coverage import ANY_VIDEO, delay, is_video
from loadtest.media import Media
from loadtest.peer import NO_BLUR, Peer
from loadtest.processes import Programs

RECALL_BACKEND = "opencv"
_ANY_IMAGE = ImageLimits(bytes=1 << 30, pixels=1 << 28, frames=1)


@dataclass(frozen=True)
class Blurred:
    """A video that went through the pod; seconds as the client saw them.

    ``timings``: the job's own, in milliseconds, by stage.
    """

    out: Path
    seconds: float
    submit: float
    download: float
    timings: dict[str, float]
    report: dict[str, Any]


@dataclass(frozen=True)
class Hidden:
    """One tool's output of a file, with its baseline (see :mod:`loadtest.coverage`)."""

    output: Path
    baseline: Path
    lag: int


@contextmanager
def own_pod(home: Path, env: Mapping[str, str] | None = None) -> Iterator[Pod]:
    """A pod on free ports, which lives as long as the ``with`` block; ``env``: more settings."""
    with ExitStack() as sockets:
        held = [sockets.enter_context(socket.socket()) for _ in range(3)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        port, *grpc = (one.getsockname()[1] for one in held)
    pod = Pod(home, port)
    names = ("TS_GRPC_INFERENCE_PORT", "TS_GRPC_MANAGEMENT_PORT")
    # TorchServe's two other ports have fixed defaults: another pod may hold them.
    try:
        pod.up({**dict(zip(names, map(str, grpc), strict=True)), **(env or {})})
        yield pod
    finally:
        pod.down()


@dataclass
class Lab:
    """A context manager that owns a pod on free ports and a folder for outputs."""

    media: Media
    work: Path
    cache: Path
    runs: int
    quick: bool
    _outputs: dict[tuple[str, Path], Hidden] = field(default_factory=dict)
    _reports: dict[Path, dict[str, Any]] = field(default_factory=dict)

    def __enter__(self) -> Lab:
        self._stack = ExitStack()
        self.pod = self._stack.enter_context(own_pod(self.work / "pod"))
        self.client = Client(self.pod.url)
        settings = Settings.from_env(self.pod.environment())
        self.detector = FaceDetector.from_settings(settings)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._stack.close()

    @cached_property
    def peer(self) -> Peer:
        """deface and ffmpeg, installed when first asked for."""
        return Peer(self.cache)

    def processes(self, program: str) -> list[psutil.Process]:
        """A program of the pod and its descendants, as they are now."""
        return self._programs(program)

    @cached_property
    def _programs(self) -> Programs:
        return Programs(self.pod)

    def blur_video(self, source: Path) -> Blurred:
        """Submit, wait, download.

        Raises:
            MasqueradeError: the pod failed.
        """
        out = self.work / f"ours-{source.name}"
        begun = time.perf_counter()
        queued = self.client.blur(source, {})
        assert not isinstance(queued, Result)
        submitted = time.perf_counter()
        job = deque(self.client.watch(queued.id), maxlen=1)[0]
        done = time.perf_counter()
        if job.result is None:
            raise job.error or RuntimeError(f"{source.name}: the job was {job.status}")
        with out.open("wb") as file:
            self.client.download(job.result.url, file)
        end = time.perf_counter()
        view = requests.get(f"{self.pod.url}/v1/jobs/{job.id}", timeout=10).json()
        report = requests.get(job.result.report_url, timeout=60).json()
        self._reports[source] = report
        return Blurred(
            out, end - begun, submitted - begun, end - done, view["result"]["timings"], report
        )

    def ours(self, source: Path) -> Hidden:
        """The pod's output, made once."""
        return self._once("ours", source, self._make_ours)

    def deface(self, source: Path) -> Hidden:
        """deface's output, made once."""
        return self._once("deface", source, self._make_deface)

    def report(self, source: Path) -> dict[str, Any]:
        """The pod's report on a file."""
        self.ours(source)
        return self._reports[source]

    def _once(self, tool: str, source: Path, make: Any) -> Hidden:
        if (tool, source) not in self._outputs:
            print(f"  {tool}: {source.name}", flush=True)
            self._outputs[tool, source] = make(source)
        return self._outputs[tool, source]

    def _make_ours(self, source: Path) -> Hidden:
        plain = self.work / f"ours-plain-{source.name}"
        if is_video(source):
            out = self.work / f"ours-{source.name}"
            if source not in self._reports:
                self.blur_video(source)
            info = probe(str(source), ANY_VIDEO)
            transcode(str(source), str(plain), info, lambda _: None, keep_audio=False)
        else:
            answer = self.client.blur(source, {})
            assert isinstance(answer, Result)
            out = self.work / f"ours-{source.name}"
            with out.open("wb") as file:
                self.client.download(answer.url, file)
            self._reports[source] = requests.get(answer.report_url, timeout=60).json()
            picture = open_picture(source.read_bytes(), _ANY_IMAGE)
            plain.write_bytes(encode(picture, picture.frames()).body)
        return Hidden(out, plain, delay(source, plain))

    def _make_deface(self, source: Path) -> Hidden:
        out = self.work / f"deface-{source.name}"
        plain = self.work / f"deface-plain-{source.name}"
        self.peer.blur(source, out, RECALL_BACKEND)
        self.peer.blur(source, plain, RECALL_BACKEND, *NO_BLUR)
        return Hidden(out, plain, delay(source, plain))
