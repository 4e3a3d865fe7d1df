"""The motion library: BVH files of our own (see ``make``) and their configurations.

The one place in this package that reads files: its own.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

from gateway.drawings.bvh import parse_bvh
from gateway.drawings.motion_config import MotionConfig, RetargetConfig, read_yaml
from gateway.drawings.retarget import Motion
from gateway.errors import BadOption

NAMES = ("cheer", "dab", "dance", "jumping", "jumping_jacks", "walk", "wave_hello", "zombie")


@cache
def library_motion(name: str) -> Motion:
    """A motion of the library, parsed once.

    Raises:
        BadOption: there is no such motion; the text lists those there are.
    """
    if name not in NAMES:
        raise BadOption(f"unknown motion {name[:40]!r}; known are {', '.join(NAMES)}")
    config = read_yaml(_text(f"{name}.yaml"))
    assert isinstance(config, dict)
    return Motion(
        parse_bvh(_text(config["filepath"])),
        MotionConfig.parse(config),
        RetargetConfig.parse(read_yaml(_text(config["retarget"]))),
    )


def _text(name: str) -> str:
    return (resources.files(__name__) / name).read_text("utf-8")
