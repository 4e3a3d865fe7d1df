"""The rigger's client: a picture goes, figures come back, contradictions do not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_server import Answer, Served, model_server

from gateway.drawings.character import PARENTS
from gateway.errors import ModelUnavailable
from gateway.models import Rigger
from handlers.rig_figures import png
from handlers.runtime import read_images

MASK = np.zeros((6, 4), np.uint8)
MASK[1:5, 1:3] = 255
JOINTS = {name: [2.0 + i / 4, 3.5, 0.9] for i, name in enumerate(PARENTS)}
FIGURE = {
    "box": [2.2, 3, 6, 9],
    "score": 0.8,
    "joints": JOINTS,
    "mask": {"box": [2, 3, 6, 9], "png": png(MASK)},
}
PICTURE = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with model_server(tmp_path) as served:
        yield served


def rigger(served: Served) -> Rigger:
    return Rigger(served.url, served.url, str(served.key_file))


def figures(*found: Any) -> Answer:
    return 200, {"images": [{"width": 20, "height": 12, "figures": list(found)}]}


def test_a_picture_goes_to_the_rigger_and_figures_come_back(served: Served) -> None:
    served.predict = lambda body: figures(FIGURE, {**FIGURE, "score": 0.6})
    first, second = rigger(served).rig(PICTURE)
    assert (first.score, second.score) == (0.8, 0.6)
    assert first.box == (2.2, 3, 6, 9)
    assert first.mask_box == (2, 3, 6, 9)
    assert np.array_equal(first.mask, MASK)
    assert first.joints["neck"] == tuple(JOINTS["neck"][:2])
    assert list(first.joints) == list(PARENTS)
    (call,) = served.seen
    assert call["path"] == "/predictions/rigger"
    (image,) = read_images(call["body"])
    assert np.array_equal(image, PICTURE)


def test_a_picture_without_a_figure(served: Served) -> None:
    served.predict = lambda body: figures()
    assert rigger(served).rig(PICTURE) == []


@pytest.mark.parametrize(
    "change",
    [
        {"box": [1, 2, 3]},
        {"box": None},
        {"score": "high"},
        {"joints": {}},
        {"joints": {**JOINTS, "neck": [1]}},
        {"joints": {**JOINTS, "neck": [float("nan"), 1, 1]}},
        {"mask": None},
        {"mask": {"box": [2, 3, 6, 9], "png": "%%"}},
        {"mask": {"box": [2, 3, 6, 9], "png": ""}},
        {"mask": {"box": [2, 3, 6, 9], "png": "aGVsbG8="}},
        {"mask": {"box": [2, 3, 7, 9], "png": png(MASK)}},
        {"mask": {"box": [17, 3, 21, 9], "png": png(MASK)}},
        {"mask": {"box": [-1, 3, 3, 9], "png": png(MASK)}},
    ],
    ids=lambda change: str(change)[:50],
)
def test_a_figure_that_contradicts_itself_is_unreadable(
    served: Served, change: dict[str, Any]
) -> None:
    served.predict = lambda body: figures({**FIGURE, **change})
    with pytest.raises(ModelUnavailable, match="the rigger's answer is unreadable"):
        rigger(served).rig(PICTURE)
