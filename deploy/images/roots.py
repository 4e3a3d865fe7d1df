"""Carry a Dockerfile out without a container engine, and run what it makes.

A stage becomes a folder: the clean Debian root that debootstrap makes, with the stage's
instructions applied in a chroot. A finished one is run as a container would be: its own
mount and process namespaces, the root read-only, the declared volumes empty and writable,
as the image's user, with the image's environment and nothing else. What differs: the
network is the host's, and the base is debootstrap's Debian 12, not the published image.

Needs root, debootstrap and util-linux.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path, PurePosixPath

from deploy.images.dockerfile import Instruction, Stage, admitted, parse, runtime

ROOT = Path(__file__).resolve().parents[2]
SUITE, MIRROR = "bookworm", "http://deb.debian.org/debian"
SHARED = "/run/masquerade"
PLAIN_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_PIP = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT", "PIP_DEFAULT_TIMEOUT")


class RootError(RuntimeError):
    """A step failed; the text is its output."""


class Builder:
    """The stages of one Dockerfile, as folders below ``folder``."""

    def __init__(self, dockerfile: Path, folder: Path) -> None:
        self.stages = parse(dockerfile.read_text())
        self._folder = folder
        self._kind = dockerfile.parent.name

    def build(self, target: str) -> Path:
        """The root of a stage; one that was built of the same things is taken as it is."""
        root = self.root(target)
        done, digest = root.with_suffix(".done"), self._digest(target)
        if done.exists() and done.read_text() == digest:
            return root
        done.unlink(missing_ok=True)
        stage = self.stages[target]
        base = self.build(stage.base) if stage.base in self.stages else debian(self._folder)
        shutil.rmtree(root, ignore_errors=True)
        _run("cp", "-a", "--reflink=auto", str(base), str(root))
        for instruction in stage.instructions:
            self._apply(stage, instruction, root)
        done.write_text(digest)
        return root

    def root(self, target: str) -> Path:
        """Where a stage lies."""
        return self._folder / f"{self._kind}-{target}"

    def _apply(self, stage: Stage, instruction: Instruction, root: Path) -> None:
        if instruction.name == "RUN":
            print(f"{self._kind}, {stage.name}: {instruction.text}", flush=True)
            _in_chroot(root, instruction.text)
        elif instruction.name == "COPY":
            self._copy(instruction.words, root)

    def _copy(self, words: list[str], root: Path) -> None:
        copied = Copy.of(words)
        goal = root / copied.target.lstrip("/")
        if copied.stage:
            tree = self.build(copied.stage) / copied.sources[0].lstrip("/")
            _run("cp", "-a", "--reflink=auto", f"{tree}/.", str(goal))
            return
        for path, place in copied.files():
            file = goal / place if place else goal
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, file)

    def _digest(self, target: str) -> str:
        """Of everything that a stage is made of, but for what the network answers."""
        stage = self.stages[target]
        parts = [self._digest(stage.base) if stage.base in self.stages else stage.base]
        for instruction in stage.instructions:
            parts.append(f"{instruction.name} {instruction.text}")
            if instruction.name == "COPY":
                copied = Copy.of(instruction.words)
                parts += [self._digest(copied.stage)] if copied.stage else []
                for path, _ in copied.files():
                    parts += [path, sha256((ROOT / path).read_bytes()).hexdigest()]
        return sha256("\n".join(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Copy:
    """One COPY instruction."""

    sources: list[str]
    target: str
    stage: str

    @classmethod
    def of(cls, words: list[str]) -> Copy:
        """Read its arguments."""
        *sources, target = [word for word in words if not word.startswith("--")]
        flags = [word for word in words if word.startswith("--")]
        stage = flags[0].removeprefix("--from=") if flags else ""
        return cls(sources, target, stage)

    def files(self) -> Iterator[tuple[str, str]]:
        """Files of the context that it takes, each with its place below the target.

        The place is empty where the target is the file's own new name.
        """
        if self.stage:
            return
        for path in context():
            for source in self.sources:
                inner = PurePosixPath(path)
                if inner.is_relative_to(source) and path != source:
                    yield path, str(inner.relative_to(source))
                elif inner.match(source) and inner.parent == PurePosixPath(source).parent:
                    yield path, inner.name if self.target.endswith("/") else ""


def debian(folder: Path) -> Path:
    """A clean minimal Debian, made once."""
    root = folder / SUITE
    if not (done := root.with_suffix(".done")).exists():
        shutil.rmtree(root, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        print(f"debootstrap {SUITE}", flush=True)
        _run("debootstrap", "--variant=minbase", SUITE, str(root), MIRROR)
        _run("chroot", str(root), "apt-get", "clean")
        security = f"deb {MIRROR}-security {SUITE}-security main\n"
        with (root / "etc/apt/sources.list").open("a") as sources:
            sources.write(security)
        done.touch()
    return root


@cache
def context() -> list[str]:
    """Files of the build context, relative to the repository: what .dockerignore names."""
    ignore = (ROOT / ".dockerignore").read_text()
    named = [ROOT / line[1:] for line in ignore.splitlines() if line.startswith("!")]
    files = [file for place in named for file in (place, *place.rglob("*")) if file.is_file()]
    return admitted(sorted(file.relative_to(ROOT).as_posix() for file in files), ignore)


def command(
    builder: Builder,
    target: str,
    pod: Path,
    words: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    join: int = 0,
) -> list[str]:
    """The command line that runs ``words`` (default: the image's own command) in its root.

    ``pod`` is a folder in which the volumes lie, as they do in a pod: ``SHARED`` is one for
    all images, writable where the image declares it, and other volumes are the image's own.
    ``join`` is a process whose process namespace is shared, as by shareProcessNamespace.
    """
    image = runtime(builder.stages, target)
    built = builder.build(target)
    root = shlex.quote(str(built))
    shm = f"{root}/dev/shm"  # noqa: S108
    setup = [
        "set -e",
        f"mount --bind {root} {root}",
        f"mount -t proc proc {root}/proc",
        f"mount -t tmpfs -o mode=755 tmpfs {root}/dev",
        *(
            f"touch {root}/dev/{node} && mount --bind /dev/{node} {root}/dev/{node}"
            for node in ("null", "zero", "full", "random", "urandom")
        ),
        f"mkdir -m 1777 {shm} && mount -t tmpfs -o mode=1777 tmpfs {shm}",
    ]
    for volume in {*image.volumes, SHARED}:
        place = pod / (volume if volume == SHARED else f"{built.name}{volume}").strip("/")
        _make_volume(built / volume.lstrip("/"), place)
        setup.append(f"mount --bind {shlex.quote(str(place))} {root}{volume}")
        if volume not in image.volumes:
            setup.append(f"mount -o remount,bind,ro {root}{volume}")
    setup.append(f"mount -o remount,bind,ro {root}")
    inside = f"cd {image.workdir} && exec {shlex.join(words or image.command)}"
    settings = [f"{name}={value}" for name, value in {**image.env, **(env or {})}.items()]
    group = image.user.split(":")[-1]
    setup.append(
        f"exec chroot --userspec={image.user} --groups={group} {root}"
        f" /usr/bin/env -i {shlex.join(settings)} /bin/sh -c {shlex.quote(inside)}"
    )
    unshare = ["unshare", "--mount", "--fork", "--kill-child", "--propagation=private"]
    pids = ["nsenter", f"--target={join}", "--pid", *unshare] if join else [*unshare, "--pid"]
    return [*pids, "/bin/sh", "-c", "\n".join(setup)]


def megabytes(root: Path) -> int:
    """What a root takes on disk, in units of 1,000,000 bytes."""
    words = ["du", "-sx", "--block-size=1", str(root)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0]) // 1_000_000


def _make_volume(like: Path, place: Path) -> None:
    """An empty folder with the owner and mode of the mount point, as engines make it."""
    if not place.exists():
        place.mkdir(parents=True)
        kept = like.stat()
        os.chown(place, kept.st_uid, kept.st_gid)
        place.chmod(kept.st_mode & 0o7777)


def _in_chroot(root: Path, text: str) -> None:
    """Run a line of shell with network, with the host's proxy and package index settings."""
    host = {k: v for k, v in os.environ.items() if k.lower().endswith("_proxy") or k in _PIP}
    shutil.copyfile("/etc/resolv.conf", root / "etc/resolv.conf")
    at = shlex.quote(str(root))
    mounts = [f"mount -t proc proc {at}/proc", f"mount --rbind /dev {at}/dev"]
    certificates = host.get("PIP_CERT")
    if certificates:
        inside = root / "run/build-certificates.pem"
        inside.touch()
        mounts.append(shlex.join(["mount", "--bind", certificates, str(inside)]))
        host["PIP_CERT"] = "/run/build-certificates.pem"
    settings = [f"{name}={value}" for name, value in {"PATH": PLAIN_PATH, **host}.items()]
    line = f"exec chroot {at} /usr/bin/env -i {shlex.join(settings)} sh -c {shlex.quote(text)}"
    _run("unshare", "--mount", "/bin/sh", "-c", "\n".join(["set -e", *mounts, line]))
    if certificates:
        (root / "run/build-certificates.pem").unlink()


def _run(*words: str) -> None:
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RootError(f"{words[0]} … {words[-1][-200:]}\n{done.stdout[-4000:]}")
