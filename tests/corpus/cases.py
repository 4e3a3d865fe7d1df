"""The cases of a run: the ``index``-th of a ``seed`` is always the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from tests.corpus import crafted_others, crafted_pictures, mangle
from tests.corpus.samples import FORMATS, PICTURES, VIDEOS, motion_configs, sample, suffix

TYPES = ("", "image/jpeg", "image/png", "video/mp4", "text/html", "application/x-php", "\u00e9/x")
NAMES = ("../../etc/passwd", "a.jpg.exe", "con", "x" * 300, "\u202egpj.mp4", "a\tb", "")
_CRAFTED = crafted_pictures.CRAFTED | crafted_others.CRAFTED

# Where pictures go, by turns: most are to be blurred.
_PICTURE_ROUTES = (
    *("form", "form", "base64", "form", "upload", "form", "classify", "form", "rig"),
    *("form", "animate", "classify-base64", "form", "phone", "form", "animate-upload"),
)
_DRAWING_ROUTES = ("rig", "animate", "phone")
_VIDEO_ROUTES = ("form", "form", "upload", "form", "form", "base64")


@dataclass(frozen=True)
class Case:
    """One request. ``trick``: how it was made; ``parts``: the file, or a motion's three."""

    id: str
    kind: str
    trick: str
    route: str
    parts: tuple[bytes, ...]
    name: str
    content_type: str

    @property
    def label(self) -> str:
        return f"{self.id} ({self.kind}, {self.trick}, to {self.route})"


def cases(seed: int, count: int) -> Iterator[Case]:
    """The first so many of a seed, all formats by turns."""
    return (case(f"{seed}:{index}") for index in range(count))


def case(ident: str) -> Case:
    """The case ``seed:index``."""
    rng = Random(ident)
    index = int(ident.partition(":")[2])
    kind = FORMATS[index % len(FORMATS)]
    turn = index // len(FORMATS)
    trick, parts = _motion(rng) if kind == "bvh" else _file(rng, kind)
    name, content_type = f"file.{suffix(kind)}", ""
    if rng.random() < 0.25:
        name, content_type = rng.choice(NAMES), rng.choice(TYPES)
    return Case(ident, kind, trick, _route(kind, turn), parts, name, content_type)


def _route(kind: str, turn: int) -> str:
    if kind == "bvh":
        return "motion"
    if kind == "mask":
        return "mask"
    routes = _DRAWING_ROUTES if kind == "drawing" else _PICTURE_ROUTES
    routes = _VIDEO_ROUTES if kind in VIDEOS else routes
    return routes[(turn + FORMATS.index(kind)) % len(routes)]


def _file(rng: Random, kind: str) -> tuple[str, tuple[bytes, ...]]:
    body, other = sample(kind), sample(rng.choice((*PICTURES, *VIDEOS)))
    trick = rng.choices(
        ("damaged", "crafted", "spliced", "polyglot", "disguised", "noise"), (10, 8, 3, 2, 1, 0.3)
    )[0]
    if trick == "damaged":
        made = mangle.damaged(rng, body)
        if body.startswith(crafted_pictures.SIGNATURE) and rng.random() < 0.6:
            made = mangle.repaired_png(made)
    elif trick == "crafted":
        maker = rng.choice(_CRAFTED[kind])
        trick, made = maker.__name__, maker(rng)
    elif trick == "spliced":
        made = mangle.splice(rng, body, other)
    elif trick == "polyglot":
        made = mangle.polyglot(rng, body, other)
    elif trick == "disguised":
        made = other
    else:
        made = body[:16] + rng.randbytes(rng.choice((20, 5000)))
    return trick, (made,)


def _motion(rng: Random) -> tuple[str, tuple[bytes, ...]]:
    if rng.random() < 0.4:
        maker = rng.choice(crafted_others.MOTIONS)
        return maker.__name__, maker(rng)
    parts = [sample("bvh"), *motion_configs()]
    at = rng.randrange(3)
    parts[at] = mangle.damaged(rng, parts[at])
    return "damaged", tuple(parts)
