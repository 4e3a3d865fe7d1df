"""The command ``masquerade animate``: drawings and characters into animations.

A drawing is sent to a pod, whose model finds the figure. A character folder, as
AnimatedDrawings keeps it, has its skeleton already and is animated right here.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.choices import FIGURES, FORMATS
from gateway.errors import BadDrawing, BadMotion, BadOption, MasqueradeError

if TYPE_CHECKING:
    from gateway.drawings.character import Character
    from gateway.drawings.retarget import Motion

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_MOTIONS = "dab"

OK, FAILED, USAGE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130

_EXAMPLES = """\
examples:
  masquerade animate monster.jpg --motions dab,walk -o out/
  masquerade animate monster.jpg --motions cheer --format webp --background transparent
  masquerade animate characters/char1 --bvh dab.bvh --motion-config dab.yaml \\
      --retarget-config fair1_ppf.yaml
"""


class Unreachable(Exception):
    """No pod answered; ``str`` says where."""


def add_command(commands: Any) -> None:
    """Add the command to an argparse subparsers object; its namespace has ``run``."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "animate",
        help="make a drawn figure move",
        description="Animate the figure of a drawing, or a character of AnimatedDrawings.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "drawing",
        type=Path,
        metavar="DRAWING|CHARACTER_DIR",
        help="a photo of a drawing, or a folder with char_cfg.yaml, mask.png and texture.png",
    )
    parser.add_argument("--motions", help=f"comma-separated names ({DEFAULT_MOTIONS})")
    parser.add_argument("-o", "--out", type=Path, default=Path(), help="folder for the results (.)")
    look = parser.add_argument_group("how it looks")
    look.add_argument("--format", choices=FORMATS, default="gif", help="kind of file (gif)")
    look.add_argument("--background", default="paper", help="paper, transparent or #rrggbb (paper)")
    look.add_argument("--size", default="500", help="longer side in pixels, or 500x400 (500)")
    look.add_argument(
        "--figures",
        choices=FIGURES,
        default="first",
        help="of a photo: the clearest figure, or all on the page (first)",
    )
    own = parser.add_argument_group("a motion of your own, for a character folder (all three)")
    own.add_argument("--bvh", type=Path, metavar="FILE", help="the motion")
    own.add_argument("--motion-config", type=Path, metavar="FILE", help="how to read it, YAML")
    own.add_argument(
        "--retarget-config",
        type=Path,
        metavar="FILE",
        help="what it moves, YAML; both as AnimatedDrawings has them",
    )
    parser.add_argument(
        "--url",
        default=os.environ.get("POD_URL") or DEFAULT_URL,
        help=f"address of the pod (variable POD_URL, else {DEFAULT_URL})",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry the command out; returns the exit status."""
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        for target in _here(args) if args.drawing.is_dir() else _in_pod(args):
            print(target)
    except Unreachable as error:
        print(f"masquerade: {error}; start the pod, or name another by --url", file=sys.stderr)
        return UNREACHABLE
    except (MasqueradeError, OSError) as error:
        print(f"masquerade: {error}", file=sys.stderr)
        return USAGE if isinstance(error, BadOption) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return OK


def _in_pod(args: argparse.Namespace) -> Iterator[Path]:
    if args.bvh or args.motion_config or args.retarget_config:
        raise BadOption("motions of your own are for character folders")
    from gateway.client import Client, PodUnreachable

    client = Client(args.url)
    names = ("format", "background", "size", "figures")
    options = {"motions": args.motions or DEFAULT_MOTIONS, **{n: getattr(args, n) for n in names}}
    try:
        animations = client.animate(args.drawing, options)
    except PodUnreachable as error:
        raise Unreachable(str(error)) from error
    for name, url in animations.items():
        target = _target(args, name)
        with target.open("wb") as file:
            client.download(url, file)
        yield target


def _here(args: argparse.Namespace) -> Iterator[Path]:
    # Small matrices: a second BLAS thread would only wait, at full speed. Read by NumPy's import.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Loads OpenCV, which nothing else of the command line needs.
    import cv2

    from gateway.drawings.motions import library_motion
    from gateway.pipelines.animate_drawing import Animator, Placed
    from gateway.pipelines.options import AnimateOptions

    cv2.setNumThreads(1)  # the animator has threads of its own
    options = AnimateOptions.parse(
        {"format": args.format, "background": args.background, "size": args.size}
    )
    motions: dict[str, Motion] = {}
    files = (args.bvh, args.motion_config, args.retarget_config)
    if any(files):
        if not all(files):
            raise BadOption("--bvh, --motion-config and --retarget-config go together")
        motions[args.bvh.stem] = read_motion(*files)
    names = args.motions if args.motions or motions else DEFAULT_MOTIONS
    for name in (names or "").split(","):
        if name.strip():
            motions[name.strip()] = library_motion(name.strip())
    with ThreadPoolExecutor(2) as pool:
        # Motions one after another: each uses all cores. Writing waits for nobody.
        animator = Animator([Placed(read_character(args.drawing))], options)
        written = []
        for name, motion in motions.items():
            target = _target(args, name)
            body = animator.animate(motion).file.body
            written.append((target, pool.submit(target.write_bytes, body)))
        for target, done in written:
            done.result()
            yield target


def _target(args: argparse.Namespace, motion: str) -> Path:
    name: str = args.drawing.resolve().name if args.drawing.is_dir() else args.drawing.stem
    return Path(args.out / f"{name}_{motion}.{args.format}")


def read_character(folder: Path) -> Character:
    """A character from ``char_cfg.yaml``, ``mask.png`` and ``texture.png``.

    Raises:
        BadDrawing: a file is missing, unreadable or does not fit the others.
    """
    import cv2

    from gateway.drawings.character import from_config
    from gateway.drawings.motion_config import read_yaml

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


def read_motion(bvh: Path, motion: Path, retarget: Path) -> Motion:
    """A motion from a BVH file and AnimatedDrawings' two configurations for it.

    Raises:
        BadMotion, TooLarge: see ``parse_bvh`` and the configurations' ``parse``.
    """
    from gateway.drawings.bvh import parse_bvh
    from gateway.drawings.motion_config import MotionConfig, RetargetConfig, read_yaml
    from gateway.drawings.retarget import Motion

    try:
        texts = [path.read_text("utf-8") for path in (bvh, motion, retarget)]
    except UnicodeDecodeError as error:
        raise BadMotion("the BVH file or a configuration is not text") from error
    return Motion(
        parse_bvh(texts[0]),
        MotionConfig.parse(read_yaml(texts[1])),
        RetargetConfig.parse(read_yaml(texts[2])),
    )
