"""How well the rigger finds drawn figures: ``python -m loadtest.bench_rig --drawings FOLDER``.

Each folder of ``FOLDER`` holds a drawing in AnimatedDrawings' form (``texture.png``,
``mask.png``, ``char_cfg.yaml``). Every one is looked at clean and recomposited: rotated,
small, on ruled paper, in a hard shadow, beside other things. Without drawings, made-up
ones that training never saw are measured, and pages without any figure.

PCK@x: share of joints within x of the longer side of the figure's box. Pixels throughout.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import yaml

from handlers.rig_figures import Figure, rig
from handlers.rig_look import ANSWERED
from handlers.rig_photo import Photo, read_photos
from handlers.runtime import Network, load_network
from loadtest.tables import Cell, Table
from model_store.rigger.objects import draw_object
from model_store.rigger.photo import print_ink
from model_store.rigger.scene import Scene, make_scene
from model_store.rigger.sheet import Sheet

Image = npt.NDArray[np.uint8]
WEIGHTS = Path(__file__).resolve().parent.parent / "model_store" / "rigger" / "rigger.onnx"
PAGE = (1200, 900)
SEED = 7_000_000  # far from any that training starts from


@dataclass(frozen=True)
class Case:
    """A picture and what is in it: joints by name (empty: not known), mask (H, W) bool."""

    image: Image
    joints: dict[str, tuple[float, float]]
    mask: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Drawing:
    """A drawing in AnimatedDrawings' form: darkness of its ink (H, W, 3), 0…1, mask, joints."""

    name: str
    ink: npt.NDArray[np.float32]
    mask: npt.NDArray[np.uint8]
    texture: Image
    joints: dict[str, tuple[float, float]]


def load(folder: Path) -> Drawing:
    """Read a drawing; ink is what is darker than the paper around it, near the figure."""
    texture = np.asarray(cv2.imread(str(folder / "texture.png"), cv2.IMREAD_COLOR), np.uint8)
    mask = np.asarray(cv2.imread(str(folder / "mask.png"), cv2.IMREAD_GRAYSCALE), np.uint8)
    side = max(mask.shape) // 6 | 1
    ground = cv2.medianBlur(cv2.morphologyEx(texture, cv2.MORPH_CLOSE, np.ones((side, side))), 31)
    ink = np.clip(texture.astype(np.float32) / np.maximum(ground, 1) * 1.04, 0, 1)
    near = cv2.dilate(mask, np.ones((5, 5), np.uint8)) > 0
    ink[~near] = 1.0
    config = yaml.safe_load((folder / "char_cfg.yaml").read_text())
    found = {
        bone["name"]: (float(bone["loc"][0]), float(bone["loc"][1])) for bone in config["skeleton"]
    }
    joints = found if set(ANSWERED) <= set(found) else {}
    return Drawing(folder.name, ink, mask, texture, joints)


def cut(drawing: Drawing, _rng: np.random.Generator) -> Case:
    """The drawing's own picture, which is cut out along the figure."""
    return Case(drawing.texture, drawing.joints, drawing.mask > 127)


def clean(drawing: Drawing, _rng: np.random.Generator) -> Case:
    """The drawing's own picture, with some of its paper around."""
    pad = max(drawing.mask.shape) // 5
    sides = (pad, pad, pad, pad)
    image = cv2.copyMakeBorder(drawing.texture, *sides, cv2.BORDER_REPLICATE)
    # What is replicated are strokes too: only paper may go on beyond the cut.
    ground = cv2.copyMakeBorder(drawing.mask, *sides, cv2.BORDER_CONSTANT, value=0)
    outside = np.ones(image.shape[:2], bool)
    outside[pad:-pad, pad:-pad] = False
    corners = [drawing.texture[y, x] for y in (2, -3) for x in (2, -3)]
    image[outside] = np.median(np.stack(corners), 0).astype(np.uint8)
    joints = {name: (x + pad, y + pad) for name, (x, y) in drawing.joints.items()}
    return Case(np.asarray(image, np.uint8), joints, ground > 127)


