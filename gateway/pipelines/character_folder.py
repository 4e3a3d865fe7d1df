"""Characters as AnimatedDrawings keeps them: a folder with a skeleton, a mask and a texture."""

from __future__ import annotations

from pathlib import Path

import cv2

from gateway.drawings.character import Character, from_config
from gateway.drawings.motion_config import read_yaml
from gateway.errors import BadDrawing, BadMotion


def read_character(folder: Path) -> Character:
    """A character from ``char_cfg.yaml``, ``mask.png`` and ``texture.png``.

    Raises:
        BadDrawing: a file is missing, unreadable or does not fit the others.
    """
    for name in ("char_cfg.yaml", "mask.png", "texture.png"):
        if not (folder / name).is_file():
            raise BadDrawing(f"{folder} is not a character folder: it has no {name}")
    mask = cv2.imread(str(folder / "mask.png"), cv2.IMREAD_GRAYSCALE)
    texture = cv2.imread(str(folder / "texture.png"), cv2.IMREAD_UNCHANGED)
    if mask is None or texture is None:
        raise BadDrawing(f"{folder}: mask.png or texture.png is not a readable picture")
    try:
        config = read_yaml((folder / "char_cfg.yaml").read_text("utf-8"))
    except (BadMotion, UnicodeDecodeError) as error:
        raise BadDrawing(f"{folder / 'char_cfg.yaml'}: {error}") from None
    return from_config(config, mask, texture)
