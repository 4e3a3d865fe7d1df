"""The rigger's entry points, with the real network, on drawings it never saw."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from handlers.drawn_humanoid_detector import DrawnHumanoidDetector
from handlers.drawn_humanoid_pose_estimator import COCO, DrawnHumanoidPoseEstimator
from handlers.rigger import Rigger
from model_store.build import STORE
from tests.unit.handler_context import Context

INK = (60, 45, 40)


def loaded(handler: Rigger) -> Any:
    handler.initialize(Context(STORE / "rigger" / "rigger.onnx"))
    return handler


@pytest.fixture(scope="module")
def rigger() -> Rigger:
    return loaded(Rigger())


def page(width: int = 640, height: int = 800) -> np.ndarray:
    return np.full((height, width, 3), (228, 234, 238), np.uint8)


JOINTS = {
    "neck": (0, -150), "right_shoulder": (-45, -60), "right_elbow": (-95, -80),
    "right_hand": (-145, -105), "left_shoulder": (45, -60), "left_elbow": (95, -80),
    "left_hand": (145, -105), "right_hip": (-25, 80), "right_knee": (-35, 150),
    "right_foot": (-45, 220), "left_hip": (25, 80), "left_knee": (35, 150),
    "left_foot": (45, 220),
}  # fmt: skip


def draw_person(image: np.ndarray, x: int, y: int, scale: float = 1.0) -> np.ndarray:
    """A drawn person around (x, y), 440 pixels high at scale 1; answers its mask."""
    mask = np.zeros(image.shape[:2], np.uint8)

    def at(px: float, py: float) -> tuple[int, int]:
        return round(x + px * scale), round(y + py * scale)

    thick = max(2, round(5 * scale))
    for canvas, colour, extra in ((image, INK, 0), (mask, 255, 2)):
        fills = (thick + extra,) if canvas is image else (thick + extra, -1)
        for fill in fills:
            cv2.circle(canvas, at(0, -150), round(58 * scale), colour, fill, cv2.LINE_AA)
            body = (round(50 * scale), round(90 * scale))
            cv2.ellipse(canvas, at(0, 0), body, 0, 0, 360, colour, fill, cv2.LINE_AA)
        for side in ("right", "left"):
            for limb in (("shoulder", "elbow", "hand"), ("hip", "knee", "foot")):
                line = np.array([at(*JOINTS[f"{side}_{part}"]) for part in limb])
                cv2.polylines(canvas, [line], False, colour, thick + extra, cv2.LINE_AA)
    for eye in (-20, 20):
        cv2.circle(image, at(eye, -165), round(6 * scale), INK, -1, cv2.LINE_AA)
    cv2.ellipse(image, at(0, -140), (round(25 * scale), round(15 * scale)), 0, 10, 170, INK, thick)
    return mask > 127


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def ask(handler: Rigger, *rows: dict[str, Any]) -> tuple[list[Any], Context]:
    context = Context(STORE / "rigger" / "rigger.onnx")
    answers = handler.handle(list(rows), context)
    assert len(answers) == len(rows)
    json.dumps(answers)
    return answers, context


def figures(rigger: Rigger, image: np.ndarray) -> list[dict[str, Any]]:
    (answer,), _ = ask(rigger, {"body": png(image)})
    (entry,) = answer["images"]
    assert (entry["width"], entry["height"]) == (image.shape[1], image.shape[0])
    return entry["figures"]


def full_mask(figure: dict[str, Any], shape: tuple[int, ...]) -> np.ndarray:
    data = np.frombuffer(base64.b64decode(figure["mask"]["png"]), np.uint8)
    patch = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    x1, y1, x2, y2 = figure["mask"]["box"]
    assert patch.dtype == np.uint8
    assert patch.shape == (y2 - y1, x2 - x1)
    assert set(np.unique(patch)) <= {0, 255}
    full = np.zeros(shape[:2], bool)
    full[y1:y2, x1:x2] = patch > 0
    return full


def test_a_drawn_person_is_found_with_joints_and_mask(rigger: Rigger) -> None:
    image = page()
    mask = draw_person(image, 300, 400)
    (figure,) = figures(rigger, image)
    assert figure["score"] > 0.5
    assert len(figure["joints"]) == 16
    off = [
        np.hypot(figure["joints"][n][0] - 300 - x, figure["joints"][n][1] - 400 - y)
        for n, (x, y) in JOINTS.items()
    ]
    assert np.mean(np.array(off) < 44) >= 0.9
    found = full_mask(figure, image.shape)
    assert (found & mask).sum() / (found | mask).sum() > 0.85
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    assert figure["box"] == pytest.approx([x, y, x + w, y + h], abs=12)


@pytest.mark.parametrize("margin", [0, 3, 40])
def test_a_figure_that_fills_its_picture_is_found(rigger: Rigger, margin: int) -> None:
    image = page()
    mask = draw_person(image, 300, 400)
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    cut = np.s_[y - margin : y + h + margin, x - margin : x + w + margin]
    (figure,) = figures(rigger, np.ascontiguousarray(image[cut]))
    found = full_mask(figure, image[cut].shape)
    assert (found & mask[cut]).sum() / (found | mask[cut]).sum() > 0.85
    corner = np.array([300, 400]) - (x - margin, y - margin)
    off = [np.hypot(*(np.add(JOINTS[n], corner) - figure["joints"][n][:2])) for n in JOINTS]
    assert np.mean(np.array(off) < 44) >= 0.9


def test_two_people_are_two_figures(rigger: Rigger) -> None:
    image = page(900, 700)
    for x in (220, 680):
        draw_person(image, x, 340)
    found = figures(rigger, image)
    assert sorted(round(f["joints"]["root"][0], -2) for f in found) == [200, 700]


@pytest.mark.parametrize("kind", ["blank", "ruled", "house"])
def test_a_page_without_a_figure_has_none(rigger: Rigger, kind: str) -> None:
    image = page()
    if kind == "ruled":
        for y in range(30, 800, 40):
            cv2.line(image, (0, y), (640, y), (200, 170, 140), 2)
    elif kind == "house":
        cv2.rectangle(image, (180, 380), (460, 640), INK, 5)
        cv2.polylines(image, [np.array([(160, 380), (320, 240), (480, 380)])], True, INK, 5)
        cv2.rectangle(image, (290, 520), (350, 640), INK, 4)
    assert figures(rigger, image) == []


def test_a_large_photo_is_answered_in_its_own_pixels(rigger: Rigger) -> None:
    image = page(3000, 4000)
    draw_person(image, 1500, 2000, 6.0)
    data = cv2.imencode(".jpg", image)[1].tobytes()
    (answer,), _ = ask(rigger, {"body": data})
    (entry,) = answer["images"]
    assert (entry["width"], entry["height"]) == (3000, 4000)
    (figure,) = entry["figures"]
    assert figure["joints"]["neck"][:2] == pytest.approx([1500, 1100], abs=250)
    assert full_mask(figure, image.shape)[2000, 1500]


def test_a_bad_request_spoils_no_other_of_its_batch(rigger: Rigger) -> None:
    image = page(320, 400)
    draw_person(image, 150, 200, 0.7)
    answers, context = ask(rigger, {"body": b"no image"}, {"data": png(image)}, {"body": {"a": 1}})
    assert context.statuses == {0: 400, 2: 400}
    assert answers[0]["code"] == 400
    assert len(answers[1]["images"][0]["figures"]) == 1


def test_frames_are_answered_one_by_one(rigger: Rigger) -> None:
    frames = np.stack([page(320, 400), page(320, 400)])
    draw_person(frames[1], 150, 200, 0.7)
    out = io.BytesIO()
    np.lib.format.write_array(out, frames, version=(1, 0))
    (answer,), _ = ask(rigger, {"body": out.getvalue()})
    assert [len(entry["figures"]) for entry in answer["images"]] == [0, 1]


def test_tiny_and_odd_images_are_answered(rigger: Rigger) -> None:
    for shape in ((1, 1, 3), (2, 900, 3), (700, 3, 3), (33, 31, 3)):
        assert figures(rigger, np.full(shape, 200, np.uint8)) == []


# AnimatedDrawings' protocol


def test_the_detector_answers_boxes_best_first() -> None:
    image = page()
    draw_person(image, 300, 400)
    (answer,), _ = ask(loaded(DrawnHumanoidDetector()), {"data": png(image)})
    assert [set(found) for found in answer] == [{"class_name", "bbox", "score"}]
    assert answer[0]["bbox"] == pytest.approx([152, 190, 448, 622], abs=25)


def test_the_detector_answers_an_empty_list_for_an_empty_page() -> None:
    assert ask(loaded(DrawnHumanoidDetector()), {"data": png(page())})[0] == [[]]


def test_the_pose_estimator_answers_cocos_keypoints_of_a_crop() -> None:
    image = page()
    mask = draw_person(image, 300, 400)
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    crop = np.ascontiguousarray(image[y : y + h, x : x + w])
    (answer,), _ = ask(loaded(DrawnHumanoidPoseEstimator()), {"data": png(crop)})
    (pose,) = answer
    assert pose["bbox"] == [0, 0, w, h]
    assert len(pose["keypoints"]) == len(COCO) == 17
    assert all(len(row) == 3 for row in pose["keypoints"])
    named = dict(zip(COCO, pose["keypoints"], strict=True))
    for coco, ours in {
        "nose": "neck",
        "left_wrist": "left_hand",
        "right_ankle": "right_foot",
    }.items():
        expected = np.add(JOINTS[ours], (300 - x, 400 - y))
        assert np.hypot(*(np.array(named[coco][:2]) - expected)) < 44
    assert named["left_eye"][0] > named["right_eye"][0]


@pytest.mark.parametrize(
    "name", ["rigger", "drawn_humanoid_detector", "drawn_humanoid_pose_estimator"]
)
def test_an_archive_holds_all_that_its_handler_imports(name: str, tmp_path: Path) -> None:
    import zipfile

    from model_store.build import build

    archive = build(STORE / name / "model.toml", tmp_path)
    with zipfile.ZipFile(archive) as built:
        files = set(built.namelist())
    assert "rigger.onnx" in files
    modules = {f.removesuffix(".py") for f in files if f.endswith(".py")}
    for module in modules:
        text = (STORE.parent / "handlers" / f"{module}.py").read_text()
        head = text.partition("except ModuleNotFoundError")[0]
        wanted = {line.split()[1] for line in head.splitlines() if line.startswith("    from ")}
        theirs = {module for module in wanted if module.startswith("ts.")}  # TorchServe's own
        assert wanted - theirs <= modules
