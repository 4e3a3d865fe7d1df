"""Golden frames of animations.

After a change of looks that is wanted, ``UPDATE_GOLDENS=1 python -m pytest`` on this file
writes them anew (and fails); look at every one before committing it.
"""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawings_figures import man
from PIL import Image

from gateway.drawings.motions import library_motion
from gateway.pipelines.animate_drawing import Animator, Placed
from gateway.pipelines.options import AnimateOptions

FOLDER = Path(__file__).resolve().parents[1] / "golden"
# Roundings of another OpenCV or BLAS may move an edge by a fraction of a pixel, no more.
MEAN, SHARE = 1.5, 0.01


def frame(motion: str, index: int) -> np.ndarray:
    """One frame of a drawn man, (H, W, 3) BGR, as WebP without the losses of GIF's palette."""
    animator = Animator([Placed(man())], AnimateOptions("webp", "paper", 160))
    body = animator.animate(library_motion(motion)).file.body
    with Image.open(BytesIO(body)) as image:
        image.seek(index)
        return cv2.cvtColor(np.array(image.convert("RGB")), cv2.COLOR_RGB2BGR)


@pytest.mark.parametrize(("motion", "index"), [("dab", 28), ("walk", 9), ("jumping_jacks", 15)])
def test_frames_look_as_they_did(motion: str, index: int):
    path = FOLDER / f"animate-{motion}.png"
    shown = frame(motion, index)
    if os.environ.get("UPDATE_GOLDENS"):
        cv2.imwrite(str(path), shown)
        pytest.fail(f"wrote {path.name}: look at it")
    golden = cv2.imread(str(path))
    assert golden is not None and golden.shape == shown.shape
    away = np.abs(golden.astype(int) - shown).max(axis=2)
    assert away.mean() < MEAN
    assert (away > 48).mean() < SHARE
