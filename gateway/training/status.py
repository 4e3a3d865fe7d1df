"""How a training stands: read from what its script prints, shown with links."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from gateway.storage import Storage

_LINE = re.compile(r"(\d{1,12}): (.+)")
_NUMBER = r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?|nan|-?inf"
_METRIC = re.compile(rf"\b([A-Za-z_]\w*) ({_NUMBER})(?![\w.])")
_SPEED = re.compile(r"· (\d+(?:\.\d+)?) views/s")


def read(line: str) -> dict[str, Any] | None:
    """What a line such as ``50: loss 0.123 iou 0.9 · 300 views/s`` says; None of another line.

    Answers ``step``, ``metrics`` (None for what is not finite) and ``views_per_second``.
    """
    found = _LINE.fullmatch(line.strip())
    if not found:
        return None
    speed = _SPEED.search(found[2])
    metrics = {name: _finite(value) for name, value in _METRIC.findall(found[2])}
    return {
        "step": int(found[1]),
        "metrics": metrics,
        "views_per_second": float(speed[1]) if speed else None,
    }


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def view(state: Mapping[str, Any], storage: Storage) -> dict[str, Any]:
    """A state or result of :func:`gateway.training.run` with presigned links in place of keys."""
    shown = {name: value for name, value in state.items() if name not in _KEYS}
    for name in ("checkpoint", "result"):
        if key := state.get(name):
            shown[f"{name}_url"] = storage.link(key).url
    shown["logs"] = [
        {"name": key.rsplit("/", 1)[-1], "url": storage.link(key).url}
        for key in state.get("logs") or ()
    ]
    return shown


_KEYS = ("checkpoint", "result", "logs")
