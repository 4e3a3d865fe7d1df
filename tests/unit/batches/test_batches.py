"""Batches on a real Redis and a real S3 server: listing, items, ends, retries."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.errors import Conflict
from gateway.jobs import batch_tasks, listing, sweep
from gateway.jobs.attempts import Chances
from gateway.jobs.batches import item_key
from gateway.jobs.queue import JobQueue
from tests.batch_standin import content, numbers, photo, video
from tests.servers import keys

# the way through


def test_the_output_mirrors_the_input(queue, submit, put, work, storage):
    put({"a.jpg": photo(), "b/c.mp4": video(3), "b/d/e.mov": video(2), "notes.txt": b"x"})
    put({".hidden/x.jpg": photo(), "b/.y.jpg": photo()})
    batch = submit()
    assert (batch.status, batch.kind, batch.listed) == ("queued", "batch", False)
    work()
    status, counts = numbers(queue, batch)
    assert (status, counts) == ("done", {"total": 3, "done": 3, "skipped": 0, "failed": 0})
    assert [k for k in keys(storage) if k.startswith("out/")] == [
        *("out/a.jpg", "out/b/c.mp4", "out/b/d/e.mp4"),
    ]
    assert content(storage, "out/a.jpg") == b"blurred " + photo()
    done = queue.get(batch.id)
    assert (done.counters["ms"], done.counters["frames"], done.counters["faces"]) == (5000, 50, 3)
    assert done.counters["bytes"] == done.counters["bytes_done"] > 0
    assert done.finished_at >= done.started_at >= done.created_at
    assert queue.store.live_ids() == set()
    assert queue.redis.ttl(f"masquerade:batch:{batch.id}:states") > 13 * 86400
    ended = queue.store.ended(batch.id, "done", 0, 10)
    assert {(e["name"], e["output"]) for e in ended} == {
        ("a.jpg", "a.jpg"), ("b/c.mp4", "b/c.mp4"), ("b/d/e.mov", "b/d/e.mp4"),
    }  # fmt: skip
    assert sum(part["ms"] for part in queue.store.pace(batch.id).values()) == 5000


def test_a_second_batch_skips_what_is_there(queue, submit, put, work, storage):
    put({"a.jpg": photo(), "b.mp4": video()})
    submit()
    work()
    put({"b.mp4": video(2), "c.jpg": photo()})
    second = submit()
    work()
    assert numbers(queue, second)[1] == {"total": 3, "done": 2, "skipped": 1, "failed": 0}
    third = submit(options={"style": "solid"})
    work()
    assert numbers(queue, third)[1]["done"] == 3


def test_a_report_that_is_missing_is_made(queue, submit, put, work, storage):
    put({"a.jpg": photo(), "b.mp4": video()})
    submit()
    work()
    second = submit(report=True)
    work()
    assert numbers(queue, second)[1]["done"] == 2
    assert {"out/a.jpg.report.json", "out/b.mp4.report.json"} <= set(keys(storage))
    third = submit(report=True)
    work()
    assert numbers(queue, third)[1]["skipped"] == 2
    put({"b.mp4": video(2)})
    submit()
    work()
    fourth = submit(report=True)  # the report of b.mp4 is of another version
    work()
    assert numbers(queue, fourth)[1] == {"total": 2, "done": 1, "skipped": 1, "failed": 0}


@pytest.mark.parametrize(("mode", "gate"), [("off", None), ("reject", {"nsfw": 0.8})])
def test_photos_go_through_the_gate_of_the_settings(submit, put, work, storage, mode, gate):
    put({"a.jpg": photo()})
    submit(report=True)
    work(review=mode)
    assert json.loads(content(storage, "out/a.jpg.report.json"))["gate"] == gate


def test_one_corrupt_among_many(queue, submit, put, work):
    put({f"{n}.jpg": photo() for n in range(20)})
    put({"bad.mp4": video(error="bad-media"), "odd.jpg": b"no picture", "empty.png": b""})
    batch = submit()
    work()
    assert numbers(queue, batch) == (
        "done",
        {"total": 23, "done": 20, "skipped": 0, "failed": 3},
    )
    counted = queue.get(batch.id).counters
    assert counted["bytes_done"] == counted["bytes"]
    failed = {e["name"]: e["code"] for e in queue.store.ended(batch.id, "failed", 0, 100)}
    assert failed == {
        "bad.mp4": "bad-media", "odd.jpg": "unsupported-media", "empty.png": "empty-upload",
    }  # fmt: skip


def test_dead_letters_are_tried_again(queue, submit, put, work, storage):
    put({"a.jpg": photo(), "b.mp4": video(error="bad-media")})
    batch = submit()
    work()
    put({"b.mp4": video()})
    begun = queue.get(batch.id).started_at
    assert queue.retry(queue.get(batch.id)) == 1
    assert numbers(queue, batch)[0] == "queued"
    assert queue.redis.ttl(f"masquerade:batch:{batch.id}") == -1
    queue.store.begin(queue.get(batch.id), item_key("b.mp4"))
    assert numbers(queue, batch)[0] == "running"
    assert queue.get(batch.id).started_at == begun
    work()
    assert numbers(queue, batch) == ("done", {"total": 2, "done": 2, "skipped": 0, "failed": 0})
    assert queue.store.ended(batch.id, "failed", 0, 9) == []
    with pytest.raises(Conflict):
        queue.retry(queue.get(batch.id))


def test_dead_letters_count_until_they_are_seen_to(queue, submit, put, work, settings):
    put({"a.jpg": photo(), "b.mp4": video(error="bad-media"), "c.mp4": video(error="bad-media")})
    outputs = [f"s3://{settings.s3_bucket}/{place}/" for place in ("out", "more", "less", "never")]
    batches = [submit(output=output) for output in outputs]
    work()
    assert queue.store.dead_letters() == 8
    queue.retry(queue.get(batches[0].id))
    assert queue.store.dead_letters() == 6
    work()
    assert queue.store.dead_letters() == 8
    queue.forget(queue.get(batches[1].id))
    queue.redis.delete(f"masquerade:batch:{batches[2].id}")  # it has expired
    assert queue.store.dead_letters() == 4
    assert queue.redis.scard("masquerade:batches:dead") == 2
    put({"b.mp4": video(), "c.mp4": video()})
    for batch in (batches[0], batches[3]):
        queue.retry(queue.get(batch.id))
    work()
    assert queue.store.dead_letters() == 0
    put({"b.mp4": video(error="bad-media")})
    last = submit()
    work(most=3)
    queue.cancel(queue.get(last.id))  # which cannot be retried
    assert queue.store.dead_letters() == 0
    assert queue.redis.scard("masquerade:batches:dead") == 0


def test_a_batch_in_which_all_failed_has_failed(queue, submit, put, work):
    put({"b.mp4": video(error="bad-media")})
    batch = submit()
    work()
    assert numbers(queue, batch)[0] == "failed"


def test_what_passes_is_tried_again(queue, submit, put, work, tmp_path):
    marks = str(tmp_path / "marks")
    put({"a.jpg": photo(error="model-unavailable", fail_on=[1, 2], marks=marks)})
    put({"b.jpg": photo(error="model-unavailable")})
    batch = submit()
    work()
    assert numbers(queue, batch)[1] == {"total": 2, "done": 1, "skipped": 0, "failed": 1}
    assert len(Path(marks).read_text().splitlines()) == 3


# listing


def test_a_listing_goes_on_where_it_was(queue, submit, put, work, storage, settings, monkeypatch):
    monkeypatch.setattr(listing, "PAGE", 3)
    put({f"{n:02}.jpg": photo() for n in range(10)})
    batch = submit()
    real, calls = queue.ensure, []

    def dies(batch_id, wanted):
        calls.append(list(wanted))
        if len(calls) == 3:
            raise KeyboardInterrupt  # between the records of a page and its messages
        real(batch_id, calls[-1])

    monkeypatch.setattr(queue, "ensure", dies)
    queue.rq.fetch_job(queue.rq.pop_job_id()).delete()
    with pytest.raises(KeyboardInterrupt):
        batch_tasks.attempt(batch.id, "list", settings, queue, storage, Chances(2))
    assert queue.get(batch.id).cursor == "05.jpg"
    assert queue.get(batch.id).counters["total"] == 9
    queue.ensure = real
    batch_tasks.settle(queue, batch.id, "list", 1)
    queue.ensure(batch.id, ["list"])
    work()
    assert numbers(queue, batch) == ("done", {"total": 10, "done": 10, "skipped": 0, "failed": 0})


def test_a_listing_waits_while_enough_is_queued(queue, submit, put, work, monkeypatch):
    monkeypatch.setattr(listing, "PAGE", 2)
    monkeypatch.setattr(listing, "MOST_WAITING", 3)
    put({f"{n:02}.jpg": photo() for n in range(10)})
    batch = submit()
    work(most=1)
    assert queue.get(batch.id).cursor == "03.jpg"
    assert queue.rq.get_job_ids()[-1].endswith("-list")  # in no worker's hands meanwhile
    assert queue.depth() == 5
    assert not queue.get(batch.id).listed
    work()
    assert numbers(queue, batch) == ("done", {"total": 10, "done": 10, "skipped": 0, "failed": 0})
    assert queue.get(batch.id).listed


def test_nothing_to_do_is_told(queue, submit, put, work):
    put({"notes.txt": b"x"})
    batch = submit()
    work()
    now = queue.get(batch.id)
    assert (now.status, now.error["code"]) == ("failed", "empty-input")


def test_an_output_inside_the_input_is_no_input(queue, submit, put, work, storage, settings):
    put({"a.jpg": photo()})
    out = f"s3://{settings.s3_bucket}/in/out"
    submit(output=out)
    work()
    second = submit(output=out)
    work()
    assert numbers(queue, second)[1] == {"total": 1, "done": 0, "skipped": 1, "failed": 0}
    assert keys(storage) == ["in/a.jpg", "in/out/a.jpg"]


# exactly once


def test_an_attempt_whose_task_was_taken_over_counts_nothing(queue, submit, put, work):
    put({"a.jpg": photo()})
    batch = submit()
    work(most=1)
    item = item_key("a.jpg")
    store = queue.store
    first = store.begin(batch, item)
    second = store.begin(batch, item)
    assert first.token != second.token
    assert not store.note(first, {})
    assert store.end(first, "done", {}, {"frames": 5}) == 0
    assert store.end(second, "done", {}, {"frames": 5}) == 1
    assert store.end(second, "done", {}, {"frames": 5}) == 0
    assert store.begin(batch, item) is None
    assert queue.get(batch.id).counters["frames"] == 5
    assert queue.get(batch.id).status == "done"


def test_an_item_handed_back_waits_again(queue, submit, put, work):
    put({"a.jpg": photo()})
    batch = submit()
    work(most=1)
    task = queue.store.begin(batch, item_key("a.jpg"))
    batch_tasks.settle(queue, batch.id, task.key, 1)
    assert queue.store.end(task, "done") == 0
    work()
    assert numbers(queue, batch)[1]["done"] == 1


def test_an_item_whose_worker_always_dies_is_a_dead_letter(queue, submit, put, work):
    put({"a.jpg": photo(), "b.jpg": photo()})
    batch = submit()
    work(most=1)
    queue.store.begin(batch, item_key("a.jpg"))
    batch_tasks.settle(queue, batch.id, item_key("a.jpg"), 0)
    work()
    assert numbers(queue, batch) == ("done", {"total": 2, "done": 1, "skipped": 0, "failed": 1})


def test_an_item_killed_for_its_deadline_says_so(queue, submit, put, work):
    put({"a.jpg": photo()})
    batch = submit()
    work(most=1)
    queue.store.begin(batch, item_key("a.jpg"))
    batch_tasks.settle(queue, batch.id, item_key("a.jpg"), 0, late=True)
    (failure,) = queue.store.ended(batch.id, "failed", 0, 9)
    assert failure["code"] == "deadline-exceeded"
    assert failure["message"] == "the work on this file took longer than the service allows"


@pytest.mark.parametrize("long", [False, True])
def test_an_input_that_is_gone_is_said_to_be_gone(queue, submit, put, work, storage, long):
    put({"a.mp4": video(30)})
    batch = submit()
    work(most=2 if long else 1, segment_seconds=10.0)
    storage.delete(["in/a.mp4"])
    work(segment_seconds=10.0)
    (failure,) = queue.store.ended(batch.id, "failed", 0, 9)
    assert (failure["code"], failure["message"]) == ("not-found", "the file is gone")


def test_lost_messages_are_found(queue, settings, submit, put, work):
    put({"a.jpg": photo(), "b.jpg": photo(), "c.mp4": video(30)})
    batch = submit()
    work(most=1)
    queue.store.begin(batch, item_key("a.jpg"))
    jobs = JobQueue(settings)
    assert sweep.lost_tasks(jobs, settings) == 0  # nothing can be told while messages wait
    queue.rq.empty()
    assert sweep.lost_tasks(jobs, settings) == 3
    assert queue.depth() == 3
    assert queue.mend(queue.get(batch.id)) == 0
    work(segment_seconds=10.0)
    assert numbers(queue, batch)[1]["done"] == 3


# the same twice, cancelling


def test_the_same_batch_submitted_twice_is_one(queue, submit, put, work):
    put({"a.jpg": photo()})
    first, second = submit(), submit()
    assert first.id == second.id
    assert queue.depth() == 1
    with pytest.raises(Conflict):
        submit(options={"style": "solid"})
    work()
    assert submit(options={"style": "solid"}).id != first.id


def test_cancel_while_it_waits(queue, submit, put, work, storage):
    put({"a.jpg": photo()})
    batch = submit()
    assert queue.cancel(batch)
    assert not queue.cancel(queue.get(batch.id))
    work()
    assert numbers(queue, batch)[0] == "cancelled"
    assert keys(storage) == ["in/a.jpg"]
    with pytest.raises(Conflict):
        queue.retry(queue.get(batch.id))
    assert submit().id != batch.id


def test_cancel_amid(queue, submit, put, work, storage):
    put({f"{n}.jpg": photo() for n in range(6)})
    batch = submit()
    work(most=3)
    task = queue.store.begin(batch, item_key("5.jpg"))
    queue.cancel(queue.get(batch.id))
    assert queue.store.end(task, "done") == 0
    work()
    status, counts = numbers(queue, batch)
    assert (status, counts["done"]) == ("cancelled", 2)
    queue.forget(queue.get(batch.id))
    left = [k for k in queue.redis.keys("*") if batch.id.encode() in k]
    assert left == []


def test_cancel_amid_the_listing(queue, submit, put, work, storage, monkeypatch):
    monkeypatch.setattr(listing, "PAGE", 2)
    put({f"{n}.jpg": photo() for n in range(9)})
    batch = submit()
    real = queue.ensure

    def ensure(batch_id, wanted):
        if queue.get(batch.id).counters["total"] == 4:
            queue.cancel(queue.get(batch.id))
        real(batch_id, wanted)

    monkeypatch.setattr(queue, "ensure", ensure)
    work()
    now = queue.get(batch.id)
    assert (now.status, now.counters["total"], now.counters["done"]) == ("cancelled", 4, 0)
    assert not now.listed
    assert queue.store.live_ids() == set()
    assert [key for key in keys(storage) if key.startswith("out/")] == []


def test_newest_first(queue, submit, put, settings):
    put({"a.jpg": photo()})
    made = [submit(output=f"s3://{settings.s3_bucket}/out{n}/").id for n in range(5)]
    page = queue.store.page(float("inf"), 2)
    assert [b.id for b in page] == made[:2:-1]
    rest = queue.store.page(page[-1].created_at, 10)
    assert [b.id for b in rest] == made[2::-1]
