"""Long videos in batches: segments, and what stays on a worker's disk."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gateway.jobs import sweep
from gateway.jobs.batch_queue import message_id
from gateway.jobs.batches import item_key, join_key
from gateway.jobs.kept import Kept
from gateway.jobs.queue import JobQueue
from tests.batch_standin import content, numbers, photo, video
from tests.servers import keys

# long videos


def test_a_long_video_is_split_and_joined(queue, submit, put, work, storage):
    put({"a.mp4": video(30), "b.mp4": video(10)})
    batch = submit()
    work(segment_seconds=10.0)
    assert numbers(queue, batch) == ("done", {"total": 2, "done": 2, "skipped": 0, "failed": 0})
    assert content(storage, "out/a.mp4") == b"part 0;part 1;part 2;" + video(30)
    assert [k for k in keys(storage) if k.startswith("work/")] == []
    done = queue.get(batch.id)
    assert (done.counters["ms"], done.counters["frames"]) == (40_000, 400)
    second = submit()
    work(segment_seconds=10.0)
    assert numbers(queue, second)[1]["skipped"] == 2


def test_a_segment_that_fails_fails_its_video_only(queue, submit, put, work, storage, tmp_path):
    marks = str(tmp_path / "marks")
    put({"a.mp4": video(50, error="bad-media", fail_on=[2], marks=marks), "b.mp4": video()})
    batch = submit()
    work(segment_seconds=10.0)
    assert numbers(queue, batch) == ("done", {"total": 2, "done": 1, "skipped": 0, "failed": 1})
    assert queue.redis.hget(f"masquerade:batch:{batch.id}", "open") == b"0"
    assert len(Path(marks).read_text().splitlines()) == 2  # the others were not begun
    counted = queue.get(batch.id).counters
    assert counted["bytes_done"] == counted["bytes"]
    assert counted["frames"] == 110  # of the segment that was done, and of the other video
    queue.retry(queue.get(batch.id))
    assert queue.get(batch.id).counters["frames"] == 10
    assert 0 < queue.get(batch.id).counters["bytes_done"] < counted["bytes"] / 2
    work(segment_seconds=10.0)
    again = queue.get(batch.id).counters
    assert (again["frames"], again["ms"]) == (510, 51_000)
    assert counted["bytes"] - 5 <= again["bytes_done"] <= counted["bytes"]
    assert numbers(queue, batch) == ("done", {"total": 2, "done": 2, "skipped": 0, "failed": 0})
    assert content(storage, "out/a.mp4").startswith(b"part 0;part 1;part 2;part 3;part 4;")


def test_a_video_that_changes_between_its_segments(queue, submit, put, work, storage):
    put({"a.mp4": video(30)})
    batch = submit()
    work(most=3, segment_seconds=10.0)
    put({"a.mp4": video(31)})
    work(segment_seconds=10.0)
    (failure,) = queue.store.ended(batch.id, "failed", 0, 9)
    assert failure["code"] == "conflict"


def test_work_of_ended_batches_is_swept(queue, settings, submit, put, work, storage, monkeypatch):
    put({"a.mp4": video(30)})
    batch = submit()
    work(most=3, segment_seconds=10.0)
    assert len([k for k in keys(storage) if k.startswith(f"work/{batch.id}/")]) == 2
    monkeypatch.setattr(sweep, "_MARGIN", -sweep._MARGIN)
    jobs = JobQueue(settings)
    assert sweep.old_work(jobs, storage) == 0
    queue.cancel(queue.get(batch.id))
    assert sweep.old_work(jobs, storage) == 2


def test_a_join_that_dies_before_its_end_is_written_is_done_once(
    queue, submit, put, work, storage, monkeypatch
):
    put({"a.mp4": video(30)})
    batch = submit()
    work(most=5, segment_seconds=10.0)
    real = queue.store.end

    def dies(task, *rest):
        if task.key.startswith("j-"):
            raise KeyboardInterrupt
        return real(task, *rest)

    monkeypatch.setattr(queue.store, "end", dies)
    with pytest.raises(KeyboardInterrupt):
        work(segment_seconds=10.0)
    monkeypatch.setattr(queue.store, "end", real)
    assert "out/a.mp4" in keys(storage)
    queue.rq.fetch_job(message_id(batch.id, join_key(item_key("a.mp4")))).delete()
    assert queue.mend(queue.get(batch.id)) == 1
    work(segment_seconds=10.0)
    assert numbers(queue, batch) == ("done", {"total": 1, "done": 1, "skipped": 0, "failed": 0})
    assert queue.get(batch.id).counters["faces"] == 1
    assert [k for k in keys(storage) if k.startswith("work/")] == []


def test_a_join_whose_end_was_forgotten_is_done(queue, submit, put, work, storage):
    put({"a.mp4": video(30), "b.jpg": photo()})
    batch = submit()
    work(most=6, segment_seconds=10.0)
    (done,) = queue.store.ended(batch.id, "done", 0, 9)
    assert done["name"] == "a.mp4"
    record, item = f"masquerade:batch:{batch.id}", item_key("a.mp4")
    queue.redis.hset(f"{record}:states", mapping={item: "split", join_key(item): "queued"})
    queue.redis.hincrby(record, "open", 2)
    queue.redis.hincrby(record, "done", -1)
    queue.ensure(batch.id, [join_key(item)])
    work(segment_seconds=10.0)
    assert numbers(queue, batch) == ("done", {"total": 2, "done": 2, "skipped": 0, "failed": 0})
    ended = {e["name"]: e for e in queue.store.ended(batch.id, "done", 0, 9)}
    assert (ended["a.mp4"]["output"], ended["a.mp4"]["frames"]) == ("a.mp4", 300)


@pytest.mark.parametrize("late", [False, True])
def test_cancel_amid_the_join(queue, settings, submit, put, work, storage, monkeypatch, late):
    """Before its result is stored there is none; what is stored by then is whole and stays."""
    put({"a.mp4": video(30)})
    batch = submit()
    played = sys.modules["gateway.pipelines.segments"]
    real = played.join

    def join(*given, progress, **more):
        report = None if not late else real(*given, progress=progress, **more)
        queue.cancel(queue.get(batch.id))
        if not late:
            progress("join", 1, 2)
            raise AssertionError("it goes on though it is cancelled")
        return report

    monkeypatch.setattr(played, "join", join)
    work(segment_seconds=10.0)
    now = queue.get(batch.id)
    assert (now.status, now.counters["done"], now.counters["faces"]) == ("cancelled", 0, 0)
    whole = b"part 0;part 1;part 2;" + video(30)
    found = [content(storage, key) for key in keys(storage) if key.startswith("out/")]
    assert found == ([whole] if late else [])
    monkeypatch.setattr(sweep, "_MARGIN", -sweep._MARGIN)
    sweep.old_work(JobQueue(settings), storage)
    assert [key for key in keys(storage) if key.startswith("work/")] == []
    monkeypatch.setattr(played, "join", real)
    again = submit()
    work(segment_seconds=10.0)
    assert numbers(queue, again)[1]["skipped" if late else "done"] == 1
    assert content(storage, "out/a.mp4") == whole


# what stays on a worker's disk


def test_a_kept_video_is_fetched_once():
    fetched = []

    def fetch(out):
        out.write(b"video")
        out.flush()
        fetched.append(1)
        return "v1"

    def read(kept, owner):
        with kept.file(owner, fetch) as (file, version):
            return Path(f"/proc/self/fd/{file.fileno()}").read_bytes(), version

    kept = Kept()
    assert read(kept, "a") == (b"video", "v1")  # nothing is kept for nobody
    kept.turn_to("a")
    for _ in range(3):
        assert read(kept, "a") == (b"video", "v1")
    assert len(fetched) == 2
    kept.turn_to("b")
    assert read(kept, "b") == (b"video", "v1")
    kept.turn_to("")
    assert len(fetched) == 3


def test_a_kept_video_that_was_not_fetched_to_its_end_is_fetched_again():
    def breaks(out):
        out.write(b"half of it, and more")
        out.flush()
        raise ConnectionError

    def works(out):
        out.write(b"whole")
        out.flush()
        return "v1"

    kept = Kept()
    kept.turn_to("a")
    with pytest.raises(ConnectionError), kept.file("a", breaks):
        pass
    with kept.file("a", works) as (file, _):
        assert Path(f"/proc/self/fd/{file.fileno()}").read_bytes() == b"whole"
