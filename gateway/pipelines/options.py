"""The options of a blur, parsed once from untrusted text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, get_args

from gateway.errors import BadOption
from gateway.faces.blur import Shape, Style

AUDIO = ("keep", "drop")


@dataclass(frozen=True)
class BlurOptions:
    """What to do with each face.

    style: ``gaussian``, ``pixelate`` or ``solid``. shape: ``ellipse`` or ``box``.
    scale: mask size relative to the detected box, 1.0 to 3.0. threshold: smallest
    detection score that starts a face, 0.05 to 0.95. audio: ``keep`` or ``drop``.
    """

    style: Style = "gaussian"
    shape: Shape = "ellipse"
    scale: float = 1.4
    threshold: float = 0.2
    audio: str = "keep"

    @classmethod
    def parse(cls, raw: Mapping[str, Any], *, threshold: float = 0.2) -> BlurOptions:
        """Options from form fields, a query string or JSON.

        Raises:
            BadOption: an unknown name or a value out of range; the text names both.
        """
        values: dict[str, Any] = {"threshold": threshold}
        for name, text in raw.items():
            if name not in _PARSERS:
                raise BadOption(f"unknown option '{name}'; known are {', '.join(_PARSERS)}")
            values[name] = _PARSERS[name](name, text)
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a job message or a report."""
        return asdict(self)


def _choice(*allowed: str) -> Callable[[str, Any], str]:
    def parse(name: str, text: Any) -> str:
        if text not in allowed:
            raise BadOption(f"{name} must be one of {', '.join(allowed)}, not {str(text)[:40]!r}")
        return str(text)

    return parse


def _number(low: float, high: float) -> Callable[[str, Any], float]:
    def parse(name: str, text: Any) -> float:
        try:
            value = float(text)
        except (TypeError, ValueError):
            value = float("nan")
        if isinstance(text, bool) or not low <= value <= high:
            raise BadOption(f"{name} must be a number from {low} to {high}, not {str(text)[:40]!r}")
        return value

    return parse


_PARSERS: dict[str, Callable[[str, Any], Any]] = {
    "style": _choice(*get_args(Style)),
    "shape": _choice(*get_args(Shape)),
    "scale": _number(1.0, 3.0),
    "threshold": _number(0.05, 0.95),
    "audio": _choice(*AUDIO),
}
