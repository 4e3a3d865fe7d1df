"""Which files a command means, and where each result goes: decided before any work.

Pure path arithmetic plus looking at directories; nothing is written here.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.media.names import EXTENSIONS, PHOTOS, VIDEOS, forecast

BESIDE = "_blurred"
"""Added to a name when the result lies in the same folder as its source."""


class UsageError(Exception):
    """The command cannot be carried out as given; ``str`` says why and what to do."""


@dataclass(frozen=True)
class Item:
    """One file to blur. ``target``'s extension is a forecast until the answer is here."""

    source: Path
    target: Path


def plan(inputs: Sequence[str], out: str | None, *, overwrite: bool, skip: bool) -> list[Item]:
    """The work that the inputs and ``-o`` stand for, in the order given.

    Raises:
        UsageError: nothing matched, two results would have the same name, a result
            would replace a source or, unless ``overwrite`` or ``skip``, any file.
    """
    found = _unique(_expand(inputs, Path(out) if out else None))
    if not found:
        raise UsageError(f"no photo or video matches {' '.join(inputs)}")
    lone = len(found) == 1 and not Path(inputs[0]).is_dir()
    items = [Item(source, _target(source, base, out, lone)) for source, base in found]
    if out and not lone and not Path(out).is_dir() and Path(out).suffix.lower() in PHOTOS | VIDEOS:
        raise UsageError(
            f"-o {out} names one file, but there are {len(items)} inputs; name a folder"
        )
    _refuse_clashes(items)
    if not overwrite and not skip:
        _refuse_existing(items)
    return items


def _expand(inputs: Iterable[str], out: Path | None) -> Iterator[tuple[Path, Path]]:
    """Each file with the folder that its place under OUT is relative to."""
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            yield from ((file, path) for file in _media_below(path, out))
        elif path.exists():
            yield path, path.parent
        elif glob.has_magic(text):
            base = _fixed_part(path)
            for match in sorted(glob.glob(text, recursive=True)):  # noqa: PTH207 (takes absolute too)
                if Path(match).is_dir():
                    if "**" not in text:  # which lists the files of its folders itself
                        yield from ((file, base) for file in _media_below(Path(match), out))
                elif _is_media(Path(match), out):
                    yield Path(match), base
        else:
            raise UsageError(f"there is no file or folder named {text}")


def _media_below(folder: Path, out: Path | None) -> Iterator[Path]:
    own = out.resolve() if out else None
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and (here / name).resolve() != own
        )
        for name in sorted(names):
            if _is_media(here / name, out):
                yield here / name


def _is_media(path: Path, out: Path | None) -> bool:
    """By extension; results of an earlier run beside their sources are no input."""
    if path.name.startswith(".") or (out is None and path.stem.endswith(BESIDE)):
        return False
    return path.suffix.lower() in PHOTOS | VIDEOS


def _fixed_part(pattern: Path) -> Path:
    """The leading folders of a glob that hold no wildcard."""
    fixed = pattern.parts[:-1]
    for n, part in enumerate(fixed):
        if glob.has_magic(part):
            return Path(*fixed[:n])
    return Path(*fixed)


def _unique(pairs: Iterable[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    seen: dict[Path, tuple[Path, Path]] = {}
    for source, base in pairs:
        seen.setdefault(source.resolve(), (source, base))
    return list(seen.values())


def _target(source: Path, base: Path, out: str | None, lone: bool) -> Path:
    suffix = forecast(source.suffix)
    if out is None:
        return source.with_name(source.stem + BESIDE + suffix)
    folder = Path(out)
    if lone and folder.suffix and not out.endswith(("/", os.sep)) and not folder.is_dir():
        fits = suffix.lower() not in PHOTOS | VIDEOS or _same_kind(folder, suffix)
        return folder if fits else folder.with_suffix(suffix)
    return (folder / source.relative_to(base)).with_suffix(suffix)


def _same_kind(target: Path, suffix: str) -> bool:
    return any(
        target.suffix.lower() in group and suffix.lower() in group for group in EXTENSIONS.values()
    )


def _refuse_clashes(items: Sequence[Item]) -> None:
    sources = {item.source.resolve(): item.source for item in items}
    taken: dict[Path, Path] = {}
    for item in items:
        target = item.target.resolve()
        if target in sources:
            raise UsageError(
                f"{item.target} would replace the source {sources[target]}; "
                f"give another -o, or none to get name{BESIDE} beside each source"
            )
        other = taken.setdefault(target, item.source)
        if other != item.source:
            raise UsageError(
                f"{other} and {item.source} would both be written to {item.target}; "
                "blur them one by one with different -o"
            )


def _refuse_existing(items: Sequence[Item]) -> None:
    there = [item.target for item in items if item.target.exists()]
    if there:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise UsageError(
            f"{there[0]}{more} exists already; add --overwrite to replace "
            "or --skip-existing to keep"
        )
