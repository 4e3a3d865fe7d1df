"""Trainings as batches of one task."""

from __future__ import annotations

import pytest
from rq.timeouts import JobTimeoutException

from gateway import training
from gateway.errors import TrainingFailed
from gateway.jobs import batch_tasks, spec
from gateway.jobs.attempts import Chances, TryAgain
from gateway.training.outputs import Outputs
from tests.servers import keys

# trainings


@pytest.fixture
def train(queue, settings, storage, monkeypatch):
    """Submit a training and do it, with a run that is played."""
    batch, _ = queue.submit(spec.Spec(pipeline="train", model="rigger", params={"rate": 0.1}))

    def train(run):
        monkeypatch.setattr(training, "run", run)
        batch_tasks.attempt(
            batch.id, "train", settings, queue, storage, Chances(settings.job_retries)
        )

    return batch, train


def test_a_training_runs_to_its_result(queue, train):
    batch, go = train
    assert (batch.kind, queue.training.count, queue.rq.count) == ("training", 1, 0)

    def run(job_id, order, storage, progress, *, note, settings):
        assert (job_id, order["model"], order["params"]) == (batch.id, "rigger", {"rate": 0.1})
        progress("train", 5, 10)
        (told,) = queue.store.running(batch.id).values()
        assert (told["stage"], told["fraction"]) == ("train", 0.5)
        note({"step": 5})
        assert queue.get(batch.id).state == {"step": 5}
        return {"checkpoint": "key"}

    go(run)
    done = queue.get(batch.id)
    assert (done.status, done.result) == ("done", {"checkpoint": "key"})


@pytest.mark.parametrize(
    ("owner", "folder"),
    [("", "anonymous"), ("phone-app", "phone-app"), ("results", "user-results")],
)
def test_outputs_lie_under_their_owners_name(queue, settings, storage, tmp_path, owner, folder):
    """Those of an earlier attempt, too, which this one finds done."""
    batch, _ = queue.submit(spec.Spec(pipeline="train", model="rigger"), owner)
    Outputs.of(storage, owner, "cpu", "rigger", batch.id).finish({"step": 7})
    batch_tasks.attempt(batch.id, "train", settings, queue, storage, Chances(settings.job_retries))
    done = queue.get(batch.id)
    assert (done.status, done.result) == ("done", {"step": 7})
    assert {key.split("/")[0] for key in keys(storage)} == {folder}


def test_a_training_that_is_told_to_stop_waits_again(queue, train):
    batch, go = train

    def run(*_, **__):
        raise training.HandedBack("told to stop")

    with pytest.raises(TryAgain) as again:
        go(run)
    assert again.value.free and again.value.first
    assert dict(queue.store.states(batch.id)) == {"train": "queued"}
    go(lambda *_, **__: {"checkpoint": "key"})
    assert queue.get(batch.id).status == "done"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (JobTimeoutException(), "deadline-exceeded", "took longer than the service allows"),
        (MemoryError(), "too-large", "needs more memory than the service has"),
        (KeyError("secret"), "internal", "failed; the server's log says why"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_ends_a_training_is_told_of_a_training(queue, train, error, code, message):
    batch, go = train

    def run(*_, **__):
        raise error

    go(run)
    told = queue.get(batch.id).error
    assert (told["code"], told["message"]) == (code, f"the work on the training {message}")


def test_a_training_that_fails_can_be_tried_again(queue, train):
    batch, go = train

    def run(*_, **__):
        raise TrainingFailed("it diverged")

    go(run)
    failed = queue.get(batch.id)
    assert (failed.status, failed.error["code"]) == ("failed", "training-failed")
    assert queue.retry(failed) == 1
    go(lambda *_, **__: {"checkpoint": "key"})
    assert queue.get(batch.id).status == "done"
