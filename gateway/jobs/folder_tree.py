"""A folder below an allowed root, as a batch reads or writes it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from gateway.errors import EmptyInput, Forbidden, NotFound, is_disk_full
from gateway.jobs.tree import Copied, Entry, Note
from gateway.replacing import PART, replacing
from gateway.settings import MIB
from gateway.storage import Link

_NOTES = ".masquerade"
_PARTS = f"{_NOTES}/.parts"
_NOT_UTF_8 = "its name is not UTF-8; rename it"


class FolderTree:
    """A folder below an allowed root. Notes, and files until they are whole, lie in its
    sub-folder ``.masquerade``.

    Links to folders are not followed; a link to a file counts as that file, and is refused
    where it leads out of the root.
    """

    def __init__(self, folder: Path, root: Path) -> None:
        self._folder, self._root = folder, root
        self._parts = folder / _PARTS
        self.url = str(folder).rstrip("/") + "/"

    def check(self) -> None:
        """See :class:`Tree`."""
        if not any(True for _ in self.entries()):
            raise EmptyInput(f"no file lies in {self._folder}")

    def probe(self) -> None:
        """See :class:`Tree`."""
        with _may(f"write {self._folder}"):
            self._inside(self._parts)
            above = next(p for p in (self._folder, *self._folder.parents) if p.exists())
            tempfile.TemporaryFile(dir=above).close()

    def entries(self, after: str = "") -> Iterator[Entry]:
        """See :class:`Tree`."""
        done = after.split("/") if after else ()
        try:
            if not self._folder.is_dir():
                raise NotFound(f"there is no folder {self._folder}")
            found = os.scandir(self._folder)
        except OSError as error:
            raise Forbidden(f"the service may not read {self._folder}") from error
        yield from _walk(found, done)

    def beside(self, name: str) -> list[str]:
        """See :class:`Tree`."""
        path = self._folder / name
        names = (other.name for other in os.scandir(path.parent))
        start = path.stem + "."
        return [
            str(PurePosixPath(name).with_name(other)) for other in names if other.startswith(start)
        ]

    def peek(self, name: str, count: int) -> bytes:
        """See :class:`Tree`."""
        with self._open(name) as file:
            return file.read(count)

    def stat(self, name: str) -> Entry:
        """See :class:`Tree`."""
        with self._open(name) as file:
            seen = os.fstat(file.fileno())
            return Entry(name, seen.st_size, _version(seen))

    def fetch(self, name: str, out: BinaryIO, progress: Copied) -> str:
        """See :class:`Tree`."""
        done = 0
        with self._open(name) as file:
            while piece := file.read(MIB):
                out.write(piece)
                done += len(piece)
                progress(done)
            out.flush()
            return _version(os.fstat(file.fileno()))

    def note(self, name: str) -> Note | None:
        """See :class:`Tree`."""
        try:
            if not (self._folder / name).is_file():
                return None
            return dict(json.loads((self._folder / _NOTES / f"{name}.json").read_text()))
        except (OSError, ValueError):
            return None

    def put(self, name: str, body: BinaryIO, content_type: str, note: Note) -> None:  # noqa: ARG002
        """See :class:`Tree`. The old note goes first, the new one comes last."""
        body.seek(0)
        if {"", ".", ".."} & {*name.split("/")}:
            raise Forbidden("a key with '//', '/./' or '..' in it cannot become a file")
        told = self._folder / _NOTES / f"{name}.json"
        target = self._folder / name
        with _may("write this file"):
            for folder in (told.parent, target.parent, self._parts):
                self._inside(folder)
            told.unlink(missing_ok=True)
            with replacing(target, self._parts) as file:
                shutil.copyfileobj(body, file, MIB)
            with replacing(told, self._parts) as file:
                file.write(json.dumps(dict(note)).encode())

    def link(self, name: str) -> Link | None:  # noqa: ARG002
        """See :class:`Tree`."""
        return None

    def tidy(self, before: datetime) -> int:
        """See :class:`Tree`."""
        gone = 0
        with _may("write here"), contextlib.suppress(FileNotFoundError):
            self._inside(self._parts)
            for part in os.scandir(self._parts):
                ours = fnmatch(part.name, PART) and part.is_file(follow_symlinks=False)
                if ours and part.stat(follow_symlinks=False).st_mtime < before.timestamp():
                    Path(part.path).unlink()
                    gone += 1
        return gone

    def _inside(self, folder: Path) -> None:
        """Raises Forbidden where links lead out of the allowed root."""
        # Path.resolve stumbles over a circle of links, which the system will refuse.
        if not Path(os.path.realpath(folder)).is_relative_to(self._root):
            raise Forbidden("a link in the output folder leads out of the allowed one")

    def _open(self, name: str) -> BinaryIO:
        """The file behind a name, unless it lies outside, whatever links say meanwhile."""
        try:
            file = (self._folder / name).open("rb")
        except FileNotFoundError as error:
            raise NotFound("the file is gone") from error
        except PermissionError as error:
            raise Forbidden("the service may not read this file") from error
        if not Path(f"/proc/self/fd/{file.fileno()}").readlink().is_relative_to(self._root):
            file.close()
            raise Forbidden("a link leads out of the allowed folder")
        return file


@contextlib.contextmanager
def _may(act: str) -> Iterator[None]:
    """What the system refuses becomes Forbidden; a full disk does not."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise
        raise Forbidden(f"the service may not {act} ({error.strerror})") from error


def _walk(
    found: Iterable[os.DirEntry[str]], done: Sequence[str] = (), above: str = ""
) -> Iterator[Entry]:
    """Files below the folder ``above`` whose entries these are, sorted by the parts of their
    names, and folders that cannot be read.

    done: parts of a name; the files up to it are passed over, unseen.
    """
    first, *rest = done or ("",)
    for entry in sorted(found, key=lambda entry: entry.name):
        if entry.name.startswith(".") or entry.name < first:
            continue
        name, fault = above + entry.name, _NOT_UTF_8 if _is_odd(entry.name) else ""
        begun = entry.name == first
        try:
            if entry.is_dir(follow_symlinks=False):
                name += "/"
                inside = [] if fault else list(os.scandir(entry.path))
            elif entry.is_file():
                stat = entry.stat()
            else:
                continue
        except FileNotFoundError:
            continue  # gone since
        except OSError as error:
            fault = f"the service may not read this ({error.strerror})"
        if fault:
            # Also what was begun, told again rather than forgotten: it may have been readable
            # until then. An escaped name sorts before the name itself, so as a cursor it skips
            # nothing.
            yield Entry(os.fsencode(name).decode("utf-8", "backslashreplace"), fault=fault)
        elif name.endswith("/"):
            yield from _walk(inside, rest if begun else (), name)
        elif not begun:
            yield Entry(name, stat.st_size, _version(stat))


def _is_odd(name: str) -> bool:
    """Whether a file's name is not UTF-8."""
    return any("\udc80" <= character <= "\udcff" for character in name)


def _version(stat: os.stat_result) -> str:
    return f"{stat.st_size}-{stat.st_mtime_ns}"
