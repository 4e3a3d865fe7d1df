"""The TorchServe entry point: batches, thresholds, answers; and real faces of all sizes."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from faces_fakes import FACE_BOX, astronaut, network, network_file

from gateway.faces.boxes import iou
from handlers import centerface
from handlers.centerface import Faces, detect, tiles
from handlers.face_detector import DEFAULT_THRESHOLD, FaceDetector, as_json
from tests.unit.handler_context import Context

TRUTH = np.array([FACE_BOX], np.float32)


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    handler = FaceDetector()
    handler.initialize(Context(Path(network_file())))
    return handler


def jpeg(picture: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", picture)[1].tobytes()


def npy(frames: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, frames, version=(1, 0))
    return out.getvalue()


PORTRAIT = jpeg(astronaut())
BLANK = jpeg(np.full((64, 80, 3), 128, np.uint8))


def ask(detector: FaceDetector, *rows: dict[str, Any]) -> tuple[list[Any], Context]:
    context = Context(Path(network_file()))
    answers = detector.handle(list(rows), context)
    assert len(answers) == len(rows)
    json.dumps(answers)
    return answers, context


def test_a_photo_is_answered_with_its_face(detector: FaceDetector) -> None:
    (answer,), context = ask(detector, {"body": PORTRAIT})
    (image,) = answer["images"]
    assert (image["width"], image["height"]) == (512, 512)
    assert iou(TRUTH, np.float32(image["boxes"]))[0, 0] > 0.8
    assert len(image["scores"]) == 1
    assert np.shape(image["landmarks"]) == (1, 5, 2)
    assert context.statuses == {}


def test_a_bad_request_spoils_no_other_of_its_batch(detector: FaceDetector) -> None:
    frames = np.stack([astronaut()[:256, 96:352], np.zeros((256, 256, 3), np.uint8)])
    answers, context = ask(
        detector,
        {"body": PORTRAIT},
        {"body": b"not a picture"},
        {"data": bytearray(npy(frames))},
        {"body": PORTRAIT, "threshold": "2"},
        {},
        {"body": {"image": "parsed from JSON by TorchServe"}},
        {"body": "parsed as text by TorchServe"},
        {"body": BLANK},
    )
    assert context.statuses == dict.fromkeys((1, 3, 4, 5, 6), 400)
    for number in context.statuses:
        assert answers[number]["code"] == 400
        assert answers[number]["message"]
    good = [[len(i["scores"]) for i in answers[n]["images"]] for n in (0, 2, 7)]
    assert good == [[1], [1, 0], [0]]


def test_a_batch_of_nothing_but_bad_requests_is_answered(detector: FaceDetector) -> None:
    _, context = ask(detector, {"body": b""}, {"body": b"\x93NUMPY{("})
    assert context.statuses == {0: 400, 1: 400}


@pytest.mark.parametrize(
    ("threshold", "faces"),
    [("0.5", 1), (b"0.5", 1), (bytearray(b"0.99"), 0), (0.99, 0), ("  0.3 ", 1), ("1e-1", 1)],
)
def test_the_threshold_is_the_request_s(detector: FaceDetector, threshold: Any, faces: int) -> None:
    (answer,), context = ask(detector, {"body": PORTRAIT, "threshold": threshold})
    assert context.statuses == {}
    assert len(answer["images"][0]["scores"]) == faces


def test_the_threshold_comes_as_a_header_too(detector: FaceDetector) -> None:
    context = Context(Path(network_file()))
    context.headers = {1: {"X-Threshold": "0.99"}}
    first, second = detector.handle([{"body": PORTRAIT}, {"body": PORTRAIT}], context)
    assert [len(answer["images"][0]["scores"]) for answer in (first, second)] == [1, 0]


@pytest.mark.parametrize(
    "threshold", ["", "x", "0", "1", "-0.2", "nan", "inf", b"\xff", "0.5,0.6", None, [0.5], {}]
)
def test_a_wrong_threshold_is_refused(detector: FaceDetector, threshold: Any) -> None:
    (answer,), context = ask(detector, {"body": PORTRAIT, "threshold": threshold})
    assert context.statuses == {0: 400}
    assert "threshold" in answer["message"]


def test_thresholds_of_a_batch_do_not_mix(detector: FaceDetector) -> None:
    answers, _ = ask(
        detector,
        {"body": PORTRAIT, "threshold": "0.99"},
        {"body": PORTRAIT, "threshold": "0.3"},
        {"body": PORTRAIT},
    )
    assert [len(a["images"][0]["scores"]) for a in answers] == [0, 1, 1]


def test_numbers_are_plain_and_short() -> None:
    faces = Faces(
        np.float32([[1.23456, 2, 3, 4]]),
        np.float32([0.123456]),
        np.full((1, 5, 2), 1 / 3, np.float32),
    )
    answer = as_json(faces, np.zeros((7, 9, 3), np.uint8))
    assert json.dumps(answer["boxes"]) == "[[1.2, 2.0, 3.0, 4.0]]"
    assert answer["scores"] == [0.1235]
    assert json.loads(json.dumps(answer))["landmarks"][0][0] == [0.3, 0.3]


def test_a_gpu_wanted_but_absent_fails_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_DEVICE", "gpu")
    with pytest.raises(RuntimeError, match="GPU"):
        FaceDetector().initialize(Context(Path(network_file())))


# Real faces


def faces_in(picture: np.ndarray, threshold: float = DEFAULT_THRESHOLD) -> Faces:
    return detect(network(), [np.ascontiguousarray(picture)], [threshold])[0]


def landmarks_are_inside(faces: Faces, index: int = 0) -> bool:
    x1, y1, x2, y2 = faces.boxes[index]
    points = faces.landmarks[index]
    left_eye, right_eye, nose, left_mouth, right_mouth = points
    return bool(
        (points > [x1, y1]).all()
        and (points < [x2, y2]).all()
        and left_eye[0] < right_eye[0]
        and left_mouth[0] < right_mouth[0]
        and max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
    )


@pytest.mark.parametrize("factor", [0.18, 0.25, 0.5, 1.0, 2.0, 3.0])
def test_the_astronaut_has_one_face_at_any_size(factor: float) -> None:
    """From a face of 20 pixels to one of 360."""
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    picture = cv2.resize(astronaut(), None, fx=factor, fy=factor, interpolation=method)
    faces = faces_in(picture)
    assert len(faces.scores) == 1
    assert iou(TRUTH * factor, faces.boxes)[0, 0] > 0.6
    assert landmarks_are_inside(faces)


def test_a_face_of_more_than_a_thousand_pixels_is_found_whole() -> None:
    """Ten times as large: the network sees such a face only at a coarser level."""
    picture = cv2.resize(astronaut()[:256], (5120, 2560), interpolation=cv2.INTER_CUBIC)
    faces = faces_in(picture)
    assert len(faces.scores) == 1
    assert iou(TRUTH * 10, faces.boxes)[0, 0] > 0.6
    assert landmarks_are_inside(faces)


def test_a_picture_without_faces_has_none() -> None:
    assert len(faces_in(astronaut()[300:, :300]).scores) == 0


@pytest.mark.parametrize("shift", [(0, 0), (40, 30), (80, 60), (120, 90), (160, 0)])
def test_a_face_split_by_tiles_is_one_face(
    shift: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(centerface, "MAX_TILE_PIXELS", 200_000)
    monkeypatch.setattr(centerface, "SMALL_SIDE", 1000)
    x, y = 150 + shift[0], 90 + shift[1]
    picture = np.full((720, 1000, 3), 100, np.uint8)
    small = cv2.resize(astronaut(), (307, 307), interpolation=cv2.INTER_AREA)
    picture[y : y + 307, x : x + 307] = small
    assert len(list(tiles(0, picture, 1))) >= 4
    faces = faces_in(picture)
    assert len(faces.scores) == 1
    assert iou(TRUTH * 0.6 + np.float32([x, y, x, y]), faces.boxes)[0, 0] > 0.6
    assert landmarks_are_inside(faces)


def test_a_face_cut_by_the_picture_s_edge_keeps_its_box_inside() -> None:
    faces = faces_in(astronaut()[:, 215:])
    assert len(faces.scores) == 1
    assert faces.boxes[0, 0] == pytest.approx(0, abs=6)
    assert (faces.boxes >= 0).all()


def test_frames_of_the_gateway_are_read_like_photos(detector: FaceDetector) -> None:
    """I420 as videos come, against the same picture encoded."""
    planar = cv2.cvtColor(astronaut(), cv2.COLOR_BGR2YUV_I420)[None]
    (photo, frame), _ = ask(detector, {"body": PORTRAIT}, {"body": npy(planar)})
    a, b = (np.float32(answer["images"][0]["boxes"]) for answer in (photo, frame))
    assert iou(a, b)[0, 0] > 0.9


def test_a_call_is_logged_and_counted(detector: FaceDetector, capsys, caplog) -> None:
    caplog.set_level("INFO")
    context = Context(Path(network_file()))
    context.headers = {0: {"X-Request-Id": "one-1"}, 2: {"X-Request-Id": "two-2"}}
    detector.handle([{"body": PORTRAIT}, {"body": b"no image"}, {"body": PORTRAIT}], context)
    (log,) = capsys.readouterr().out.splitlines()
    counted = [message for message in caplog.messages if message.startswith("[METRICS]")]
    line = json.loads(log)
    assert log.startswith('{"logger": ')  # which serving/log4j2.xml relies on
    assert (line["request_id"], line["images"]) == ("one-1,two-2", 2)
    assert line["ms"] > 0
    names = ("masquerade_model_seconds", "masquerade_model_requests", "masquerade_model_images")
    for name, row in zip(names, counted, strict=True):
        assert row.startswith(f"[METRICS]{name}.")
        assert "#type:HISTOGRAM" in row
    assert "requests.Count:3|" in counted[1]
    assert "images.Count:2|" in counted[2]
