"""A retarget configuration made to fit the figure that it is used on."""

from __future__ import annotations

import re
from dataclasses import replace

from gateway.drawings.character import Character
from gateway.drawings.motion_config import Names, RetargetConfig
from gateway.errors import BadMotion

_SUFFIX = re.compile(r"(\d+|_[a-z0-9]{1,2})$")


def fitted(config: RetargetConfig, figure: Character) -> RetargetConfig:
    """The configuration with the figure's own joint names.

    A figure with extra limbs (``left_hand1``, ``left_hand2``; ``left_foot_f``) moves them
    all as the configuration says for ``left_hand`` and ``left_foot``; what the figure has
    no joint for is left out.
    """
    own: dict[str, list[str]] = {}
    for name in figure.joints:
        own.setdefault(_SUFFIX.sub("", name), []).append(name)

    def named(joint: str) -> list[str]:
        return [joint] if joint in figure.joints else own.get(joint, [])

    def chains(chain: Names) -> list[Names]:
        options = [named(joint) for joint in chain]
        if not all(options):
            return []
        count = max(map(len, options))
        return [tuple(o[min(i, len(o) - 1)] for o in options) for i in range(count)]

    mapping = {own: bone for joint, bone in config.mapping.items() for own in named(joint)}
    still = {joint for joint, a, b in config.above if _below(figure, joint, a, b)}
    still |= {joint for joint, a in config.upright if _beside(figure, joint, a)}
    mapping = {joint: bone for joint, bone in mapping.items() if joint not in still}
    if not mapping:
        raise BadMotion("the retarget configuration moves no joint that this figure has")
    return replace(
        config,
        mapping=mapping,
        groups=tuple(
            replace(group, joints=tuple(own for joint in group.joints for own in named(joint)))
            for group in config.groups
        ),
        character_limbs=tuple(own for chain in config.character_limbs for own in chains(chain)),
    )


def _below(figure: Character, joint: str, a: str, b: str) -> bool:
    """Whether a joint lies below the line from a to b (pixels: y grows downwards)."""
    if not {joint, a, b} <= set(figure.joints):
        return False
    (x, y), (ax, ay), (bx, by) = (figure.joints[name] for name in (joint, a, b))
    return (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0


def _beside(figure: Character, joint: str, a: str) -> bool:
    """Whether a joint lies to the side of another rather than over it."""
    if not {joint, a} <= set(figure.joints):
        return False
    (x, y), (ax, ay) = figure.joints[joint], figure.joints[a]
    return abs(x - ax) > ay - y
