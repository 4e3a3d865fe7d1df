"""What killed workers leave half-written where batches write, and what links there lead to."""

from __future__ import annotations

import dataclasses
import io
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.errors import Forbidden, NotFound
from gateway.jobs import sweep
from gateway.jobs.open_tree import open_tree
from gateway.jobs.queue import JobQueue
from gateway.replacing import replacing
from tests.batch_standin import photo


def age(path):
    """Make a file older than any write takes."""
    os.utime(path, (time.time() - 86400 * 1.1,) * 2)


def test_uploads_broken_off_in_an_output_are_dropped(
    settings, submit, put, work, storage, monkeypatch
):
    own = dataclasses.replace(settings, batch_buckets="elsewhere")
    put({"a.jpg": photo()})
    submit(output=f"s3://{settings.s3_bucket}/out/")
    work()  # it is over
    for key in ("out/deep/b.mp4", "output/c.mp4"):
        storage._client.create_multipart_upload(Bucket=settings.s3_bucket, Key=key)
    jobs = JobQueue(settings)
    assert sweep.broken_off(jobs, storage, own) == 0  # they may be at work
    monkeypatch.setattr(sweep, "_BROKEN_OFF", timedelta(seconds=-60))
    assert sweep.broken_off(jobs, storage, own) == 1
    left = storage._client.list_multipart_uploads(Bucket=settings.s3_bucket)["Uploads"]
    assert [item["Key"] for item in left] == ["output/c.mp4"]


def test_parts_of_files_are_removed(folders, settings, storage, queue, work):
    root, allowed, submit = folders
    (root / "in" / "b" / "a.jpg").write_bytes(photo())
    assert open_tree(f"{root}/none", allowed, storage).tidy(datetime.now(UTC)) == 0
    submit()
    work(batch_roots=allowed.batch_roots)
    with pytest.raises(SystemExit), replacing(root / "x", root / "out/.masquerade/.parts") as file:
        file.write(b"half")
        os.link(file.name, Path(file.name).with_name(".killed.part"))
        raise SystemExit
    (part,) = (root / "out" / ".masquerade" / ".parts").iterdir()
    jobs = JobQueue(settings)
    assert sweep.broken_off(jobs, storage, allowed) == 0
    age(part)
    assert sweep.broken_off(jobs, storage, allowed) == 1
    assert sorted(str(p.relative_to(root / "out")) for p in root.glob("out/**/*.*")) == [
        *(".masquerade", ".masquerade/.parts", ".masquerade/b/a.jpg.json", "b/a.jpg"),
    ]


@pytest.mark.parametrize("linked", [".masquerade", ".masquerade/.parts"])
def test_nothing_is_written_or_removed_where_a_link_leads_out(folders, storage, tmp_path, linked):
    root, allowed, _ = folders
    tree = open_tree(f"{root}/out", allowed, storage)
    tree.probe()
    outside = tmp_path / "outside"
    (outside / ".parts").mkdir(parents=True)
    left = [outside / ".killed.part", outside / ".parts" / ".killed.part"]
    for path in left:
        path.write_bytes(b"half")
        age(path)
    (root / "out" / linked).parent.mkdir(parents=True)
    (root / "out" / linked).symlink_to(outside)
    for call in (
        tree.probe,
        lambda: tree.tidy(datetime.now(UTC)),
        lambda: tree.put("a.jpg", io.BytesIO(b"x"), "image/jpeg", {}),
    ):
        with pytest.raises(Forbidden, match="leads out"):
            call()
    assert sorted(path for path in outside.rglob("*") if path.is_file()) == left
    assert not (root / "out" / "a.jpg").exists()


def test_only_parts_are_removed(folders, storage, tmp_path):
    root, allowed, _ = folders
    parts = root / "out" / ".masquerade" / ".parts"
    parts.mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"x")
    age(tmp_path / "secret")
    for name in (".killed.part", "notes.txt", "killed.part"):
        (parts / name).write_bytes(b"x")
        age(parts / name)
    (parts / ".link.part").symlink_to(tmp_path / "secret")
    (parts / ".folder.part").mkdir()
    age(parts / ".folder.part")
    assert open_tree(f"{root}/out", allowed, storage).tidy(datetime.now(UTC)) == 1
    assert sorted(path.name for path in parts.iterdir()) == [
        *(".folder.part", ".link.part", "killed.part", "notes.txt"),
    ]


def test_a_circle_of_links_is_refused(folders, storage):
    root, allowed, _ = folders
    (root / "circle").symlink_to("circle")
    (root / "out").mkdir()
    (root / "out" / "b").symlink_to("b")
    with pytest.raises(NotFound):
        open_tree(f"{root}/circle", allowed, storage).check()
    with pytest.raises(Forbidden):
        open_tree(f"{root}/out", allowed, storage).put("b/a.jpg", io.BytesIO(b"x"), "a/b", {})


def test_an_output_is_looked_after_while_it_is_used_and_for_a_while(queue, submit, put, settings):
    put({"a.jpg": photo()})
    batch, store = submit(), queue.store
    place = f"s3://{settings.s3_bucket}/out/"
    store.forget_outputs(time.time() + 60)
    assert store.outputs() == {place}
    queue.cancel(batch)
    store.forget_outputs(time.time() - 60)
    assert store.outputs() == {place}
    store.forget_outputs(time.time() + 60)
    assert store.outputs() == set()


def test_an_output_that_nobody_was_there_to_tidy_up_is_tidied_once(
    folders, settings, storage, queue, work
):
    root, allowed, submit = folders
    (root / "in" / "a.jpg").write_bytes(photo())
    submit()
    work(batch_roots=allowed.batch_roots)
    part = root / "out" / ".masquerade" / ".parts" / ".killed.part"
    part.write_bytes(b"half")
    age(part)
    long_ago = dict.fromkeys(queue.store.outputs(), time.time() - 9 * 86400)
    queue.redis.zadd("masquerade:batches:outputs", long_ago)
    assert sweep.broken_off(JobQueue(settings), storage, allowed) == 1
    assert queue.store.outputs() == set()