def composed(
    turn: float = 0.0,
    share: float = 0.75,
    ruled: bool = False,
    shadow: bool = False,
    others: int = 0,
) -> Callable[[Drawing, np.random.Generator], Case]:
    """A recipe: the drawing's ink on another page."""

    def make(drawing: Drawing, rng: np.random.Generator) -> Case:
        height, width = PAGE
        h, w = drawing.mask.shape
        scale = share * min(height / h, width / w)
        at = np.array([width, height]) * (0.5 if others == 0 else 0.36, 0.5)
        matrix = cv2.getRotationMatrix2D((w / 2, h / 2), turn, scale)
        matrix[:, 2] += at - (w / 2, h / 2)
        page: Image = np.full((height, width, 3), (226, 232, 235), np.uint8)
        if ruled:
            for y in range(40, height, 44):
                cv2.line(page, (0, y), (width, y), (205, 170, 140), 2, cv2.LINE_AA)
        mask = cv2.warpAffine(drawing.mask, matrix, (width, height))
        sheet = Sheet(rng, height, width)
        for number in range(others):
            size = rng.uniform(0.2, 0.3) * width
            place = np.array([width - size * 0.62, height * (number + 0.6) / (others + 0.2)])
            draw_object(sheet, place, size)
        sheet.alpha[cv2.dilate(mask, np.ones((15, 15), np.uint8)) > 0] = 0
        page = print_ink(rng, page, sheet)
        ink = cv2.warpAffine(drawing.ink, matrix, (width, height), borderValue=(1.0, 1.0, 1.0))
        image = page * ink
        if shadow:
            edge = rng.uniform(0.3, 0.7, 2) * width
            area = np.array([(0, 0), (edge[0], 0), (edge[1], height), (0, height)], np.int32)
            light = np.ones((height, width), np.float32)
            cv2.fillPoly(light, [area], 0.62)
            image *= cv2.GaussianBlur(light, (0, 0), 3)[..., None]
        points = {k: tuple(matrix @ (x, y, 1.0)) for k, (x, y) in drawing.joints.items()}
        return Case(image.astype(np.uint8), points, mask > 127)

    return make


RECIPES: dict[str, Callable[[Drawing, np.random.Generator], Case]] = {
    "cut out": cut,
    "clean": clean,
    "on a page": composed(),
    "turned +15°": composed(turn=15),
    "turned −15°": composed(turn=-15),
    "small": composed(share=0.35),
    "ruled paper": composed(ruled=True),
    "hard shadow": composed(shadow=True),
    "beside others": composed(share=0.6, others=3),
    "all of it": composed(turn=-10, share=0.55, ruled=True, shadow=True, others=3),
}


@dataclass
class Marks:
    """What one case scored; None where the reference says nothing."""

    found: bool
    near: float | None
    wide: float | None
    box: float
    mask: float


def judge(case: Case, figures: list[Figure]) -> Marks:
    """Compare the best figure with the reference."""
    x, y, w, h = cv2.boundingRect(case.mask.astype(np.uint8))
    truth = (float(x), float(y), float(x + w), float(y + h))
    known = 0.0 if case.joints else None
    best = max(figures, key=lambda f: iou(f.box, truth), default=None)
    if best is None or iou(best.box, truth) < 0.3:
        return Marks(False, known, known, 0.0, 0.0)
    full = np.zeros_like(case.mask)
    x1, y1, x2, y2 = best.mask_box
    full[y1:y2, x1:x2] = best.mask > 127
    common = float((full & case.mask).sum() / max(1, (full | case.mask).sum()))
    near = wide = None
    if case.joints:
        names = [name for name in best.joints if name in case.joints]
        off = np.array([np.hypot(*np.subtract(best.joints[n][:2], case.joints[n])) for n in names])
        near, wide = (float((off < share * max(w, h)).mean()) for share in (0.05, 0.1))
    return Marks(True, near, wide, iou(best.box, truth), common)


def iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Intersection over union of two boxes."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0.0) * max(height, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / max(union, 1e-9)


def mean(values: list[float | None]) -> float | None:
    """Their mean, without the unknown ones."""
    known = [v for v in values if v is not None]
    return round(float(np.mean(known)), 3) if known else None


def row(name: str, marks: list[Marks]) -> list[Cell]:
    """One line of the table."""
    return [
        name, f"{sum(m.found for m in marks)} of {len(marks)}", mean([m.near for m in marks]),
        mean([m.wide for m in marks]), mean([m.box for m in marks]), mean([m.mask for m in marks]),
    ]  # fmt: skip


