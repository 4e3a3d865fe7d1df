"""One real pod for all service tests, and what must hold after each of them."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator

import pytest

from deploy.local.pod import Pod
from gateway.settings import MIB
from tests.servers import free_port
from tests.service.helpers import Api, Bucket, Family, Scratch, becomes, eventually, unlinked_files
from tests.service.media import Clips

LIMITS = {
    "MASQUERADE_MAX_UPLOAD_BYTES": str(24 * MIB),
    "MASQUERADE_MAX_IMAGE_BYTES": str(12 * MIB),
    "MASQUERADE_MAX_IMAGE_PIXELS": "16000000",
    "MASQUERADE_MAX_VIDEO_SECONDS": "60",
    "MASQUERADE_IMAGE_DEADLINE": "15",
    "MASQUERADE_DRAWING_DEADLINE": "40",
    "MASQUERADE_SEGMENT_SECONDS": "8",
    "MASQUERADE_FETCH_PRIVATE_HOSTS": "127.0.0.1",
    "MASQUERADE_FETCH_TIMEOUT": "4",
    "MASQUERADE_FETCH_BYTES": str(4 * MIB),
}


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scratch]:
    """A temporary folder for the pod alone; small and by itself where mounting is allowed."""
    path = tmp_path_factory.mktemp("scratch")
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=1777", "tmpfs", str(path)]
    try:
        own = subprocess.run(mount, capture_output=True).returncode == 0
    except FileNotFoundError:
        own = False
    yield Scratch(path, own)
    if own:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture(scope="session")
def pod(scratch: Scratch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    """The whole pod, started once: the very processes that ``make up`` starts."""
    # An orderly end for `kill` and `timeout` too, or the pod would outlive the tests.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    pod = Pod(tmp_path_factory.mktemp("pod"), free_port())
    try:
        # Two processes each, however many cores: one may die while the other goes on.
        pod.up({**LIMITS, "TMPDIR": str(scratch.path), "WEB_CONCURRENCY": "2"})
        yield pod
    finally:
        pod.down()


@pytest.fixture(scope="session")
def api(pod: Pod) -> Api:
    return Api(pod.url)


@pytest.fixture(scope="session")
def bucket(pod: Pod) -> Bucket:
    return Bucket(pod.environment())


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return Clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="session")
def families(pod: Pod) -> list[Family]:
    """The processes that take users' files in."""
    return [Family(pod, program) for program in ("gateway", "renderer", "worker")]


@pytest.fixture(autouse=True)
def nothing_is_left(
    api: Api, bucket: Bucket, scratch: Scratch, families: list[Family]
) -> Iterator[None]:
    """Whatever a test did: the pod is ready, no original is stored, no scratch file exists."""
    yield
    eventually(api.ready, "the pod is ready")
    becomes(lambda: bucket.keys("uploads/"), set(), "originals in the bucket")
    for family in families:
        becomes(lambda f=family: unlinked_files(f), 0, "spooled files that are open")
    becomes(scratch.names, set(), "temporary files")
