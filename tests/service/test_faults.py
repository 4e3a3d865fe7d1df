"""Things that break while requests run: what clients are told, and how soon all is well again.

In each test photos, classifications and videos come in all the time. What is refused must be
refused with the fault's own code; every video that was taken in must be made in the end. The
run prints a table; docs/faults.md holds one.
"""

from __future__ import annotations

import contextlib
import io
import re
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests
from PIL import Image

from deploy.local.pod import Pod
from gateway import metrics_folder
from tests.faulty import Fault, Proxy
from tests.leaks import ENTRY
from tests.service import media
from tests.service.helpers import (
    FINAL,
    LIMITS,
    Api,
    Bucket,
    Family,
    becomes,
    drawing_renderer,
    eventually,
    model_server,
    model_worker,
    problem,
    suspended,
    work_horse,
)
from tests.service.replica import Replica
from tests.service.traffic import QUICK, Traffic

DEADLINE = 25.0  # seconds: none of these requests may take longer, whatever breaks
S3_TIMEOUT = 2.0
POOLED = 16  # connections that a process may keep for the next request
MEMORY = 128 * 1024 * 1024


@dataclass(frozen=True)
class Breakage:
    """``strike`` breaks something of the pod, and mends it where nothing else does."""

    name: str
    strike: Callable[[Pod], object]
    told: Collection[str] = ()
    back: float = 20.0  # seconds within which it must be
    kinds: Collection[str] = QUICK  # of requests that the fault concerns


def stopped(program: str, seconds: float) -> Callable[[Pod], None]:
    def strike(pod: Pod) -> None:
        pod.control("stop", program)
        time.sleep(seconds)
        pod.control("start", program)

    return strike


def frozen(program: str, seconds: float) -> Callable[[Pod], None]:
    """Its processes are there, listen, and do nothing."""

    def strike(pod: Pod) -> None:
        with suspended(*map(psutil.Process, pod.pids(program))):
            time.sleep(seconds)

    return strike


def redis_killed(pod: Pod) -> None:
    psutil.Process(pod.pids("redis")[0]).kill()


MODEL = {"model-unavailable", "deadline-exceeded"}  # a starting TorchServe listens, and is silent
RENDERER = {"renderer-unavailable", "renderer-failed"}  # the latter: what it was at
QUEUE = {"queue-unavailable"}
ALL = (*QUICK, "look")
BREAKAGES = [
    Breakage("TorchServe: a worker killed", lambda pod: model_worker(pod).kill(), MODEL),
    Breakage("TorchServe killed", lambda pod: model_server(pod).kill(), MODEL, back=60),
    Breakage("Redis killed", redis_killed, QUEUE, kinds=ALL),
    Breakage("a renderer killed", lambda pod: drawing_renderer(pod).kill(), {"renderer-failed"}),
]
LONG_BREAKAGES = [
    Breakage("TorchServe stopped for 5 s", stopped("torchserve", 5), MODEL, back=60),
    Breakage("TorchServe frozen for 20 s", frozen("torchserve", 20), {*MODEL, "busy"}, back=60),
    Breakage("Redis stopped for 5 s", stopped("redis", 5), QUEUE, kinds=ALL),
    Breakage("S3 stopped for 5 s", stopped("s3", 5), {"storage-unavailable"}),
    Breakage("the renderer stopped for 3 s", stopped("renderer", 3), RENDERER),
    Breakage("a video's process killed", lambda pod: work_horse(pod).kill()),
]


