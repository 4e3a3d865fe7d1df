"""What is asked of a drawing, parsed once from untrusted text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.choices import FIGURES
from gateway.drawings.motions import NAMES
from gateway.errors import BadOption
from gateway.object_names import is_token
from gateway.pipelines.options import AnimateOptions
from gateway.pipelines.rig_drawing import MAX_FIGURES

MAX_MOTIONS = 8
OPTIONS = ("motions", "format", "background", "size", "figures")


@dataclass(frozen=True)
class Wish:
    """The motions, by name or id, how the animations look, and of how many figures."""

    motions: tuple[str, ...] = ("dab",)
    look: AnimateOptions = field(default_factory=AnimateOptions)
    figures: int = 1

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Wish:
        """From form fields, a query string or JSON.

        Raises:
            BadOption: an unknown name or a value out of range; the text says what there is.
        """
        unknown = set(raw) - set(OPTIONS)
        if unknown:
            raise BadOption(f"unknown option '{min(unknown)[:40]}'; known are {', '.join(OPTIONS)}")
        look = {name: raw[name] for name in raw if name not in ("motions", "figures")}
        figures = raw.get("figures", "first")
        if figures not in FIGURES:
            raise BadOption(f"figures must be first or all, not {str(figures)[:40]!r}")
        return cls(
            _motions(raw.get("motions", cls.motions)),
            AnimateOptions.parse(look),
            MAX_FIGURES if figures == "all" else 1,
        )


def is_own(motion: str) -> bool:
    """Whether this is the id of a motion that a user brought."""
    return motion not in NAMES


def _motions(wanted: object) -> tuple[str, ...]:
    parts = wanted.split(",") if isinstance(wanted, str) else wanted
    if not isinstance(parts, (list, tuple)) or not all(isinstance(part, str) for part in parts):
        raise BadOption("motions must be names, with commas between them")
    names = tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
    if not 1 <= len(names) <= MAX_MOTIONS:
        raise BadOption(f"ask for 1 to {MAX_MOTIONS} motions; known are {', '.join(NAMES)}")
    for name in names:
        if name not in NAMES and not is_token(name):
            raise unknown_motion(name)
    return names


def unknown_motion(name: str) -> BadOption:
    """The refusal of a motion that is neither in the library nor a user's."""
    return BadOption(f"unknown motion {name[:40]!r}; known are {', '.join(NAMES)}")
