"""One real pod for all service tests, and what must hold after each of them."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Collection, Iterator
from typing import Any

import pytest

from deploy.local.pod import Pod
from tests.leaks import Sent
from tests.servers import free_port
from tests.service.guard import guarded
from tests.service.helpers import (
    LIMITS,
    Api,
    Bucket,
    Family,
    Scratch,
    becomes,
    eventually,
    unlinked_files,
)
from tests.service.media import Clips
from tests.service.privacy import Privacy

Measured = Callable[[str, Collection[str], float, float], None]
FAULTS = pytest.StashKey[list[str]]()


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
    with guarded(pod.home, scratch.path):
        try:
            # Two processes each, however many cores: one may die while the other goes on.
            pod.up({**LIMITS, "TMPDIR": str(scratch.path), "WEB_CONCURRENCY": "2"})
            yield pod
        finally:
            pod.down()


@pytest.fixture(scope="session")
def sent() -> Sent:
    """What the tests upload."""
    return Sent()


@pytest.fixture(scope="session")
def api(pod: Pod, sent: Sent) -> Api:
    return Api(pod.url, sent)


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


@pytest.fixture(scope="session")
def privacy(pod: Pod, bucket: Bucket, scratch: Scratch, sent: Sent) -> Iterator[Privacy]:
    """Looks for leaks; at the end no result in the bucket shows a face or tells of one."""
    privacy = Privacy(pod, bucket, scratch, sent)
    yield privacy
    assert privacy.bared() == []


@pytest.fixture(autouse=True)
def nothing_is_left(
    api: Api, bucket: Bucket, scratch: Scratch, families: list[Family], privacy: Privacy
) -> Iterator[None]:
    """Whatever a test did: the pod is ready, no original is stored, no scratch file exists,
    and nothing that was uploaded stands anywhere."""
    yield
    eventually(api.ready, "the pod is ready")
    becomes(lambda: bucket.keys("uploads/"), set(), "originals in the bucket")
    for family in families:
        becomes(lambda f=family: unlinked_files(f), 0, "spooled files that are open")
    becomes(scratch.names, set(), "temporary files")
    assert privacy.leaks() == []


@pytest.fixture(scope="session")
def measured(
    request: pytest.FixtureRequest,
) -> Callable[[str, Collection[str], float, float], None]:
    """Takes a row of the table of faults, which is shown at the end."""
    rows = request.config.stash.setdefault(FAULTS, [])

    def note(name: str, told: Collection[str], seconds: float, within: float) -> None:
        codes = ", ".join(f"`{code}`" for code in sorted(told)) or "–"
        rows.append(f"| {name} | {codes} | {within:.0f} s | {seconds:.1f} s |")

    return note


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if rows := config.stash.get(FAULTS, []):
        terminalreporter.section("faults: what clients saw, back within, measured")
        terminalreporter.write("\n".join(rows) + "\n")
