"""What ``masquerade jobs`` prints: a live line, a sheet about one job, a list of many."""

from __future__ import annotations

import sys
import time
from typing import Any

from tqdm import tqdm

from gateway.cli.show import columns, duration

_LINE_EVERY = 10.0  # seconds, where there is no terminal
_LONG = 20  # failures that are shown
_HOUR = 3600.0


class Monitor:
    """A job's live progress: a bar on a terminal, a line now and then elsewhere (stderr)."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._lines = not quiet and not sys.stderr.isatty()
        self._told = float("-inf")
        self._failed = 0
        self._bar = tqdm(
            total=1.0,
            disable=quiet or self._lines,
            bar_format="{percentage:3.0f}% |{bar:24}| {desc}",
            dynamic_ncols=True,
            leave=False,
        )

    def update(self, view: dict[str, Any]) -> None:
        """The job has changed."""
        fraction = view["progress"]["fraction"] or 0.0
        for failure in reversed(view.get("failures", ())[: self._new_failures(view)]):
            self._say(f"masquerade: {failure['name']}: {failure['detail']}")
        if not self._bar.disable:
            self._bar.n = fraction
            self._bar.set_description_str(line(view))
        elif self._lines and time.monotonic() - self._told > _LINE_EVERY:
            self._told = time.monotonic()
            self._say(f"{100 * fraction:3.0f}% {line(view)}")

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()

    def _new_failures(self, view: dict[str, Any]) -> int:
        before, self._failed = self._failed, view.get("items", {}).get("failed", 0)
        return max(self._failed - before, 0)

    def _say(self, text: str) -> None:
        if self._lines or not self._bar.disable:
            tqdm.write(text, file=sys.stderr)


def line(view: dict[str, Any]) -> str:
    """A job in one line: files, hours of video, speed, time to go, failures."""
    progress, items = view["progress"], view.get("items")
    parts = [view["status"]]
    if items is not None:
        ended = items["total"] - items["left"]
        more = "" if items["listed"] or view["status"] != "running" else "+"
        parts.append(f"{ended}/{items['total']}{more} files")
        if seconds := progress["video_seconds_done"]:
            total = progress["video_seconds_total"]
            parts.append(f"{_hours(seconds, total)} of video")
    if progress.get("fps"):
        parts.append(f"{progress['fps']:.0f} frames/s")
    if progress.get("eta_seconds"):
        parts.append(f"{duration(progress['eta_seconds'])} left")
    if items and items["failed"]:
        parts.append(f"{items['failed']} failed")
    return ", ".join(parts)


def _hours(seconds: float, total: float | None) -> str:
    """How much of how much: in hours, where it is that much."""
    if max(seconds, total or 0) < _HOUR:
        return duration(seconds) + (f" of {duration(total)}" if total else "")
    return f"{seconds / _HOUR:.2f}" + (f" of {total / _HOUR:.2f}" if total else "") + " h"


def sheet(view: dict[str, Any]) -> str:
    """All that is worth knowing about one job, its failures included."""
    rows = [("id", view["id"]), ("kind", view["kind"]), ("state", line(view))]
    rows += [(name, str(view[name])) for name in ("input", "output", "model") if name in view]
    if items := view.get("items"):
        counted = ("total", "done", "skipped", "failed", "left")
        rows.append(("files", ", ".join(f"{items[name]} {name}" for name in counted)))
    if error := view.get("error"):
        rows.append(("error", error["detail"]))
    if reason := (view.get("launch") or {}).get("reason"):
        rows.append(("workers", reason))
    for name, value in (view.get("training") or {}).items():
        if not isinstance(value, (dict, list)):
            rows.append((name, str(value)))
    for told in view.get("running") or ():
        rows.append(("at work", f"{told['name']}: {told['stage']} {100 * told['fraction']:.0f}%"))
    width = max(len(name) for name, _ in rows)
    lines = [f"{name.rjust(width)}  {text}" for name, text in rows]
    failures = view.get("failures") or []
    if failures:
        table = [("failed", "why"), *((f["name"], f["detail"]) for f in failures[:_LONG])]
        lines += ["", *columns(table)]
        if view["items"]["failed"] > _LONG:
            lines.append(f"… and {view['items']['failed'] - _LONG} more")
    return "\n".join(lines)


def listing(views: list[dict[str, Any]]) -> str:
    """Many jobs, a row each."""
    if not views:
        return "no jobs"
    head = ("id", "submitted", "state", "what")
    rows = [(v["id"], v["created_at"], line(v), v.get("input") or v["model"]) for v in views]
    return "\n".join(columns([head, *rows]))
