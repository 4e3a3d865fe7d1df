"""What may be chosen: names and ranges shared by the pixels, the contract and the command line.

Loads nothing else, so that the command line may ask before it knows what it will need.
"""

from __future__ import annotations

from typing import Literal, get_args

Style = Literal["gaussian", "pixelate", "solid"]
"""How a face is hidden."""

Shape = Literal["ellipse", "box"]
"""The outline of a face's mask."""

Audio = Literal["keep", "drop"]
"""What becomes of a video's sound."""

Subtitles = Literal["keep", "drop"]
"""What becomes of a video's text subtitles."""

AnimationFormat = Literal["gif", "mp4", "webp"]
"""What an animated drawing can be written as."""

Figures = Literal["first", "all"]
"""Which figures of a drawing: the clearest, or all on the page."""

STYLES: tuple[Style, ...] = get_args(Style)
SHAPES: tuple[Shape, ...] = get_args(Shape)
AUDIO: tuple[Audio, ...] = get_args(Audio)
SUBTITLES: tuple[Subtitles, ...] = get_args(Subtitles)
FORMATS: tuple[AnimationFormat, ...] = get_args(AnimationFormat)
FIGURES: tuple[Figures, ...] = get_args(Figures)
BACKGROUNDS = ("paper", "transparent")  # or #rrggbb

SCALES = (1.0, 3.0)  # mask size relative to the face
THRESHOLDS = (0.05, 0.95)  # smallest score that counts as a face
SIZES = (64, 1024)  # pixels, of either side of an animation
