"""The options of a blur and of an animation, parsed once from untrusted text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gateway.choices import (
    AUDIO,
    BACKGROUNDS,
    FORMATS,
    SCALES,
    SHAPES,
    SIZES,
    STYLES,
    SUBTITLES,
    THRESHOLDS,
    AnimationFormat,
    Audio,
    Shape,
    Style,
    Subtitles,
)
from gateway.errors import BadOption

THRESHOLD = 0.2
"""The score from which what the face detector finds mostly is one."""


@dataclass(frozen=True)
class BlurOptions:
    """What to do with each face.

    style: ``gaussian``, ``pixelate`` or ``solid``. shape: ``ellipse`` or ``box``.
    scale: mask size relative to the detected box, 1.0 to 3.0. threshold: smallest
    detection score that starts a face, 0.05 to 0.95. audio, subtitles: ``keep`` or
    ``drop``.
    """

    style: Style = "gaussian"
    shape: Shape = "ellipse"
    scale: float = 1.4
    threshold: float = THRESHOLD
    audio: Audio = "keep"
    subtitles: Subtitles = "keep"

    @classmethod
    def parse(cls, raw: Mapping[str, Any], *, threshold: float = THRESHOLD) -> BlurOptions:
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
        except (TypeError, ValueError, OverflowError):
            value = float("nan")
        if isinstance(text, bool) or not low <= value <= high:
            raise BadOption(f"{name} must be a number from {low} to {high}, not {str(text)[:40]!r}")
        return value

    return parse


_PARSERS: dict[str, Callable[[str, Any], Any]] = {
    "style": _choice(*STYLES),
    "shape": _choice(*SHAPES),
    "scale": _number(*SCALES),
    "threshold": _number(*THRESHOLDS),
    "audio": _choice(*AUDIO),
    "subtitles": _choice(*SUBTITLES),
}


@dataclass(frozen=True)
class AnimateOptions:
    """How an animation looks.

    format: ``gif``, ``mp4`` or ``webp``. background: ``paper`` (the drawing's own colour),
    ``transparent`` (white in MP4) or ``#rrggbb``. size: the frame's longer side in pixels,
    or its width and height.
    """

    format: AnimationFormat = "gif"
    background: str = "paper"
    size: int | tuple[int, int] = 500

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> AnimateOptions:
        """Options from form fields, a query string or JSON.

        Raises:
            BadOption: an unknown name or a value out of range; the text names both.
        """
        unknown = set(raw) - {"format", "background", "size"}
        if unknown:
            raise BadOption(
                f"unknown option '{min(unknown)[:40]}'; known are format, background, size"
            )
        kind = raw.get("format", cls.format)
        if kind not in FORMATS:
            raise BadOption(f"format must be one of {', '.join(FORMATS)}, not {str(kind)[:40]!r}")
        background = str(raw.get("background", cls.background)).lower()
        if background not in BACKGROUNDS and not re.fullmatch("#[0-9a-f]{6}", background):
            raise BadOption(
                f"background must be paper, transparent or #rrggbb, not {background[:40]!r}"
            )
        return cls(kind, background, _size(str(raw.get("size", cls.size))))


def _size(text: str) -> int | tuple[int, int]:
    """Even pixels, as H.264 wants, from ``500`` or ``500x400``."""
    match = re.fullmatch("([0-9]{1,5})(?:x([0-9]{1,5}))?", text)
    sides = [int(side) for side in match.groups() if side] if match else [0]
    if not all(SIZES[0] <= side <= SIZES[1] for side in sides):
        raise BadOption(
            f"size must be {SIZES[0]} to {SIZES[1]} pixels, or two such as 500x400, "
            f"not {text[:40]!r}"
        )
    width, *height = (side // 2 * 2 for side in sides)
    return (width, height[0]) if height else width
