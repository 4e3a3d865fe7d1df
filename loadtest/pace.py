"""How fast requests come: steps of constant rates, one after the other."""

from __future__ import annotations

from dataclasses import dataclass

RAMP_STEPS = 6


@dataclass(frozen=True)
class Step:
    """So many requests a second for so many seconds."""

    rate: float
    seconds: float


def constant(rate: float, seconds: float) -> list[Step]:
    """One rate; for half an hour and more it is a soak."""
    return [Step(rate, seconds)]


def ramp(rate: float, top: float, seconds: float) -> list[Step]:
    """From ``rate`` up to ``top`` in equal steps."""
    rise = (top - rate) / (RAMP_STEPS - 1)
    return [Step(rate + rise * number, seconds / RAMP_STEPS) for number in range(RAMP_STEPS)]


def spike(rate: float, top: float, seconds: float) -> list[Step]:
    """``rate``, for a fifth of the time ``top``, and ``rate`` again."""
    return [Step(rate, 0.3 * seconds), Step(top, 0.2 * seconds), Step(rate, 0.5 * seconds)]


PACES = {
    "constant": lambda rate, _, seconds: constant(rate, seconds),
    "ramp": ramp,
    "spike": spike,
}
