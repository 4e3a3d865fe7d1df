"""Where batches read and write: what cannot be read, what may not be written, what is left."""

from __future__ import annotations

import errno
import io
import os

import pytest

from gateway.errors import Forbidden
from gateway.jobs import listing
from gateway.jobs.trees import open_tree
from tests.batch_standin import numbers, photo

# what cannot be read


@pytest.fixture
def unreadable(monkeypatch):
    """Have the system refuse a folder, also to root."""
    refused = set()
    real = os.scandir

    def scandir(path):
        if os.fspath(path) in refused:
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    return lambda folder: refused.add(str(folder))


def failures(queue, batch):
    return {e["name"]: e["message"] for e in queue.store.ended(batch.id, "failed", 0, 100)}


def test_a_folder_that_cannot_be_read_is_told_and_the_rest_is_done(
    folders, queue, work, unreadable
):
    root, allowed, submit = folders
    for name in ("a.jpg", "b/c.jpg", "locked/d.jpg", "z/e.jpg"):
        (root / "in" / name).parent.mkdir(exist_ok=True)
        (root / "in" / name).write_bytes(photo())
    unreadable(root / "in" / "locked")
    batch = submit()
    work(batch_roots=allowed.batch_roots)
    assert numbers(queue, batch) == ("done", {"total": 4, "done": 3, "skipped": 0, "failed": 1})
    ((name, why),) = failures(queue, batch).items()
    assert name == "locked/"
    assert "may not read" in why and "Permission denied" in why
    assert (root / "out" / "z" / "e.jpg").exists()


def test_a_folder_that_becomes_unreadable_amid_the_listing_is_told(
    folders, queue, unreadable, storage
):
    root, allowed, _ = folders
    for name in ("a/1.jpg", "a/2.jpg", "b/3.jpg"):
        (root / "in" / name).parent.mkdir(exist_ok=True)
        (root / "in" / name).write_bytes(photo())
    unreadable(root / "in" / "a")
    tree = open_tree(f"{root}/in", allowed, storage)
    assert [entry.name for entry in tree.entries("a/1.jpg")] == ["a/", "b/3.jpg"]


def test_an_input_that_cannot_be_read_at_all(folders, queue, work, unreadable):
    root, allowed, submit = folders
    (root / "in" / "a.jpg").write_bytes(photo())
    batch = submit()
    unreadable(root / "in")
    work(batch_roots=allowed.batch_roots)
    now = queue.get(batch.id)
    assert (now.status, now.error["code"]) == ("failed", "forbidden")


@pytest.mark.parametrize("page", [1, 1000])
def test_names_that_are_not_utf_8_are_told_and_the_rest_is_done(
    folders, queue, work, monkeypatch, page
):
    monkeypatch.setattr(listing, "PAGE", page)
    root, allowed, submit = folders
    for name in (b"a.jpg", b"caf\xe9.jpg", b"caf\xe9.txt", "é.jpg".encode(), b"\xff/x.jpg"):
        path = root / "in" / os.fsdecode(name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(photo())
    batch = submit()
    work(batch_roots=allowed.batch_roots)
    assert numbers(queue, batch) == ("done", {"total": 4, "done": 2, "skipped": 0, "failed": 2})
    why = "its name is not UTF-8; rename it"
    assert failures(queue, batch) == {"caf\\xe9.jpg": why, "\\xff/": why}


def test_a_listing_goes_on_behind_a_name_that_is_not_utf_8(folders, storage):
    root, allowed, _ = folders
    for name in (b"a.jpg", b"b\xe9.jpg", b"bz.jpg", "é.jpg".encode(), b"\xff.jpg"):
        (root / "in" / os.fsdecode(name)).write_bytes(photo())
    tree = open_tree(f"{root}/in", allowed, storage)
    names = [entry.name for entry in tree.entries()]
    assert len(names) == 5
    for n, name in enumerate(names):
        assert set(names[n + 1 :]) <= {entry.name for entry in tree.entries(name)}


@pytest.mark.parametrize("name", ["/a.jpg", "d//a.jpg", "d/./a.jpg", "../a.jpg", "d/../../a.jpg"])
def test_keys_that_cannot_become_a_file(folders, storage, name):
    root, allowed, _ = folders
    tree = open_tree(f"{root}/out", allowed, storage)
    with pytest.raises(Forbidden):
        tree.put(name, io.BytesIO(b"x"), "image/jpeg", {})
    assert not [path for path in root.rglob("*") if path.is_file()]
