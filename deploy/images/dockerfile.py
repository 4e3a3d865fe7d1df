"""Read a Dockerfile: its stages, and in each its instructions; pure.

Knows what our Dockerfiles use and refuses everything else, so that nothing in them is
passed over when they are carried out (:mod:`deploy.images.roots`).
"""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

KNOWN = ("COPY", "RUN", "ENV", "WORKDIR", "VOLUME", "USER", "HEALTHCHECK", "ENTRYPOINT", "CMD")


@dataclass(frozen=True)
class Instruction:
    """One instruction; ``words`` are its arguments, flags among them."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """Arguments, of the JSON form or split as a shell would."""
        if self.text.startswith("["):
            return [str(word) for word in json.loads(self.text)]
        return shlex.split(self.text)


@dataclass(frozen=True)
class Stage:
    """One ``FROM``: its name, the image or stage it begins with, and what follows."""

    name: str
    base: str
    instructions: list[Instruction] = field(default_factory=list)


def parse(text: str) -> dict[str, Stage]:
    """Stages by name, in the file's order.

    Raises:
        ValueError: an instruction or a form that is not known here.
    """
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for line in _lines(text):
        name, _, rest = line.partition(" ")
        rest = rest.strip()
        if name == "FROM":
            found = re.fullmatch(r"(\S+) AS (\S+)", rest)
            if not found:
                raise ValueError(f"not of the form FROM image AS name: {line}")
            stage = stages[found[2]] = Stage(found[2], found[1])
        elif name not in KNOWN or stage is None:
            raise ValueError(f"unknown instruction: {line}")
        else:
            stage.instructions.append(Instruction(name, rest))
    return stages


def lineage(stages: dict[str, Stage], target: str) -> list[Stage]:
    """The stages that ``target`` is built upon, the outermost first, itself last."""
    stage = stages[target]
    before = lineage(stages, stage.base) if stage.base in stages else []
    return [*before, stage]


@dataclass(frozen=True)
class Runtime:
    """With what an image's processes start."""

    env: dict[str, str]
    workdir: str
    volumes: list[str]
    user: str
    command: list[str]
    health: list[str]


def runtime(stages: dict[str, Stage], target: str) -> Runtime:
    """What the last word of each kind in the target's stages says."""
    env: dict[str, str] = {}
    last: dict[str, Instruction] = {}
    for stage in lineage(stages, target):
        for instruction in stage.instructions:
            last[instruction.name] = instruction
            if instruction.name == "ENV":
                env |= dict(word.split("=", 1) for word in instruction.words)
    said = {name: instruction.words for name, instruction in last.items()}
    health = last["HEALTHCHECK"].text.partition("CMD ")[2] if "HEALTHCHECK" in last else "[]"
    return Runtime(
        env,
        said.get("WORKDIR", ["/"])[0],
        said.get("VOLUME", []),
        said.get("USER", ["0"])[0],
        said.get("ENTRYPOINT", []) + said.get("CMD", []),
        list(json.loads(health)),
    )


def admitted(paths: Iterable[str], ignore: str) -> list[str]:
    """Which files of the context a ``.dockerignore`` lets through; the last match decides."""
    rules = [line for line in ignore.splitlines() if line and not line.startswith("#")]
    return [path for path in paths if not _is_ignored(path, rules)]


def _is_ignored(path: str, rules: list[str]) -> bool:
    ignored = False
    for rule in rules:
        if any(_matches(part, rule.removeprefix("!")) for part in _with_parents(path)):
            ignored = not rule.startswith("!")
    return ignored


def _matches(path: str, pattern: str) -> bool:
    tail = pattern.removeprefix("**/")
    if tail != pattern:
        return fnmatch.fnmatchcase(path.rpartition("/")[2], tail)
    same_depth = path.count("/") == pattern.count("/")
    return same_depth and fnmatch.fnmatchcase(path, pattern)


def _with_parents(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]


def _lines(text: str) -> Iterator[str]:
    """Instructions, each in one line, without comments."""
    bare = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", bare)
    yield from (line.strip() for line in joined.splitlines() if line.strip())
