"""What a classifier wants to be fed and what its scores mean: ``classifier.toml``.

    name = "scenes"                  # told with every answer
    version = "1.0"
    categories = "categories.txt"    # one name a line, in the order of the network's outputs
    [input]
    resize = "cover"                 # stretch: both sides; cover: the shorter; fit: the longer
    side = 256                       # pixels, after resizing
    crop = [224, 224]                # width and height that the network sees, from the middle
    colours = "RGB"                  # or BGR
    layout = "NCHW"                  # or NHWC
    mean = [123.7, 116.3, 103.5]     # taken off each of the colours (0 to 255) …
    std = [58.4, 57.1, 57.4]         # … which is then divided by this
    [output]
    scores = "softmax"               # or sigmoid, or as-is where the network ends in it

Lives inside a model archive, so it imports nothing of the gateway.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]

FILE = "classifier.toml"
_CHOICES = {
    "resize": ("stretch", "cover", "fit"),
    "colours": ("RGB", "BGR"),
    "layout": ("NCHW", "NHWC"),
    "scores": ("as-is", "softmax", "sigmoid"),
}


class BadManifest(RuntimeError):
    """The manifest cannot be used; the text names the entry."""


@dataclass(frozen=True)
class Manifest:
    """A classifier's description; see the module. crop: width, height in pixels."""

    name: str
    version: str
    categories: tuple[str, ...]
    resize: str
    side: int
    crop: tuple[int, int]
    colours: str
    layout: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    scores: str

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """The manifest of an unpacked archive, with the categories beside it.

        Raises:
            BadManifest: an entry is missing, unknown or out of range.
        """
        try:
            raw = tomllib.loads((folder / FILE).read_text())
            flat = {**{k: raw[k] for k in ("name", "version", "categories")}, **raw["input"]}
            flat["scores"] = raw["output"]["scores"]
            flat["categories"] = (folder / Path(flat["categories"]).name).read_text().split("\n")
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise BadManifest(f"{FILE} or its categories cannot be read: {error}") from error
        except (KeyError, TypeError) as error:
            raise BadManifest(f"{FILE} has no {error}") from error
        return cls._checked(flat)

    @classmethod
    def _checked(cls, flat: dict[str, Any]) -> Manifest:
        flat["categories"] = tuple(filter(None, (line.strip() for line in flat["categories"])))
        for name in ("crop", "mean", "std"):
            flat[name] = tuple(flat.get(name, ()))
        try:
            made = cls(**flat)
        except TypeError as error:
            raise BadManifest(f"{FILE}: {error}") from None
        for name, allowed in _CHOICES.items():
            if getattr(made, name) not in allowed:
                raise BadManifest(f"{FILE}: {name} must be one of {', '.join(allowed)}")
        if not made.categories or len(set(made.categories)) < len(made.categories):
            raise BadManifest(f"{FILE}: categories must be there, and each once")
        if len(made.crop) != 2 or not 1 <= min(made.crop) <= max(made.crop) <= made.side <= 4096:
            raise BadManifest(f"{FILE}: crop must be two sides in pixels, within side")
        if len(made.mean) != 3 or len(made.std) != 3 or min(made.std) <= 0:
            raise BadManifest(f"{FILE}: mean and std must be three numbers, std above 0")
        return made

    @property
    def shape(self) -> tuple[int, int, int]:
        """One image's shape as the network takes it."""
        width, height = self.crop
        return (height, width, 3) if self.layout == "NHWC" else (3, height, width)

    def prepared(self, image: Image) -> F32:
        """(H, W, 3) uint8 BGR as the network takes it: of ``shape``, contiguous."""
        sized = _cropped(_resized(image, self.resize, self.side), self.crop)
        if self.colours == "RGB":
            sized = sized[:, :, ::-1]
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        values = (sized.astype(np.float32) - mean) / std
        if self.layout == "NCHW":
            values = values.transpose(2, 0, 1)
        return np.ascontiguousarray(values, np.float32)

    def probabilities(self, outputs: F32) -> F32:
        """Scores from the network's outputs, both (N, categories)."""
        if self.scores == "softmax":
            powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
            return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)
        if self.scores == "sigmoid":
            return np.asarray(1 / (1 + np.exp(-np.clip(outputs, -60, 60))), np.float32)
        return outputs

    def described(self, scores: F32) -> dict[str, Any]:
        """One image's entry in the answer, its categories by score."""
        order = np.argsort(-scores, kind="stable")
        rows = [{"name": self.categories[i], "score": round(float(scores[i]), 6)} for i in order]
        return {"categories": rows, "model": {"name": self.name, "version": self.version}}


def _resized(image: Image, how: str, side: int) -> Image:
    height, width = image.shape[:2]
    if how == "stretch":
        size = (side, side)
    else:
        factor = side / (min if how == "cover" else max)(height, width)
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
    if size == (width, height):
        return image
    shrinks = size[0] <= width and size[1] <= height
    by = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=by), np.uint8)


def _cropped(image: Image, crop: tuple[int, int]) -> Image:
    """The middle; where the image is smaller, the rest is black."""
    width, height = crop
    left, top = (image.shape[1] - width) // 2, (image.shape[0] - height) // 2
    cut = image[max(0, top) : top + height, max(0, left) : left + width]
    if cut.shape[:2] == (height, width):
        return cut
    out = np.zeros((height, width, 3), np.uint8)
    out[max(0, -top) :, max(0, -left) :][: cut.shape[0], : cut.shape[1]] = cut
    return out
