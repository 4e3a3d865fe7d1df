"""The images, built from their Dockerfiles in clean Debian roots and run: ``make test-images``.

Not part of ``make test``: it needs root, debootstrap and a package index, and takes minutes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import requests

from deploy.images import roots
from deploy.local import samples
from gateway.settings import Settings
from tests.servers import S3_KEYS, as_env, free_port, process, wait_for
from tests.servers import redis_url as redis_url
from tests.servers import s3_endpoint as s3_endpoint
from tests.servers import settings as settings

FOLDER = roots.ROOT / ".images"
SERVING = roots.Builder(roots.ROOT / "serving/Dockerfile", FOLDER)
GATEWAY = roots.Builder(roots.ROOT / "gateway/Dockerfile", FOLDER)
TARGETS = [(SERVING, "cpu"), (SERVING, "cuda"), (GATEWAY, "gateway")]
KEY_FILE = f"{roots.SHARED}/key_file.json"

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("debootstrap"), reason="needs root and debootstrap"
)


class Pod:
    """Containers that share a volume and a network: a folder and some ports."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ports = {name: free_port() for name in ("inference", "management", "metrics")}
        self.ports |= {name: free_port() for name in ("renderer", "gateway")}

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def model_env(self) -> dict[str, str]:
        names = ("inference", "management", "metrics")
        return {f"TS_{name.upper()}_ADDRESS": self.url(name) for name in names}

    def words(
        self,
        image: tuple[roots.Builder, str],
        words: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        join: int = 0,
    ) -> list[str]:
        return roots.command(*image, self._folder, words, env, join)

    def run(self, image: tuple[roots.Builder, str], *words: str, **env: str) -> tuple[int, str]:
        """Exit status and output of a command in an image."""
        done = subprocess.run(
            self.words(image, words, env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        return done.returncode, done.stdout

    @contextlib.contextmanager
    def running(
        self,
        image: tuple[roots.Builder, str],
        words: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        join: int = 0,
    ) -> Iterator[psutil.Process]:
        """A container; yields its process 1, if it does not ``join`` another's namespace."""
        log = self._folder / f"{time.monotonic_ns()}.log"
        command = self.words(image, words, env, join)
        with process(command, lambda: True, log) as outer:
            family = psutil.Process(outer.pid)
            wait_for(lambda: family.children())
            try:
                yield family.children()[0]
            except BaseException:
                print(log.read_text()[-6000:])
                raise


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    return Pod(tmp_path)


@pytest.fixture
def model_server(pod: Pod) -> Iterator[psutil.Process]:
    """The CPU model server, when its health command is content."""
    with pod.running((SERVING, "cpu"), env=pod.model_env()) as server:
        begun = time.monotonic()
        wait_for(lambda: healthy(pod, (SERVING, "cpu"), **pod.model_env()), 180)
        print(f"model server ready after {time.monotonic() - begun:.0f} s")
        yield server


def healthy(pod: Pod, image: tuple[roots.Builder, str], **env: str) -> bool:
    builder, target = image
    health = roots.runtime(builder.stages, target).health
    return pod.run(image, *health, **env)[0] == 0


@pytest.mark.parametrize("image", TARGETS, ids=lambda image: image[1])
def test_the_root_is_small_closed_and_without_tools(
    pod: Pod, image: tuple[roots.Builder, str]
) -> None:
    builder, target = image
    root = builder.build(target)
    print(f"{root.name}: {roots.megabytes(root)} MB")
    places = ("usr/bin", "usr/local/bin", "opt/masquerade/venv/bin")
    tools = {"gcc", "cc", "g++", "make", "ld", "pip", "pip3", "git"}
    assert not [name for place in places for name in tools if (root / place / name).exists()]
    assert not (root / "opt/tools").exists()
    code, said = pod.run(image, "id", "-u")
    assert (code, said.strip()) == (0, "10001")
    for place in ("/", "/opt/masquerade", "/etc", "/usr/bin", "/home"):
        assert "Read-only file system" in pod.run(image, "touch", f"{place}/x")[1]
    foreign = pod.run(image, "find", "/opt", "/usr", "-user", "10001")[1]
    assert foreign == "", "the server could change its own code, were the root writable"


def test_the_model_server_finds_faces_and_stops_when_told(
    pod: Pod, model_server: psutil.Process, tmp_path: Path
) -> None:
    code, said = pod.run((SERVING, "cpu"), "cat", KEY_FILE)
    assert code == 0
    key = json.loads(said)["inference"]["key"]
    answer = requests.post(
        f"{pod.url('inference')}/predictions/face_detector",
        data=samples.write_photo(tmp_path / "photo.jpg").read_bytes(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "image/jpeg"},
        timeout=30,
    )
    assert len(answer.json()["images"][0]["boxes"]) >= 1
    model_server.terminate()
    model_server.wait(30)


def test_the_whole_pod_hides_a_face_in_a_photo_and_in_a_video(
    pod: Pod, model_server: psutil.Process, settings: Settings, tmp_path: Path
) -> None:
    found = replace(
        settings,
        torchserve_url=pod.url("inference"),
        torchserve_management_url=pod.url("management"),
        torchserve_key_file=KEY_FILE,
        renderer_url=pod.url("renderer"),
    )
    env = {**as_env(found), **S3_KEYS, "GATEWAY_BIND": f"127.0.0.1:{pod.ports['gateway']}"}
    image = (GATEWAY, "gateway")
    renderer = ["gunicorn", "-c", "python:gateway.gunicorn_renderer"]
    with (
        pod.running(image, renderer, env) as first,
        pod.running(image, (), env, join=first.pid),  # files are handed over by /proc/PID/fd
        pod.running(image, ["masquerade", "worker"], env),
    ):
        wait_for(lambda: _status(f"{pod.url('gateway')}/readyz") == 200, 60)
        with samples.write_photo(tmp_path / "photo.jpg").open("rb") as photo:
            answer = requests.post(
                f"{pod.url('gateway')}/v1/blur", files={"file": photo}, timeout=60
            )
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["faces"]) >= 1
        assert requests.get(answer.json()["url"], timeout=10).status_code == 200
        with samples.write_video(tmp_path / "video.mp4", 1.0, (640, 360)).open("rb") as video:
            answer = requests.post(
                f"{pod.url('gateway')}/v1/blur?wait=60", files={"file": video}, timeout=90
            )
        assert (answer.status_code, answer.json()["kind"]) == (200, "video"), answer.text


def test_what_can_be_trained_is_known_without_torch(pod: Pod) -> None:
    checks = "from gateway.training.arguments import check; check('rigger', {'steps': 10})"
    assert pod.run((GATEWAY, "gateway"), "python", "-c", checks) == (0, "")
    assert pod.run((GATEWAY, "gateway"), "masquerade", "--version")[1].startswith("masquerade 0")


def test_the_training_image_trains(pod: Pod) -> None:
    """On this machine's CPU, one step."""
    image = (GATEWAY, "train")
    print(f"gateway-train: {roots.megabytes(GATEWAY.build('train'))} MB")
    words = "python -m model_store.rigger.train --out=/tmp/run --device=cpu --steps=1 --batch=2"
    code, said = pod.run(image, *words.split(), "--workers=0")
    assert code == 0, said
    assert pod.run(image, "find", "/tmp/run", "-type", "f")[1]


def test_the_cuda_image_refuses_to_start_without_a_gpu(pod: Pod) -> None:
    code, said = pod.run((SERVING, "cuda"), "python", "-m", "serving.start")
    assert code == 1
    assert said.startswith("MODEL_DEVICE=gpu, but no GPU is visible: there is no nvidia-smi")
    assert said.count("\n") == 1


def test_the_cuda_image_lacks_no_library_but_the_driver_s(pod: Pod) -> None:
    """onnxruntime finds CUDA and cuDNN in their wheels, or it would say so."""
    load = (
        "import ctypes, pathlib, onnxruntime as ort; ort.preload_dlls();"
        "folder = pathlib.Path(ort.__file__).parent / 'capi';"
        "load = lambda part: ctypes.CDLL(folder / f'libonnxruntime_providers_{part}.so', 258);"
        "load('shared'); load('cuda')"
    )
    code, said = pod.run((SERVING, "cuda"), "python", "-c", load)
    missing = "libcuda.so.1: cannot open shared object file: No such file or directory"
    assert (code, said.splitlines()[-1]) == (1, f"OSError: {missing}")
    assert said.count("cannot open") == 1


def _status(url: str) -> int:
    with contextlib.suppress(requests.RequestException):
        return requests.get(url, timeout=5).status_code
    return 0
