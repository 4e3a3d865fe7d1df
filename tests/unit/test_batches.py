"""Batches on a real Redis and a real S3 server: listing, items, segments, ends, retries."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import sys
from pathlib import Path

import pytest

from gateway import training
from gateway.errors import BadOption, Conflict, EmptyInput, Forbidden, TrainingFailed
from gateway.jobs import batch_tasks, listing, spec, sweep, tasks
from gateway.jobs.batches import Running, item_key
from gateway.jobs.kept import Kept
from gateway.jobs.queue import JobQueue
from gateway.storage import Storage
from tests import batch_standin
from tests.batch_standin import photo, video
from tests.servers import keys


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
        return queue.submit(spec.parse({**raw, **changes}, settings, storage))

    return submit


@pytest.fixture
def played(monkeypatch):
    import gateway.media.video

    for name, module in batch_standin.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(gateway.media.video, "probe", batch_standin.probe)
    monkeypatch.setattr(batch_tasks, "BACKOFF", (0, 0))


@pytest.fixture
def work(queue, settings, storage, played):
    """Do what waits in the queue, in this process, until nothing does."""

    def work(most=1000, **changes):
        own = dataclasses.replace(settings, **changes)
        for _ in range(most):
            if not queue.depth():
                return
            message = queue.rq.pop_job_id()
            batch_id, key = message[:32], message[33:]
            job = queue.rq.fetch_job(message)
            if job is None:
                continue
            left = job.retries_left or 0
            try:
                batch_tasks.attempt(batch_id, key, own, queue, storage, left)
            except tasks.TryAgain:
                job.retries_left = left - 1
                queue.rq._enqueue_job(job)
            else:
                job.delete()

    return work


def content(storage, key):
    out = io.BytesIO()
    storage.fetch(key, out)
    return out.getvalue()


def numbers(queue, batch):
    now = queue.get(batch.id)
    return now.status, {k: now.counters[k] for k in ("total", "done", "skipped", "failed")}


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
    assert queue.redis.ttl(f"masquerade:batch:{batch.id}:states") > 80_000
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
    failed = {e["name"]: e["code"] for e in queue.store.ended(batch.id, "failed", 0, 100)}
    assert failed == {
        "bad.mp4": "bad-media", "odd.jpg": "unsupported-media", "empty.png": "empty-upload",
    }  # fmt: skip


def test_dead_letters_are_tried_again(queue, submit, put, work, storage):
    put({"a.jpg": photo(), "b.mp4": video(error="bad-media")})
    batch = submit()
    work()
    put({"b.mp4": video()})
    assert queue.retry(queue.get(batch.id)) == 1
    assert numbers(queue, batch)[0] == "running"
    assert queue.redis.ttl(f"masquerade:batch:{batch.id}") == -1
    work()
    assert numbers(queue, batch) == ("done", {"total": 2, "done": 2, "skipped": 0, "failed": 0})
    assert queue.store.ended(batch.id, "failed", 0, 9) == []
    with pytest.raises(Conflict):
        queue.retry(queue.get(batch.id))


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
        batch_tasks.attempt(batch.id, "list", settings, queue, storage, 2)
    assert queue.get(batch.id).cursor == "05.jpg"
    assert queue.get(batch.id).counters["total"] == 9
    queue.ensure = real
    batch_tasks.settle(queue, batch.id, "list", 1)
    queue.ensure(batch.id, ["list"])
    work()
    assert numbers(queue, batch) == ("done", {"total": 10, "done": 10, "skipped": 0, "failed": 0})


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


def test_two_inputs_never_share_a_result(queue, submit, put, work, storage):
    put({"a.mov": video(1), "a.mp4": video(2), "b.avi": video(3), "b.mkv": video(4)})
    put({"c.mov": video(), "c.jpg": photo(), "c.x.mp4": video()})
    batch = submit()
    work()
    assert numbers(queue, batch)[1]["done"] == 7
    assert [k[4:] for k in keys(storage) if k.startswith("out/")] == [
        *("a.mov.mp4", "a.mp4", "b.avi.mp4", "b.mkv.mp4", "c.jpg", "c.mp4", "c.x.mp4"),
    ]


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
    queue.retry(queue.get(batch.id))
    work(segment_seconds=10.0)
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


def test_newest_first(queue, submit, put, settings):
    put({"a.jpg": photo()})
    made = [submit(output=f"s3://{settings.s3_bucket}/out{n}/").id for n in range(5)]
    page = queue.store.page(float("inf"), 2)
    assert [b.id for b in page] == made[:2:-1]
    rest = queue.store.page(page[-1].created_at, 10)
    assert [b.id for b in rest] == made[2::-1]


# what is refused


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"pipeline": "grill"}, BadOption),
        ({"extra": 1}, BadOption),
        ({"device": "tpu"}, BadOption),
        ({"workers": -1}, BadOption),
        ({"workers": True}, BadOption),
        ({"gpus": 0}, BadOption),
        ({"options": {"style": "puce"}}, BadOption),
        ({"options": []}, BadOption),
        ({"report": "yes"}, BadOption),
        ({"input": "in/"}, BadOption),
        ({"input": 3}, BadOption),
        ({"input": "s3://OWN/in/../x/"}, BadOption),
        ({"output": "s3://OWN/in"}, BadOption),
        ({"output": "s3://OWN/"}, Forbidden),
        ({"input": "s3://OWN/in/deep/", "output": "s3://OWN/in/"}, BadOption),
        ({"input": "s3://other/in/"}, Forbidden),
        ({"input": "s3://OWN/uploads/"}, Forbidden),
        ({"output": "s3://OWN/results/x/"}, Forbidden),
        ({"input": "/etc/"}, Forbidden),
        ({"input": "s3://OWN/nothing/"}, EmptyInput),
    ],
)
def test_what_is_refused(submit, put, settings, changes, error):
    put({"a.jpg": photo()})
    own = {
        name: value.replace("OWN", settings.s3_bucket) if isinstance(value, str) else value
        for name, value in changes.items()
    }
    with pytest.raises(error):
        submit(**own)


def test_a_bucket_that_is_allowed_but_not_there(settings, storage):
    allowed = dataclasses.replace(settings, batch_buckets="elsewhere, other")
    raw = {"pipeline": "blur", "input": "s3://elsewhere/x/"}
    with pytest.raises(Forbidden, match="no such bucket"):
        spec.parse({**raw, "output": f"s3://{settings.s3_bucket}/out/"}, allowed, storage)


# folders


@pytest.fixture
def folders(settings, storage, queue, tmp_path):
    root = tmp_path / "root"
    (root / "in" / "b").mkdir(parents=True)
    allowed = dataclasses.replace(settings, batch_roots=f"/nowhere:{root}")

    def submit(**changes):
        raw = {"pipeline": "blur", "input": f"{root}/in", "output": f"{root}/out", **changes}
        return queue.submit(spec.parse(raw, allowed, storage))

    return root, allowed, submit


def test_a_folder_to_a_folder(folders, queue, work):
    root, allowed, submit = folders
    (root / "in" / "a.jpg").write_bytes(photo())
    (root / "in" / "b" / "c.mov").write_bytes(video())
    batch = submit(report=True)
    work(batch_roots=allowed.batch_roots)
    assert numbers(queue, batch) == ("done", {"total": 2, "done": 2, "skipped": 0, "failed": 0})
    found = sorted(str(p.relative_to(root / "out")) for p in root.joinpath("out").rglob("*.*"))
    assert [name for name in found if not name.startswith(".masq")] == [
        *("a.jpg", "a.jpg.report.json", "b/c.mp4", "b/c.mp4.report.json"),
    ]
    again = submit(report=True)
    work(batch_roots=allowed.batch_roots)
    assert numbers(queue, again)[1]["skipped"] == 2
    (root / "in" / "a.jpg").write_bytes(photo(x=1))
    third = submit(report=True)
    work(batch_roots=allowed.batch_roots)
    assert numbers(queue, third)[1] == {"total": 2, "done": 1, "skipped": 1, "failed": 0}


def test_links_lead_nowhere_else(folders, queue, work, tmp_path):
    root, allowed, submit = folders
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.jpg").write_bytes(photo())
    (root / "in" / "a.jpg").write_bytes(photo())
    (root / "in" / "link.jpg").symlink_to(outside / "secret.jpg")
    (root / "in" / "inner.jpg").symlink_to("a.jpg")
    (root / "in" / "folder").symlink_to(outside)
    (root / "in" / "loop").symlink_to(root / "in")
    batch = submit()
    work(batch_roots=allowed.batch_roots)
    assert numbers(queue, batch)[1] == {"total": 3, "done": 2, "skipped": 0, "failed": 1}
    (failure,) = queue.store.ended(batch.id, "failed", 0, 9)
    assert (failure["name"], failure["code"]) == ("link.jpg", "forbidden")
    (root / "leak").symlink_to(outside)
    with pytest.raises(Forbidden):
        submit(output=f"{root}/leak/out")
    with pytest.raises(Forbidden):
        submit(input=f"{root}/leak")


def test_an_output_folder_that_becomes_a_link(folders, queue, work, tmp_path):
    root, allowed, submit = folders
    (root / "in" / "b" / "a.jpg").write_bytes(photo())
    (root / "out").mkdir()
    (root / "out" / "b").symlink_to(tmp_path)
    batch = submit()
    work(batch_roots=allowed.batch_roots)
    assert numbers(queue, batch)[0] == "failed"
    assert not (tmp_path / "a.jpg").exists()


def test_an_attempt_of_a_forgotten_batch_does_nothing(queue, settings, storage, submit, put):
    put({"a.jpg": photo()})
    batch = submit()
    queue.cancel(batch)
    queue.forget(batch)
    batch_tasks.attempt(batch.id, "list", settings, queue, storage, 2)
    batch_tasks.settle(queue, batch.id, "list", 2)
    assert queue.store.end(Running(batch, "list", ""), "done") == 0
    with contextlib.suppress(StopIteration):
        next(queue.store.states(batch.id))


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


# trainings


@pytest.fixture
def train(queue, settings, storage, monkeypatch):
    """Submit a training and do it, with a run that is played."""
    batch = queue.submit(spec.Spec(pipeline="train", model="rigger", params={"rate": 0.1}))

    def train(run):
        monkeypatch.setattr(training, "run", run)
        batch_tasks.attempt(batch.id, "train", settings, queue, storage, settings.job_retries)

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


def test_a_training_that_is_told_to_stop_waits_again(queue, train):
    batch, go = train

    def run(*_, **__):
        raise training.HandedBack("told to stop")

    with pytest.raises(batch_tasks.HandedBack):
        go(run)
    assert dict(queue.store.states(batch.id)) == {"train": "queued"}
    go(lambda *_, **__: {"checkpoint": "key"})
    assert queue.get(batch.id).status == "done"


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
