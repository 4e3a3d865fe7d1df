"""What the user sees: one progress bar on a terminal, plain lines elsewhere, a table.

Progress and errors go to stderr, the closing table to stdout.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING

from tqdm import tqdm

from gateway.cli.plan import Item

if TYPE_CHECKING:
    from gateway.cli.run import Outcome

_HEAD = ("file", "state", "faces", "frames", "time", "written to")
_LONG = 30  # files after which the table lists only what went wrong


class Board:
    """Live progress of all files together, weighted by their bytes. Thread-safe."""

    def __init__(self, items: Sequence[Item], *, quiet: bool = False) -> None:
        self._weights = {item.source: max(item.source.stat().st_size, 1) for item in items}
        self._fractions: dict[Path, float] = {}
        self._rates: dict[Path, float] = {}
        self._eta: float | None = None
        self._done, self._total = 0, len(items)
        self._quiet = quiet
        self._lines = not quiet and not sys.stderr.isatty()
        self._begun = time.monotonic()
        self._lock = RLock()
        self._size = sum(self._weights.values())
        self._bar = tqdm(
            total=self._size,
            disable=quiet or self._lines,
            bar_format=self._format(),
            dynamic_ncols=True,
            leave=False,
        )
        self._refresh()

    def update(
        self, item: Item, fraction: float, *, fps: float = 0.0, eta: float | None = None
    ) -> None:
        """A file has got to ``fraction`` (0 to 1); fps in frames a second, eta in seconds."""
        with self._lock:
            self._fractions[item.source] = fraction
            self._rates[item.source] = fps
            self._eta = eta
            self._refresh()

    def finish(self, outcome: Outcome) -> None:
        """A file is through; failures are told at once."""
        with self._lock:
            self._done += 1
            self._fractions[outcome.item.source] = 1.0
            self._rates.pop(outcome.item.source, None)
            if outcome.state == "failed":
                self.error(f"{outcome.item.source}: {outcome.detail}")
            elif self._lines and outcome.state != "stopped":
                self.note(f"[{self._done}/{self._total}] {_sentence(outcome)}")
            self._refresh()

    def note(self, text: str) -> None:
        """A line for whoever watches; nobody does when quiet."""
        if not self._quiet:
            tqdm.write(text, file=sys.stderr)

    def error(self, text: str) -> None:
        """A line that is shown even when quiet."""
        tqdm.write(f"masquerade: {text}", file=sys.stderr)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()

    def _refresh(self) -> None:
        if self._bar.disable:
            return
        bar, fps = self._bar, sum(self._rates.values())
        bar.n = round(sum(self._weights[name] * f for name, f in self._fractions.items()))
        notes = [f"{fps:.0f} frames/s"] if fps else []
        if (left := self._left(bar.n / self._size)) is not None:
            notes.append(f"{duration(max(left, 1))} left")
        bar.bar_format = self._format(", ".join(notes))
        if bar.n >= self._size or time.time() - bar.last_print_t > 0.1:
            bar.last_print_t = time.time()
            bar.refresh()

    def _format(self, notes: str = "") -> str:
        return f"{self._done}/{self._total} files {{percentage:3.0f}}% |{{bar:24}}| {notes}"

    def _left(self, fraction: float) -> float | None:
        """Seconds to go: the pod's own estimate for a lone video, else by what is done."""
        if self._total == 1 and self._eta is not None:
            return self._eta
        spent = time.monotonic() - self._begun
        return spent * (1 - fraction) / fraction if fraction > 0.02 and spent > 1 else None


def table(outcomes: Sequence[Outcome]) -> str:
    """The closing summary: one row a file (only the bad ones of many), and the totals."""
    shown = [o for o in outcomes if o.state not in ("done", "skipped")]
    if len(outcomes) <= _LONG:
        shown = list(outcomes)
    rows = [_row(outcome) for outcome in shown]
    lines = [*columns([_HEAD, *rows], numeric={2, 3, 4}), ""] if rows else []
    return "\n".join([*lines, _totals(outcomes)])


def duration(seconds: float) -> str:
    """0.42 s, 8 s, 1:05 or 2:01:05, as short as it stays clear."""
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _row(outcome: Outcome) -> tuple[str, ...]:
    result = outcome.result
    if result is None:
        return (str(outcome.item.source), outcome.state, "–", "–", "–", "–")
    return (
        str(outcome.item.source),
        outcome.state,
        str(result.faces),
        str(result.frames),
        duration(outcome.seconds),
        str(outcome.target),
    )


def _sentence(outcome: Outcome) -> str:
    if outcome.result is None:
        return f"{outcome.item.source}: {outcome.state}, {outcome.target} {outcome.detail}"
    return (
        f"{outcome.item.source} → {outcome.target} "
        f"({_count(outcome.result.faces, 'face')}, {duration(outcome.seconds)})"
    )


def _totals(outcomes: Sequence[Outcome]) -> str:
    parts = [
        f"{n} {state}"
        for state in ("done", "skipped", "failed", "stopped")
        if (n := sum(o.state == state for o in outcomes))
    ]
    faces = sum(o.result.faces for o in outcomes if o.result)
    return f"{_count(len(outcomes), 'file')}: {', '.join(parts)}; {_count(faces, 'face')} blurred"


def columns(rows: Sequence[tuple[str, ...]], numeric: Collection[int] = ()) -> list[str]:
    """Rows as lines of equal columns; the ``numeric`` ones are set to the right."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if n in numeric else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