def real(network: Network, folder: Path, show: Path | None) -> list[list[Cell]]:
    """Rows for the drawings of a folder, by recipe and by drawing."""
    drawings = [load(path.parent) for path in sorted(folder.glob("*/char_cfg.yaml"))]
    rows, own = [], {drawing.name: [] for drawing in drawings}  # type: ignore[var-annotated]
    for name, recipe in RECIPES.items():
        marks = []
        for number, drawing in enumerate(drawings):
            case = recipe(drawing, np.random.default_rng(SEED + number))
            figures = rig(network, [photo(case.image)])[0]
            marks.append(judge(case, figures))
            own[drawing.name].append(marks[-1])
            if show:
                picture(case.image, figures, show / f"{drawing.name} {name}.png")
        rows.append(row(name, marks))
    return rows + [row(name, marks) for name, marks in own.items()]


def made_up(count: int) -> Iterator[Scene]:
    """Scenes that training does not see."""
    for number in range(count):
        yield make_scene(np.random.default_rng([SEED, number]))


def synthetic(network: Network, count: int, show: Path | None) -> list[list[Cell]]:
    """Rows for made-up pages: those with figures, and how often one is seen on those without."""
    marks, false, empty = [], 0, 0
    for number, scene in enumerate(made_up(count)):
        figures = rig(network, [photo(scene.image)])[0]
        if show:
            picture(scene.image, figures, show / f"made up {number}.png")
        if not scene.figures:
            empty += 1
            false += bool(figures)
        for figure in scene.figures:
            joints = {name: tuple(xy) for name, xy in zip(ANSWERED, figure.joints, strict=True)}
            marks.append(judge(Case(scene.image, joints, figure.mask > 127), figures))
    return [row("made up", marks), ["no figure", f"{false} of {empty}", None, None, None, None]]


def photo(image: Image) -> Photo:
    """An image as the handler sees it."""
    return Photo(image, image.shape[1], image.shape[0])


def picture(image: Image, figures: list[Figure], path: Path) -> None:
    """Draw what was found."""
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas = image.copy()
    thick = max(1, max(image.shape) // 400)
    for figure in figures:
        x1, y1, _, _ = figure.mask_box
        outlines, _ = cv2.findContours(
            figure.mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE, offset=(x1, y1)
        )
        cv2.drawContours(canvas, outlines, -1, (0, 200, 0), thick)
        for name, (x, y, _) in figure.joints.items():
            colour = (0, 0, 255) if "right" in name else (255, 0, 0)
            cv2.circle(canvas, (round(x), round(y)), 3 * thick, colour, -1)
        cv2.putText(canvas, f"{figure.score:.2f}", (x1, y1 + 20), 0, 0.7, (200, 0, 200), 2)
    cv2.imwrite(str(path), canvas)


def speed(network: Network) -> Any:
    """Milliseconds for a 12 MP photo of a page, as JPEG bytes, median of 7."""
    scene = next(s for s in made_up(50) if len(s.figures) == 1)
    large = cv2.resize(scene.image, (4000, 3000), interpolation=cv2.INTER_CUBIC)
    data = cv2.imencode(".jpg", large, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
    taken = []
    for _ in range(7):
        start = time.perf_counter()
        rig(network, list(read_photos(data)))
        taken.append(time.perf_counter() - start)
    return round(float(np.median(taken)) * 1000)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--drawings", type=Path)
    parser.add_argument("--made-up", type=int, default=150)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--show", type=Path, help="folder for pictures of what was found")
    args = parser.parse_args()
    network = load_network(str(args.weights), None, "cpu")
    rows = real(network, args.drawings, args.show) if args.drawings else []
    rows += synthetic(network, args.made_up, args.show) if args.made_up else []
    note = f"12 MP photo, JPEG, decoded and rigged: {speed(network)} ms."
    columns = ["drawings", "found", "PCK@0.05", "PCK@0.1", "box IoU", "mask IoU"]
    print(Table("Rigger", columns, rows, note).markdown())
    print(note)


if __name__ == "__main__":
    main()
