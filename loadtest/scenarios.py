"""What clients send, as files of targets: ``python -m loadtest.scenarios --url … --out DIR``.

Media are generated; with ``--media`` and ``--drawings`` (folders as loadtest/README.md tells)
there are scenarios with real ones, too.
"""

from __future__ import annotations

import argparse
import base64
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import cv2

from deploy.local.samples import wall, write_drawing, write_photo, write_video
from loadtest.media import big_photo, hd_photo
from loadtest.targets import Target, post_form, post_json, write

MIX = {
    "photo-720p": 6,
    "photo-720p-base64": 2,
    "photo-1080p": 3,
    "photo-12mp": 1,
    "classify": 5,
    "drawing": 1,
    "drawing-phone": 1,
    "video": 1,
}
"""Of 20 requests, as an app would send them."""

_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 90]
_SHORT = 2.0  # seconds of video


class Scenarios:
    """Builds targets for the service at ``url``; generated media lie in ``work``."""

    def __init__(self, url: str, work: Path) -> None:
        self._url = url.rstrip("/")
        self._work = work
        self._makers: dict[str, Callable[[], list[Target]]] = {
            "photo-640": lambda: [self._blur(write_photo(work / "640.jpg"))],
            "photo-720p": lambda: [self._blur(self._hd)],
            "photo-720p-base64": lambda: [self._json("/v1/blur", self._hd)],
            "photo-1080p": lambda: [self._blur(_full_hd(work / "1080p.jpg"))],
            "photo-12mp": lambda: [self._blur(big_photo(work / "12mp.jpg")[0])],
            "video": lambda: [self._blur(write_video(work / "video.mp4", _SHORT))],
            "drawing": lambda: [self._form("/v1/animate", self._drawing, motions="dab")],
            "drawing-phone": lambda: [self._json("/", self._drawing)],
            "classify": lambda: [self._form("/v1/classify", write_photo(work / "640.jpg"))],
            "mixed": self._mixed,
        }

    def add_media(self, folder: Path) -> None:
        """Scenarios of the photos and of the videos in ``images`` and ``videos``."""
        for name, found in (
            ("photo-real", sorted((folder / "images").glob("*.jpg"))),
            ("video-real", sorted((folder / "videos").glob("*.mp4"))),
        ):
            if found:
                self._makers[name] = lambda found=found: [self._blur(path) for path in found]

    def add_drawings(self, folder: Path) -> None:
        """A scenario of the pictures of drawings in the folder's folders."""
        found = sorted([*folder.glob("*/original_img.png"), *folder.glob("*/image.png")])
        if found:
            self._makers["drawing-real"] = lambda: [
                self._form("/v1/animate", path, motions="dab") for path in found
            ]

    @property
    def names(self) -> list[str]:
        """All of them."""
        return list(self._makers)

    def targets(self, name: str) -> list[Target]:
        """A scenario's requests, to be sent in this order, again and again."""
        return self._makers[name]()

    def file(self, name: str, folder: Path) -> Path:
        """A scenario as a file of targets."""
        folder.mkdir(parents=True, exist_ok=True)
        return write(folder / f"{name}.json", self.targets(name))

    def _mixed(self) -> list[Target]:
        by_name = {name: self.targets(name)[0] for name in MIX}
        return [by_name[name] for name in spread(MIX)]

    @cached_property
    def _hd(self) -> Path:
        return hd_photo(self._work / "720p.jpg")

    @cached_property
    def _drawing(self) -> Path:
        return write_drawing(self._work / "drawing.jpg")

    def _blur(self, path: Path) -> Target:
        return self._form("/v1/blur", path)

    def _form(self, route: str, path: Path, **options: str) -> Target:
        return post_form(self._url + route, path.name, path.read_bytes(), **options)

    def _json(self, route: str, path: Path) -> Target:
        return post_json(self._url + route, {"file": base64.b64encode(path.read_bytes()).decode()})


def spread(counts: dict[str, int]) -> list[str]:
    """Each name as often as it counts, as evenly as can be, rare ones not side by side."""
    places = [
        ((number + 0.5) / count, name) for name, count in counts.items() for number in range(count)
    ]
    return [name for _, name in sorted(places, key=lambda place: place[0])]


def _full_hd(path: Path) -> Path:
    cv2.imwrite(str(path), wall(1080, 1920)[..., ::-1], _JPEG)
    return path


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scenarios", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="of the service")
    parser.add_argument("--out", type=Path, default=Path("targets"), help="folder for the files")
    parser.add_argument("--media", type=Path, help="folder with real photos and clips")
    parser.add_argument("--drawings", type=Path, help="folder with real drawings")
    args = parser.parse_args(argv)
    scenarios = gathered(args.url, args.out / "media", args.media, args.drawings)
    for name in scenarios.names:
        path = scenarios.file(name, args.out)
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return 0


def gathered(url: str, work: Path, media: Path | None, drawings: Path | None) -> Scenarios:
    """All scenarios for which there are media."""
    work.mkdir(parents=True, exist_ok=True)
    scenarios = Scenarios(url, work)
    if media:
        scenarios.add_media(media)
    if drawings:
        scenarios.add_drawings(drawings)
    return scenarios


if __name__ == "__main__":
    sys.exit(main())
