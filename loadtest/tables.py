"""Tables of figures: printed, and kept as Markdown and JSON."""

from __future__ import annotations

import json
import platform
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from gateway.settings import cores

Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """One topic's figures; ``note`` says how they were taken, ``None`` is a figure not taken."""

    title: str
    columns: list[str]
    rows: list[list[Cell]]
    note: str = ""

    def markdown(self) -> str:
        """A Markdown table whose columns line up in a terminal too."""
        lines = [self.columns, *[[shown(cell) for cell in row] for row in self.rows]]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        right = [all(not isinstance(row[i], str) for row in self.rows) for i in range(len(widths))]

        def line(cells: list[str]) -> str:
            padded = (
                cell.rjust(width) if number else cell.ljust(width)
                for cell, width, number in zip(cells, widths, right, strict=True)
            )
            return "| " + " | ".join(padded) + " |"

        rule = "|".join(
            "-" * (w + 1) + (":" if number else "-")
            for w, number in zip(widths, right, strict=True)
        )
        body = [line(lines[0]), f"|{rule}|", *map(line, lines[1:])]
        note = f"\n\n{self.note}" if self.note else ""
        return f"### {self.title}\n\n" + "\n".join(body) + note + "\n"


def shown(cell: Cell) -> str:
    """A figure with about three digits."""
    if cell is None:
        return "–"
    if not isinstance(cell, float):
        return str(cell)
    digits = 0 if abs(cell) >= 100 else 1 if abs(cell) >= 10 else 2
    return f"{cell:.{digits}f}"


def save(tables: list[Table], folder: Path, about: dict[str, str]) -> None:
    """Write ``latest.md`` and ``latest.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    head = "\n".join(f"- {name}: {value}" for name, value in about.items())
    text = "\n".join(table.markdown() for table in tables)
    (folder / "latest.md").write_text(f"{head}\n\n{text}")
    data = {"about": about, "tables": [asdict(table) for table in tables]}
    (folder / "latest.json").write_text(json.dumps(data, indent=1, ensure_ascii=False))


def machine() -> dict[str, str]:
    """What the figures were taken on."""
    return {
        "taken": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": f"{_processor()}, {cores()} cores, {platform.system()}",
        "python": platform.python_version(),
        "commit": _commit(),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip() or "unknown"
    except OSError:
        return "unknown"