def named(breakages: list[Breakage]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("breakage", breakages, ids=lambda one: one.name)


@named(BREAKAGES)
def test_something_breaks(pod, api, clips, breakage, measured):
    broken(pod, api, clips.short(), breakage, measured)


@pytest.mark.long
@named(LONG_BREAKAGES)
def test_something_else_breaks(pod, api, clips, breakage, measured):
    broken(pod, api, clips.short(), breakage, measured)


def broken(pod: Pod, api: Api, clip: bytes, breakage: Breakage, measured: Callable) -> None:
    with Traffic(api, clip) as traffic:
        traffic.under_way()
        breakage.strike(pod)
        back = traffic.back(time.monotonic(), breakage.back, breakage.kinds)
    told = traffic.judge(breakage.told, DEADLINE)
    measured(breakage.name, told, back, breakage.back)


@pytest.fixture(autouse=True)
def no_descriptor_is_left(families: list[Family]) -> Iterator[None]:
    """Broken connections are closed on our side, too, and so are files."""
    before = [descriptors(family) for family in families]
    yield
    for family, count in zip(families, before, strict=True):
        few = lambda f=family, c=count: descriptors(f) <= c + POOLED  # noqa: E731
        eventually(few, f"no more than {POOLED} descriptors above {count}", 40)


def descriptors(family: Family) -> int:
    """Of the process that has most."""
    counts = [0]
    for process in family.processes():
        with contextlib.suppress(psutil.Error):
            counts.append(process.num_fds())
    return max(counts)


# the object store, behind a proxy


@dataclass(frozen=True)
class Behind:
    """A gateway, renderer and worker that reach the pod's object store through a proxy."""

    proxy: Proxy
    api: Api
    scratch: Path
    bucket: Bucket
    logs: Path

    def results(self) -> set[str]:
        """The tokens of all results that lie in the bucket."""
        return {key.split("/")[1] for key in self.bucket.keys("results/")}

    def litter(self) -> set[str]:
        """Temporary files that have a name, but for the gateway's counters."""
        names = {entry.name for entry in self.scratch.iterdir()}
        return {name for name in names if not name.startswith(metrics_folder.PREFIX)}


@pytest.fixture(scope="module")
def behind(pod, bucket, sent, tmp_path_factory) -> Iterator[Behind]:
    host, port = bucket.endpoint.removeprefix("http://").split(":")
    folder = tmp_path_factory.mktemp("behind")
    (folder / "scratch").mkdir()
    with Proxy((host, int(port))) as proxy:
        own = {
            "MASQUERADE_S3_ENDPOINT": proxy.url,
            "MASQUERADE_S3_TIMEOUT": str(S3_TIMEOUT),
            "MASQUERADE_QUEUE_NAME": "behind",
            "MASQUERADE_RENDERER_MEMORY": str(MEMORY),
            "TMPDIR": str(folder / "scratch"),
        }
        replica = Replica(pod, {**LIMITS, **own}, worker=True)
        try:
            replica.start()
            yield Behind(proxy, Api(replica.url, sent), folder / "scratch", bucket, replica.logs)
        finally:
            replica.kill()


STORE = {
    "S3 answers 500": (Fault(status=500), 1.0),
    "S3 resets connections": (Fault(share=0, reset=True), 1.0),
    "S3 breaks answers off halfway": (Fault(share=0.5), 1.0),
}
LONG_STORE = {
    "S3 answers 503 SlowDown": (Fault(status=503, code="SlowDown"), 5.0),
    "S3 says the clock is wrong": (Fault(status=403, code="RequestTimeTooSkewed"), 5.0),
    "S3 resets amid answers": (Fault(share=0.5, reset=True), 5.0),
    "S3 sends 50 bytes a second": (Fault(pace=50), 3 * S3_TIMEOUT),
    "S3 takes requests and is silent": (Fault(silent=True), 3 * S3_TIMEOUT),
    "S3 answers 500 for 10 s": (Fault(status=500), 10.0),
}


@pytest.mark.parametrize("name", STORE)
def test_the_object_store_misbehaves(behind, clips, name, measured):
    misbehaves(behind, clips.short(), name, *STORE[name], measured)


@pytest.mark.long
@pytest.mark.parametrize("name", LONG_STORE)
def test_the_object_store_misbehaves_otherwise(behind, clips, name, measured):
    misbehaves(behind, clips.short(), name, *LONG_STORE[name], measured)


def misbehaves(
    behind: Behind, clip: bytes, name: str, fault: Fault, seconds: float, measured: Callable
) -> None:
    within, before = 10.0, behind.results()
    with Traffic(behind.api, clip) as traffic:
        traffic.under_way()
        spoiled = behind.proxy.spoiled
        with behind.proxy.spoiling(fault):
            time.sleep(seconds)
        back = traffic.back(time.monotonic(), within)
        assert behind.proxy.spoiled > spoiled
    told = traffic.judge({"storage-unavailable"}, DEADLINE)
    owned = traffic.owned()
    becomes(lambda: (behind.results() - before) ^ owned, set(), "results of nobody, or lost", 120)
    assert behind.litter() == set()
    measured(name, told, back, within)


@pytest.mark.long
@pytest.mark.parametrize(
    "fault", [Fault(status=500), Fault(share=0.5), Fault(share=0, reset=True)], ids=str
)
@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "DELETE"])
def test_one_kind_of_call_to_the_store_fails(behind, bucket, clips, fault, method):
    """A file that was uploaded is never lost, nor left behind, whichever step fails."""
    for body, kind in ((media.photo(), "image"), (clips.short(), "video")):
        upload_id = behind.api.upload(body)
        ask = {"json": {"upload_id": upload_id}}
        with behind.proxy.spoiling(fault, methods={method}):
            answer = behind.api.call("POST", "/v1/blur", **ask)
            if kind == "video" and answer.status_code == 202:
                time.sleep(1)  # the worker meets it, too
        if answer.status_code == 503:
            problem(answer, 503, "storage-unavailable")
            assert f"uploads/{upload_id}" in bucket.keys("uploads/")
            answer = behind.api.call("POST", "/v1/blur", **ask)
        if kind == "image":
            assert answer.status_code == 200, answer.text
        else:
            assert behind.api.ended(answer.json()["id"])["status"] == "done"


