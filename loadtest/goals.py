"""The figures that the load tests are for, each with its goal."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from loadtest.tables import Cell, Table, shown

_WORDS = {"under": "under", "most": "at most", "least": "at least", "none": ""}


@dataclass(frozen=True)
class Figure:
    """A figure that was measured.

    value: not a number where it could not be measured, infinite where it never came about.
    unit: after the value, may be empty. bound: how it relates to ``goal``: under it, at most,
    at least, or ``none`` for a figure without a goal. note: what else is to be told.
    """

    name: str
    value: float
    unit: str = ""
    bound: Literal["under", "most", "least", "none"] = "none"
    goal: float = 0.0
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        if self.bound == "none":
            return None
        if self.bound == "least":
            return self.value >= self.goal
        return self.value < self.goal if self.bound == "under" else self.value <= self.goal

    def row(self) -> tuple[str, str, str, str]:
        """Name, value, goal and whether it is met, as text."""
        goal = f"{_WORDS[self.bound]} {_told(self.goal, self.unit)}" if self.bound != "none" else ""
        value = _told(self.value, self.unit) + (f"; {self.note}" if self.note else "")
        met = {None: "", True: "met", False: "missed"}[self.met]
        return self.name, value, goal, met


def _told(value: float, unit: str) -> str:
    if math.isnan(value):
        return "not measured"
    if math.isinf(value):
        return "never"
    number = f"{value:g}" if value == round(value) and abs(value) < 1e6 else shown(float(value))
    return f"{number} {unit}".strip()


@dataclass(frozen=True)
class Run:
    """What one run has measured, and what it is to know about it: machine, time, form."""

    about: dict[str, str]
    figures: Sequence[Figure]

    @classmethod
    def of(cls, known: dict[str, Any]) -> Run:
        """From what ``asdict`` makes of it."""
        return cls(known["about"], [Figure(**figure) for figure in known["figures"]])


def summary(figures: Sequence[Figure]) -> Table:
    """Figures as a table that says which goals are met."""
    rows: list[list[Cell]] = [list(figure.row()) for figure in figures]
    return Table("Goals", ["figure", "measured", "goal", "met or missed"], rows)


def save(path: Path, run: Run) -> None:
    """Keep the figures of a run."""
    path.write_text(as_text(asdict(run)))


def load(path: Path) -> Run:
    """What ``save`` has kept."""
    return Run.of(json.loads(path.read_text()))


def as_text(known: dict[str, Any]) -> str:
    """JSON as it is kept."""
    return json.dumps(known, indent=1, ensure_ascii=False, allow_nan=True) + "\n"


def missed(figures: Sequence[Figure]) -> list[str]:
    """The names of those that do not reach their goals."""
    return [figure.name for figure in figures if figure.met is False]
