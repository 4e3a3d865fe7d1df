"""Where batches read and write: what cannot be read, what may not be written."""

from __future__ import annotations

import dataclasses
import errno
import io
import os
import random
from contextlib import nullcontext, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from gateway.errors import Forbidden, StorageUnavailable
from gateway.jobs import listing, spec
from gateway.jobs.open_tree import open_tree
from gateway.settings import MIB
from gateway.storage import Storage
from tests.batch_standin import numbers, photo
from tests.faulty import Fault, Proxy
from tests.servers import keys

# what cannot be read


@pytest.fixture
def refused(monkeypatch):
    """Have the store refuse one object, by its key."""
    keys = set()

    def refusing(real):
        def call(self, key, *rest, **more):
            if key in keys:
                cause = ClientError({"Error": {"Code": "AccessDenied"}}, "GetObject")
                raise StorageUnavailable("the object store refused") from cause
            return real(self, key, *rest, **more)

        return call

    for name in ("look", "head", "fetch", "put"):
        monkeypatch.setattr(Storage, name, refusing(getattr(Storage, name)))
    return keys.add


@pytest.fixture
def proxied(settings, s3_endpoint):
    """The store behind a proxy that can spoil what is asked."""
    host = urlsplit(s3_endpoint)
    with Proxy((host.hostname, host.port)) as proxy:
        own = dataclasses.replace(settings, s3_endpoint=proxy.url)
        yield proxy, own, Storage(own)


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


