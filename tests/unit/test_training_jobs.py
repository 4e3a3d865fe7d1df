"""Training jobs through the real queue and real workers: done, handed back, killed, cancelled."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from gateway.cli import _parser
from gateway.jobs import spec
from gateway.jobs.queue import JobQueue
from gateway.storage import Storage
from gateway.training import process as process_
from tests import toy_training, training_standin
from tests.kube_standin import cluster
from tests.servers import as_env, keys, process, wait_for
from tests.unit.http_fakes import app_of, services_of


@pytest.fixture
def root(tmp_path, monkeypatch):
    root = toy_training.install(tmp_path / "root")
    training_standin.install(root, monkeypatch.setattr)
    yield root
    for name in [name for name in sys.modules if name.startswith("model_store.toy")]:
        del sys.modules[name]


@pytest.fixture
def queue(settings):
    return JobQueue(settings)


@pytest.fixture
def storage(settings):
    return Storage(settings)


@pytest.fixture
def submit(root, queue, settings, storage):
    def submit(**params):
        raw = {"pipeline": "train", "model": "toy", "params": params}
        return queue.batches.submit(spec.parse(raw, settings, storage))[0]

    return submit


@pytest.fixture
def worker(root, settings, queue, tmp_path):
    """Starts real workers."""
    with contextlib.ExitStack() as stack:

        def start(*more, **changes):
            command = [sys.executable, "-m", "tests.training_standin", str(root), *more]
            before = queue.redis.scard("rq:workers")
            up = lambda: queue.redis.scard("rq:workers") > before  # noqa: E731
            log = tmp_path / f"worker{time.monotonic()}.log"
            env = {**as_env(settings), "TMPDIR": str(tmp_path), **changes}
            return stack.enter_context(process(command, up, log, env))

        yield start


@pytest.fixture
def state(queue):
    return lambda job: queue.batches.get(job.id)


def said(storage, tmp_path):
    (key,) = [key for key in keys(storage) if key.endswith("train.log")]
    with (tmp_path / "said").open("wb") as file:
        storage.fetch(key, file)
    return (tmp_path / "said").read_text()


def is_gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except OSError:
        return True


def trains(state, job):
    """Whether it is amid its steps, with a checkpoint that is safe."""
    now = state(job).state or {}
    return now.get("step", 0) > 2 and now.get("checkpoint")


def test_trainings_are_done_side_by_side_and_in_a_burst(submit, worker, state, storage):
    jobs = [submit(steps=3), submit(steps=5)]
    assert worker("--burst").wait(60) == 0
    assert [state(job).status for job in jobs] == ["done", "done"]
    assert [state(job).result["step"] for job in jobs] == [3, 5]
    assert len([key for key in keys(storage) if key.endswith("result.json")]) == 2


def test_a_worker_told_to_stop_hands_its_training_back(
    submit, worker, state, storage, queue, tmp_path
):
    job = submit(steps=60, pause=0.1)
    first = worker("--burst")
    wait_for(lambda: trains(state, job))
    begun = time.monotonic()
    first.terminate()
    assert first.wait(15) == 143
    assert time.monotonic() - begun < 10
    assert state(job).live
    worker("--burst").wait(60)
    assert state(job).status == "done"
    starts = [int(line.split()[-1]) for line in said(storage, tmp_path).splitlines()
              if line.startswith("from step")]  # fmt: skip
    assert len(starts) == 2
    assert starts[1] > 2


def test_a_killed_worker_s_training_is_gone_on_with(submit, worker, state, storage, tmp_path):
    job = submit(steps=60, pause=0.1)
    first = worker()
    wait_for(lambda: trains(state, job))
    os.killpg(first.pid, signal.SIGKILL)
    worker("--burst").wait(60)
    assert state(job).status == "done"
    script = next(line for line in said(storage, tmp_path).splitlines() if "processes" in line)
    wait_for(lambda: is_gone(script.split()[1]))


def test_a_cancelled_training_ends(submit, worker, state, storage, queue, tmp_path):
    job = submit(steps=1000, pause=0.1)
    worker()
    wait_for(lambda: trains(state, job))
    script = next(line for line in said(storage, tmp_path).splitlines() if "processes" in line)
    assert queue.batches.cancel(state(job))
    wait_for(lambda: is_gone(script.split()[1]))
    assert state(job).status == "cancelled"


def test_only_who_has_torch_takes_trainings(settings, queue, monkeypatch, tmp_path):
    def listened(**changes):
        own = dataclasses.replace(settings, **changes)
        return [queue.name for queue in JobQueue(own).queues()]

    name = settings.queue_name
    monkeypatch.setattr(process_, "_OWN_PYTHON", tmp_path / "none")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert listened() == [name, f"{name}-batch"]
    assert listened(train_python="/opt/torch/bin/python")[2:] == [f"{name}-train"]
    assert listened(train_python="/x", launcher="kubernetes") == [name, f"{name}-batch"]
    monkeypatch.setattr(process_, "_OWN_PYTHON", tmp_path)
    assert listened()[2:] == [f"{name}-train"]


def test_a_failed_training_tells_why(submit, worker, state):
    job = submit(fail=True)
    worker("--burst").wait(60)
    assert state(job).status == "failed"
    assert "the loss is odd" in str(state(job).error)


def test_with_kubernetes_the_pod_that_is_made_does_the_training(root, settings, worker, tmp_path):
    """Its container's command and environment are used as they are in the created Job."""
    with cluster() as api:
        own = dataclasses.replace(
            settings, launcher="kubernetes", k8s_api=api.url, k8s_namespace="video",
            k8s_image="w:1", k8s_model_image="m:1", k8s_train_image="t:1",
        )  # fmt: skip
        client = app_of(services_of(own)).test_client()
        wish = {"pipeline": "train", "model": "toy", "device": "gpu", "params": {"steps": 3}}
        answer = client.post("/v1/jobs", json=wish)
        assert answer.status_code == 202
        ((_, name),) = api.jobs
        assert answer.json["launch"]["name"] == name
        (pod,) = api.jobs["video", name]["spec"]["template"]["spec"]["containers"]
        assert pod["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert vars(_parser().parse_args(pod["command"][1:]))["burst"]
        env = {e["name"]: e["value"] for e in pod["env"]}
        asked = worker("--burst", **{**as_env(own), **env, "TMPDIR": str(tmp_path)})
        assert asked.wait(60) == 0
        view = client.get(f"/v1/jobs/{answer.json['id']}").json
        assert (view["status"], view["training"]["step"]) == ("done", 3)
        assert view["training"]["checkpoint_url"]

        waiting = client.post("/v1/jobs", json=wish | {"params": {"steps": 4}}).json["id"]
        assert len(api.jobs) == 2
        assert client.delete(f"/v1/jobs/{waiting}").status_code == 200
        assert len(api.jobs) == 1