def test_a_batch_while_the_store_fails_is_made_and_not_told_of(behind, bucket):
    """Its names are in every URL that botocore complains of: ``nothing_is_left`` reads the logs."""
    name = f"batch-{uuid.uuid4().hex[:8]}"
    for number in range(12):  # so many that it still works when the store begins to fail
        bucket.put(f"{name}/in/{ENTRY}-{number}.jpg", media.photo())
    source, target = (f"s3://{bucket.name}/{name}/{end}/" for end in ("in", "out"))
    wish = {"pipeline": "blur", "input": source, "output": target}
    log = behind.logs / "worker.log"
    before = len(log.read_text())  # other tests' faults are in it, too
    job_id = behind.api.call("POST", "/v1/jobs", json=wish).json()["id"]
    with behind.proxy.spoiling(Fault(share=0, reset=True), methods={"PUT"}):
        eventually(lambda: "exception raised" in log.read_text()[before:], "a failed attempt")
    assert behind.api.ended(job_id)["status"] == "done"
    assert len(bucket.keys(f"{name}/out/")) == 12
    said = log.read_text()[before:]
    assert "ConnectionClosedError" in said
    assert name not in said


# a full disk, a small memory, a wrong clock


@pytest.mark.long
def test_the_disk_is_full(api, scratch, clips, measured):
    if not scratch.own:
        pytest.skip("needs the right to mount a file system")
    with Traffic(api, clips.short()) as traffic:
        traffic.under_way()
        with scratch.full():
            time.sleep(3)
        back = traffic.back(time.monotonic(), 10)
    told = traffic.judge({"disk-full"}, DEADLINE)
    assert told
    measured("disk full", told, back, 10)


def test_a_renderer_reaches_its_memory_limit(behind, clips, measured):
    """The one who asked for too much is told so; nobody else notices."""
    huge = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 255, (3900, 64, 3), np.uint8)
    Image.fromarray(np.tile(noise, (1, 64, 1))).save(huge, "png", compress_level=1)
    with Traffic(behind.api, clips.short()) as traffic:
        traffic.under_way()
        refusal = problem(behind.api.blur(huge.getvalue()), 413, "too-large")
        back = traffic.back(time.monotonic(), 10)
    assert "memory" in refusal["detail"]
    assert traffic.judge((), DEADLINE) == set()
    measured("a renderer reaches its memory limit", {"too-large"}, back, 10)


@pytest.mark.parametrize(
    "off",
    [pytest.param(-600, id="ten minutes slow"), pytest.param(600, id="ten minutes fast")],
)
def test_the_signing_host_s_clock_is_off(pod, sent, clips, off, tmp_path):
    """Links live as long as promised, although they are signed with a wrong time: those of photos
    and, from a worker on the same host, those of videos. Nobody notices."""
    own = {"MASQUERADE_URL_TTL": "900", "TMPDIR": str(tmp_path), "MASQUERADE_QUEUE_NAME": "off"}
    replica = Replica(pod, {**LIMITS, **own}, worker=True, off=off)
    try:
        replica.start()
        api = Api(replica.url, sent)
        with Traffic(api, clips.short()) as traffic:
            traffic.under_way()
            traffic.back(time.monotonic(), 60)
        assert traffic.judge((), DEADLINE) == set()
        for ask in (
            lambda: api.blur(media.photo()).json(),
            lambda: api.job(traffic.jobs[-1])["result"],
        ):
            view = ask()
            promised = time.mktime(time.strptime(view["expires_at"], "%Y-%m-%dT%H:%M:%SZ"))
            assert promised - time.timezone - time.time() == pytest.approx(900, abs=20)
            for link in (view["url"], view["report_url"]):
                assert requests.get(link, timeout=30).status_code == 200
        log = (replica.logs / "gateway.log").read_text()
        assert re.search(r"clock is (599|600|601) s (behind|ahead of) the object store's", log)
    finally:
        replica.kill()


# many workers


@pytest.mark.long
def test_a_worker_is_killed_amid_a_segment(pod, api, bucket, clips, measured):
    """Its lease ends after half a minute; then the next one does the piece again."""
    name = f"batch-{uuid.uuid4().hex[:8]}"
    bucket.put(f"{name}/in/long.mp4", clips.minute())
    source, target = (f"s3://{bucket.name}/{name}/{end}/" for end in ("in", "out"))
    with Traffic(api, clips.short()) as traffic:
        wish = {"pipeline": "blur", "input": source, "output": target}
        job_id = api.call("POST", "/v1/jobs", json=wish).json()["id"]
        is_part = lambda row: row["stage"] == "render" and "long.mp4" in str(row)  # noqa: E731
        api.until(job_id, lambda view: any(map(is_part, view["running"])), 120)
        worker = psutil.Process(pod.pids("worker")[0])
        worker.kill()
        begun = time.monotonic()
        eventually(lambda: len(pod.pids("worker")) > 1, "the next worker works")
        view = api.until(job_id, lambda view: view["status"] in FINAL, 300)
        back = time.monotonic() - begun
    assert (view["status"], view["items"]["done"], view["items"]["failed"]) == ("done", 1, 0)
    assert len(media.frames(bucket.read(f"{name}/out/long.mp4"))) == 720
    assert bucket.keys("work/") == set()
    told = traffic.judge((), DEADLINE)
    measured("a worker killed amid a segment (until the batch was done)", told, back, 300)