@pytest.mark.parametrize("seed", range(8))
def test_a_listing_goes_on_behind_any_name(folders, storage, seed):
    root, allowed, _ = folders
    chance = random.Random(seed)

    def name():
        return "/".join(chance.choices(["a", "a-", "a.", "b", "é"], k=chance.randint(1, 4)))

    for _ in range(30):
        path = root / "in" / name()
        with suppress(FileExistsError, NotADirectoryError, IsADirectoryError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
    files = [path for path in (root / "in").rglob("*") if path.is_file()]
    whole = sorted(path.relative_to(root / "in").parts for path in files)
    tree = open_tree(f"{root}/in", allowed, storage)
    assert [entry.name for entry in tree.entries()] == ["/".join(parts) for parts in whole]
    for after in [*map("/".join, whole), *(name() for _ in range(50))]:
        rest = ["/".join(parts) for parts in whole if parts > tuple(after.split("/"))]
        assert [entry.name for entry in tree.entries(after)] == rest


def test_a_listing_that_goes_on_looks_at_nothing_before(folders, storage, monkeypatch):
    root, allowed, _ = folders
    for name in ("a/1.jpg", "b/1.jpg", "b/2.jpg", "b/3.jpg", "c/1.jpg"):
        (root / "in" / name).parent.mkdir(exist_ok=True)
        (root / "in" / name).write_bytes(photo())
    looked, real = [], os.scandir

    class Entry:
        def __init__(self, entry):
            self._entry = entry

        def __getattr__(self, name):
            if name == "stat":
                looked.append(Path(self.path))
            return getattr(self._entry, name)

    def scandir(path):
        looked.append(Path(path))
        return [Entry(entry) for entry in real(path)]

    monkeypatch.setattr(os, "scandir", scandir)
    tree = open_tree(f"{root}/in", allowed, storage)
    assert [entry.name for entry in tree.entries("b/2.jpg")] == ["b/3.jpg", "c/1.jpg"]
    assert [str(path.relative_to(root)) for path in looked] == [
        *("in", "in/b", "in/b/2.jpg", "in/b/3.jpg", "in/c", "in/c/1.jpg"),
    ]


def test_an_object_that_may_not_be_read_is_told(
    queue, submit, put, work, refused, settings, caplog
):
    put({"a.jpg": photo(), "b.jpg": photo()})
    batch = submit()
    refused("in/b.jpg")
    work()
    assert numbers(queue, batch) == ("done", {"total": 2, "done": 1, "skipped": 0, "failed": 1})
    (failure,) = queue.store.ended(batch.id, "failed", 0, 9)
    assert (failure["name"], failure["code"]) == ("b.jpg", "forbidden")
    assert settings.s3_bucket in failure["message"]
    assert "b.jpg" not in caplog.text


def test_credentials_that_have_expired_are_no_refusal(proxied, put):
    """What S3 answers to HEAD does not tell one from the other."""
    proxy, own, storage = proxied
    put({"a.jpg": photo()})
    tree = open_tree(f"s3://{own.s3_bucket}/in/", own, storage)
    for code, error in (("AccessDenied", Forbidden), ("ExpiredToken", StorageUnavailable)):
        with proxy.spoiling(Fault(status=403, code=code)):
            for call in (lambda: tree.stat("a.jpg"), lambda: tree.peek("a.jpg", 3)):
                with pytest.raises(error):
                    call()
            with pytest.raises(StorageUnavailable) if code == "ExpiredToken" else nullcontext():
                assert tree.note("a.jpg") is None


# what may not be written


@pytest.mark.parametrize("bucket", ["own", "elsewhere"])
def test_an_output_that_cannot_be_written_is_refused(proxied, put, bucket):
    proxy, own, storage = proxied
    put({"a.jpg": photo()})
    own = dataclasses.replace(own, batch_buckets="elsewhere")
    bucket = own.s3_bucket if bucket == "own" else bucket
    raw = {"pipeline": "blur", "input": f"s3://{own.s3_bucket}/in/", "output": f"s3://{bucket}/o/"}
    denied = proxy.spoiling(Fault(status=403, code="AccessDenied"), {"PUT"})
    told = pytest.raises(Forbidden, match=f"may not write to the bucket '{bucket}'")
    with denied if bucket == own.s3_bucket else nullcontext(), told:
        spec.parse(raw, own, storage)


def test_probing_leaves_nothing(proxied, put, submit, folders, storage):
    put({"a.jpg": photo()})
    submit()
    assert keys(storage) == ["in/a.jpg"]
    proxy, own, _ = proxied
    tree = open_tree(f"s3://{own.s3_bucket}/out/", own, Storage(own))
    with proxy.spoiling(Fault(status=403, code="AccessDenied"), {"DELETE"}):
        tree.probe()  # to write is enough
    root, _, submit_folder = folders
    (root / "in" / "a.jpg").write_bytes(photo())
    submit_folder()
    assert sorted(path.name for path in root.iterdir()) == ["in"]


@pytest.mark.parametrize("size", [100, 9 * MIB])
def test_an_output_that_becomes_read_only_is_no_outage(proxied, size):
    proxy, own, storage = proxied
    tree = open_tree(f"s3://{own.s3_bucket}/out/", own, storage)
    denied = proxy.spoiling(Fault(status=403, code="AccessDenied"), {"PUT", "POST"})
    with denied, pytest.raises(Forbidden, match=own.s3_bucket):
        tree.put("a.jpg", io.BytesIO(bytes(size)), "image/jpeg", {})


def test_what_cannot_be_written_is_worked_on_once(queue, submit, put, work, refused, tmp_path):
    marks = tmp_path / "marks"
    put({"a.jpg": photo(marks=str(marks)), "b.jpg": photo()})
    batch = submit()
    refused("out/a.jpg")
    work()
    assert numbers(queue, batch)[1] == {"total": 2, "done": 1, "skipped": 0, "failed": 1}
    assert len(marks.read_text().splitlines()) == 1


def test_a_folder_that_cannot_be_written_is_refused(folders, queue, work, monkeypatch, caplog):
    root, allowed, submit = folders
    (root / "in" / "a.jpg").write_bytes(photo())
    (root / "file").write_bytes(b"")
    with pytest.raises(Forbidden, match="Not a directory"):
        submit(output=f"{root}/file/out")
    batch = submit()
    real = Path.mkdir

    def mkdir(path, *rest, **more):
        if path.is_relative_to(root / "out"):
            raise OSError(errno.EROFS, "Read-only file system")
        real(path, *rest, **more)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    work(batch_roots=allowed.batch_roots)
    (failure,) = queue.store.ended(batch.id, "failed", 0, 9)
    assert failure["code"] == "forbidden"
    assert "Read-only file system" in failure["message"]
    assert "a.jpg" not in caplog.text


@pytest.mark.parametrize("name", ["/a.jpg", "d//a.jpg", "d/./a.jpg", "../a.jpg", "d/../../a.jpg"])
def test_keys_that_cannot_become_a_file(folders, storage, name):
    root, allowed, _ = folders
    tree = open_tree(f"{root}/out", allowed, storage)
    with pytest.raises(Forbidden):
        tree.put(name, io.BytesIO(b"x"), "image/jpeg", {})
    assert not [path for path in root.rglob("*") if path.is_file()]
