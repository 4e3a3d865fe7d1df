"""What tests of batches begin with: a queue, files put in, a batch submitted, work done."""

from __future__ import annotations

import dataclasses
import io
import sys

import pytest

from gateway.jobs import attempts, batch_tasks, spec
from gateway.jobs.batch_queue import task_of
from gateway.jobs.queue import JobQueue
from gateway.storage import Storage
from tests import batch_standin


@pytest.fixture
def queue(settings):
    return JobQueue(settings).batches


@pytest.fixture
def storage(settings):
    return Storage(settings)


@pytest.fixture
def put(storage):
    """Put files into the input, by their names."""
    return lambda files: [storage.put(f"in/{n}", io.BytesIO(b), "a/b") for n, b in files.items()]


@pytest.fixture
def submit(queue, settings, storage):
    def submit(**changes):
        bucket = settings.s3_bucket
        raw = {"pipeline": "blur", "input": f"s3://{bucket}/in/", "output": f"s3://{bucket}/out/"}
        return queue.submit(spec.parse({**raw, **changes}, settings, storage))[0]

    return submit


@pytest.fixture
def folders(settings, storage, queue, tmp_path):
    """An allowed root, settings that allow it, and how to submit its in/ to its out/."""
    root = tmp_path / "root"
    (root / "in" / "b").mkdir(parents=True)
    allowed = dataclasses.replace(settings, batch_roots=f"/nowhere:{root}")

    def submit(**changes):
        raw = {"pipeline": "blur", "input": f"{root}/in", "output": f"{root}/out", **changes}
        return queue.submit(spec.parse(raw, allowed, storage))[0]

    return root, allowed, submit


@pytest.fixture
def played(monkeypatch):
    import gateway.media.video

    for name, module in batch_standin.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(gateway.media.video, "probe", batch_standin.probe)


@pytest.fixture
def work(queue, settings, storage, played):
    """Do what waits in the queue, in this process, until nothing does."""

    def work(most=1000, **changes):
        own = dataclasses.replace(settings, **changes)
        for _ in range(most):
            if not queue.depth():
                return
            message = queue.rq.pop_job_id()
            batch_id, key = task_of(message)
            job = queue.rq.fetch_job(message)
            if job is None:
                continue
            left = job.retries_left or 0
            try:
                batch_tasks.attempt(batch_id, key, own, queue, storage, attempts.Chances(left))
            except attempts.TryAgain as again:
                job.retries_left = left - (not again.free)
                queue.rq._enqueue_job(job)
            else:
                job.delete()

    return work
