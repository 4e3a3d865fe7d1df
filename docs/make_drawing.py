"""Draw the README's pictures of drawings: ``python -m docs.make_drawing [--port] [--peer]``.

Needs a running pod (``make up``): the drawing takes the real way through it. With ``--peer``,
a Python in which AnimatedDrawings is installed, its renderer animates the same character by the
same motion for the picture of both; that motion comes from ``--drawings``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import requests
import yaml
from PIL import Image

from deploy.local.pod import PORT, ROOT
from deploy.local.samples import drawing, write_drawing
from gateway.client import Client
from gateway.drawings.character import PARENTS
from loadtest.bench_animate import Case

HERE = Path(__file__).parent
HEIGHT = 300
SHOWN = 6  # frames side by side


def main() -> int:
    """Write ``docs/drawing.gif`` and, with a peer, ``docs/beside_animated_drawings.png``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--peer", type=Path)
    parser.add_argument("--drawings", type=Path, default=ROOT.parent / "shared" / "drawings")
    args = parser.parse_args()
    client = Client(f"http://127.0.0.1:{args.port}")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        photo = write_drawing(work / "drawing.jpg")
        _animation(client, photo, work).replace(HERE / "drawing.gif")
        if args.peer:
            _beside(client, photo, work, args.drawings, args.peer)
    return 0


def _animation(client: Client, photo: Path, work: Path) -> Path:
    """The photo, and beside it how it dances."""
    url = client.animate(photo, {"motions": "dance", "size": f"260x{HEIGHT}"})["dance"]
    with (work / "dance.gif").open("wb") as file:
        client.download(url, file)
    still = Image.fromarray(drawing(width=HEIGHT * 4 // 3))
    frames = []
    with Image.open(work / "dance.gif") as image:
        for index in range(0, image.n_frames, 2):
            image.seek(index)
            both = Image.new("RGB", (still.width + 8 + image.width, HEIGHT), "white")
            both.paste(still, (0, 0))
            both.paste(image.convert("RGB"), (still.width + 8, 0))
            frames.append(both.quantize(64, dither=Image.Dither.NONE))
    out = work / "drawing.gif"
    frames[0].save(out, save_all=True, append_images=frames[1:], duration=66, loop=0)
    return out


def _beside(client: Client, photo: Path, work: Path, drawings: Path, peer: Path) -> None:
    """Frames of the same motion, ours above, AnimatedDrawings' below."""
    _character(client, photo, work / "own" / "figure")
    (work / "own" / "animated_drawings").symlink_to(drawings / "animated_drawings")
    case = Case(work / "own", work, ("figure", "dab", "fair1_ppf"))
    case.ours()
    case.peer(peer)
    ours = next(work.glob("figure*.gif"))
    rows = [_frames(ours), _frames(work / "peer_figure_dab.gif")]
    cv2.imwrite(str(HERE / "beside_animated_drawings.png"), np.vstack(rows))


def _character(client: Client, photo: Path, folder: Path) -> None:
    """The rig that the pod finds, as a character of AnimatedDrawings."""
    folder.mkdir(parents=True)
    with photo.open("rb") as file:
        answer = requests.post(f"{client.url}/v1/rigs", files={"file": file}, timeout=60)
    figure = answer.json()["figures"][0]
    for name in ("texture", "mask"):
        picture = requests.get(figure[f"{name}_url"], timeout=60).content
        pixels = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_UNCHANGED)
        pixels = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        if name == "texture":
            pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2BGRA)
        cv2.imwrite(str(folder / f"{name}.png"), pixels)
    skeleton = [
        {"name": name, "parent": parent, "loc": [round(v / 2) for v in figure["joints"][name]]}
        for name, parent in PARENTS.items()
    ]
    height, width = pixels.shape[:2]
    config = {"height": height, "width": width, "skeleton": skeleton}
    (folder / "char_cfg.yaml").write_text(yaml.dump(config))


def _frames(path: Path) -> np.ndarray:
    """Some frames of a GIF side by side, cut to what moves in any of them."""
    with Image.open(path) as image:
        shown = []
        for index in np.linspace(0, image.n_frames - 1, SHOWN + 1).astype(int)[:-1]:
            image.seek(int(index))
            shown.append(np.asarray(image.convert("RGB"))[..., ::-1])
    stack = np.array(shown)
    used = np.argwhere((np.abs(stack.astype(int) - stack[0, 0, 0]) > 40).any(axis=(0, 3)))
    (top, left), (bottom, right) = used.min(axis=0), used.max(axis=0) + 1
    scale = HEIGHT / (bottom - top)
    size = (round((right - left) * scale), HEIGHT)
    cut = [cv2.resize(f[top:bottom, left:right], size) for f in shown]
    return np.hstack([cv2.resize(np.hstack(cut), (1320, 1320 * HEIGHT // (SHOWN * size[0])))])


if __name__ == "__main__":
    sys.exit(main())
