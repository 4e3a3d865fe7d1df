"""What a batch may not read or write, and folders as its input and output."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest

from gateway.errors import BadOption, EmptyInput, Forbidden
from gateway.jobs import batch_tasks, spec
from gateway.jobs.attempts import Chances
from gateway.jobs.batches import Running
from tests.batch_standin import numbers, photo, video

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
    with pytest.raises(Forbidden):  # a name that no file system takes
        submit(input=f"{root}/{'a' * 300}")


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
    batch_tasks.attempt(batch.id, "list", settings, queue, storage, Chances(2))
    batch_tasks.settle(queue, batch.id, "list", 2)
    assert queue.store.end(Running(batch, "list", ""), "done") == 0
    with contextlib.suppress(StopIteration):
        next(queue.store.states(batch.id))
