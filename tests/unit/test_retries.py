"""Where a message goes when its attempt has failed, and what that costs, on a real Redis."""

from __future__ import annotations

import sys
import time
import types

import pytest

from gateway import carry
from gateway.jobs import attempts, batch_tasks
from gateway.jobs import worker as worker_module
from gateway.jobs.batch_queue import message_id, task_of
from gateway.jobs.batches import item_key, segment_keys
from gateway.jobs.queue import JobQueue
from gateway.jobs.worker import JobWorker
from gateway.settings import Settings
from tests.unit.test_leases import abandon, begin

BATCH = "b" * 32
A, B = item_key("a.jpg"), item_key("b.jpg")
(SEGMENT,) = segment_keys(A, 1)


@pytest.fixture
def jobs(settings):
    return JobQueue(settings)


@pytest.fixture
def worker(settings, monkeypatch):
    monkeypatch.setattr(batch_tasks, "inherited", None)
    worker = JobWorker(settings)
    worker.register_birth()
    return worker


@pytest.fixture
def fail(jobs, worker):
    """Have the attempt at the next task end in an exception, else in death, or its worker's."""
    queue = jobs.batches.rq

    def fail(error=None, abandoned=False):
        message, execution = begin(worker, queue)
        if abandoned:
            abandon(worker, queue)
        elif error is None:
            worker._horse_died(message)
            worker.handle_job_failure(message, queue, execution=execution)
        else:
            try:
                raise error
            except Exception:
                worker._finalize_failure(message, queue, execution, sys.exc_info())
        return queue.fetch_job(message.id)

    return fail


@pytest.fixture
def pauses(monkeypatch):
    """Those of attempts and workers, which take no time; other threads go on sleeping."""
    pauses = []
    clock = types.SimpleNamespace(**{**vars(time), "sleep": pauses.append})
    for module in (attempts, worker_module):
        monkeypatch.setattr(module, "time", clock)
    return pauses


def away(pause):
    return attempts.TryAgain("model-unavailable", free=True, first=True, pause=pause)


def waiting(jobs):
    return [task_of(message)[1] for message in jobs.batches.rq.get_job_ids()]


def test_what_was_first_once_is_not_first_for_ever(jobs, fail):
    jobs.batches.ensure(BATCH, [A, B])
    fail(away(0))
    assert waiting(jobs) == [A, B]
    fail(attempts.TryAgain("busy"))
    assert waiting(jobs) == [B, A]


@pytest.mark.parametrize("how", [{}, {"error": ZeroDivisionError()}, {"abandoned": True}])
def test_what_was_handed_back_has_no_place_by_that(jobs, worker, fail, how):
    jobs.batches.ensure(BATCH, [A, B])
    worker._handing_back = True
    fail()
    assert waiting(jobs) == [A, B]
    worker._handing_back = False
    fail(**how)
    assert waiting(jobs) == [B, A]


@pytest.mark.parametrize("how", [{}, {"error": attempts.TryAgain("busy")}, {"abandoned": True}])
def test_what_is_urgent_goes_first_again(jobs, fail, how):
    jobs.batches.ensure(BATCH, ["list", B])
    fail(attempts.TryAgain("paused", free=True, first=False))
    assert waiting(jobs) == [B, "list"]
    jobs.batches.rq.remove(message_id(BATCH, B))
    jobs.batches.ensure(BATCH, [A])
    assert waiting(jobs) == ["list", A]
    fail(**how)
    assert waiting(jobs) == ["list", A]
    jobs.batches.ensure(BATCH, [SEGMENT])
    fail(**how)
    assert waiting(jobs) == [SEGMENT, "list", A]


def test_an_attempt_pauses_after_those_that_failed_only(jobs, worker, fail, pauses, monkeypatch):
    jobs.batches.ensure(BATCH, [A])

    def begun(message):
        monkeypatch.setattr(attempts, "get_current_job", lambda: message)
        return carry.along(failed)()

    def failed():
        with attempts.under_way("input", "batch", Settings(job_retries=9)) as chances:
            return chances.failed

    assert begun(jobs.batches.rq.fetch_job(message_id(BATCH, A))) == 0
    assert begun(fail(away(7))) == 0
    worker._handing_back = True
    assert begun(fail()) == 0
    worker._handing_back = False
    assert pauses == [7]
    assert begun(fail()) == 1
    assert begun(fail(away(8))) == 1
    assert begun(fail(attempts.TryAgain("busy"))) == 2
    assert pauses == [7, 2, 8, 2, 10]


def test_nobody_waits_for_a_job_that_is_another_s(jobs, worker, pauses):
    queue = jobs.batches.rq
    jobs.batches.ensure(BATCH, [A])
    message, _ = begin(worker, queue)
    meta = dict(message.meta)
    abandon(worker, queue)
    worker._attempt_ended(message, attempts.TryAgain, away(9))
    assert (pauses, message.meta) == ([], meta)
