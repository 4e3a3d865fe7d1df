"""The figures that the load tests are for, each with its goal."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from loadtest.tables import shown

_WORDS = {"under": "under", "most": "at most", "least": "at least", "none": ""}


@dataclass(frozen=True)
class Figure:
    """A figure that was measured.

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
    if not math.isfinite(value):
        return "not measured"
    number = f"{value:g}" if value == round(value) and abs(value) < 1e6 else shown(float(value))
    return f"{number} {unit}".strip()


def save(path: Path, about: dict[str, str], figures: Sequence[Figure]) -> None:
    """Keep figures with what they were measured on."""
    known = {"about": about, "figures": [asdict(figure) for figure in figures]}
    text = json.dumps(known, indent=1, ensure_ascii=False, allow_nan=True)
    path.write_text(text + "\n")


def load(path: Path) -> tuple[dict[str, str], list[Figure]]:
    """What ``save`` has kept."""
    known = json.loads(path.read_text())
    return known["about"], [Figure(**figure) for figure in known["figures"]]
