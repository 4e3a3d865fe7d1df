"""The table of versions that fit, ``versions.toml``, and questions to it."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

FILE = Path(__file__).with_name("versions.toml")


@dataclass(frozen=True)
class Fitting:
    """One row: versions that work together. ``cuda`` is a major version, empty without GPU."""

    name: str
    where: str
    python: str
    java: str = ""
    cuda: str = ""
    packages: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Versions:
    """The whole table; ``drivers`` is the oldest driver by CUDA's major version."""

    drivers: dict[str, str]
    sets: list[Fitting]

    def misfit(self, installed: dict[str, str]) -> str:
        """The sentence about packages that do not fit, empty when all do.

        Rows with mmcv-full are meant: it is compiled, and a minor version breaks it.
        installed: versions by package; a local part such as ``+cu118`` does not count.
        """
        for row in self.sets:
            if not row.packages.keys() & installed.keys() & {"mmcv-full"}:
                continue
            wrong = [
                f"{name} {installed.get(name, 'missing')} instead of {version}"
                for name, version in row.packages.items()
                if installed.get(name, "").partition("+")[0] != version
            ]
            if wrong:
                return f"packages do not fit mmcv-full: {', '.join(wrong)}; install those versions"
        return ""

    def driver_fits(self, driver: str, cuda: str) -> bool:
        """Whether a driver is new enough for a major version of CUDA."""
        return _numbers(driver) >= _numbers(self.drivers[cuda])

    def table(self) -> str:
        """README's table."""
        head = "| | Python | Java | CUDA | NVIDIA driver | packages |\n|---|---|---|---|---|---|\n"
        return head + "".join(
            f"| {row.name} ({row.where}) | {row.python} | {row.java or '–'} | {row.cuda or '–'} "
            f"| {self.drivers[row.cuda] + ' or newer' if row.cuda else '–'} "
            f"| {', '.join(f'{name} {version}' for name, version in row.packages.items())} |\n"
            for row in self.sets
        )


def load() -> Versions:
    """Read the table."""
    data = tomllib.loads(FILE.read_text())
    return Versions(data["drivers"], [Fitting(**row) for row in data["sets"]])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))
