"""The command ``masquerade animate``: drawings and characters into animations.

A drawing is sent to a pod, whose model finds the figure. A character folder, as
AnimatedDrawings keeps it, has its skeleton already and is animated right here.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.choices import FIGURES, FORMATS
from gateway.cli.common import OK, add_parser, add_url, api_key, guarded
from gateway.errors import BadOption

if TYPE_CHECKING:
    from gateway.drawings.retarget import Motion

DEFAULT_MOTIONS = "dab"

_EXAMPLES = """\
examples:
  masquerade animate monster.jpg --motions dab,walk -o out/
  masquerade animate monster.jpg --motions cheer --format webp --background transparent
  masquerade animate characters/char1 --bvh dab.bvh --motion-config dab.yaml \\
      --retarget-config fair1_ppf.yaml
"""


def add_command(commands: Any) -> None:
    """Add the command to an argparse subparsers object; its namespace has ``run``."""
    parser = add_parser(
        commands,
        "animate",
        "make a drawn figure move",
        "Animate the figure of a drawing, or a character of AnimatedDrawings.",
        _EXAMPLES,
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
    add_url(parser)
    parser.set_defaults(run=lambda args: guarded(lambda: _run(args)))


def _run(args: argparse.Namespace) -> int:
    args.out.mkdir(parents=True, exist_ok=True)
    for target in _here(args) if args.drawing.is_dir() else _in_pod(args):
        print(target)
    return OK


def _in_pod(args: argparse.Namespace) -> Iterator[Path]:
    if args.bvh or args.motion_config or args.retarget_config:
        raise BadOption("motions of your own are for character folders")
    from gateway.client import Client

    client = Client(args.url, key=api_key(args))
    names = ("format", "background", "size", "figures")
    options = {"motions": args.motions or DEFAULT_MOTIONS, **{n: getattr(args, n) for n in names}}
    for name, url in client.animate(args.drawing, options).items():
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
    from gateway.pipelines.character_folder import read_character
    from gateway.pipelines.options import AnimateOptions
    from gateway.pipelines.own_motion import read_motion

    cv2.setNumThreads(1)  # the animator has threads of its own
    options = AnimateOptions.parse(
        {"format": args.format, "background": args.background, "size": args.size}
    )
    motions: dict[str, Motion] = {}
    files = (args.bvh, args.motion_config, args.retarget_config)
    if any(files):
        if not all(files):
            raise BadOption("--bvh, --motion-config and --retarget-config go together")
        motions[args.bvh.stem] = read_motion(*(file.read_bytes() for file in files))
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
