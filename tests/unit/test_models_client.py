"""The TorchServe clients' transport, against a small real server that plays TorchServe."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_server import FACE, NOBODY, READY, TOKEN_ERROR, Answer, Served, model_server

from gateway.errors import BadMedia, MasqueradeError, ModelFailed, ModelUnavailable, TooLarge
from gateway.models import FaceDetector
from gateway.settings import Settings
from handlers.runtime import read_images
from tests.servers import free_port

FAILED = {"code": 503, "type": "InternalServerException", "message": "Prediction failed"}
NO_WORKER = {
    **{"code": 503, "type": "ServiceUnavailableException"},
    "message": 'Model "face_detector" has no worker to serve inference request.',
}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with model_server(tmp_path) as served:
        yield served


def client(served: Served, **options: Any) -> FaceDetector:
    return FaceDetector(served.url, served.url, str(served.key_file), **options)


# Calls


def test_an_encoded_picture_goes_as_it_is_and_faces_come_back(served: Served) -> None:
    found = client(served).detect_encoded(b"a picture", 0.25)
    assert found.boxes.tolist() == [[1, 2, 3, 4]]
    assert found.scores.tolist() == pytest.approx([0.9])
    assert found.landmarks.shape == (1, 5, 2)
    (call,) = served.seen
    assert call["body"] == b"a picture"
    assert call["path"] == "/predictions/face_detector"
    assert float(call["headers"]["X-Threshold"]) == 0.25


@pytest.mark.parametrize("shape", [(2, 12, 8), (3, 6, 10, 3)])
def test_frames_arrive_as_the_handler_reads_them(served: Served, shape: tuple[int, ...]) -> None:
    frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    served.predict = lambda body: (200, {"images": [FACE, NOBODY, FACE][: shape[0]]})
    found = client(served).detect_frames(frames, 0.2)
    assert [len(f) for f in found] == [1, 0, 1][: shape[0]]
    images = list(read_images(served.seen[0]["body"]))
    assert len(images) == shape[0]
    if len(shape) == 4:
        assert np.array_equal(images, frames)


def test_a_view_of_frames_may_be_sent(served: Served) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (1, 6, 20, 3), dtype=np.uint8)
    client(served).detect_frames(frames[:, :, ::2], 0.2)
    (image,) = read_images(served.seen[0]["body"])
    assert np.array_equal(image, frames[0, :, ::2])


def test_one_client_serves_many_threads(served: Served) -> None:
    def echo(body: bytes) -> Answer:
        number = int(body)
        return 200, {"images": [{**FACE, "boxes": [[number, 0, number + 1, 1]]}]}

    served.predict = echo
    detector, wrong = client(served), []

    def ask(number: int) -> None:
        found = detector.detect_encoded(str(number).encode(), 0.2)
        if found.boxes[0, 0] != number:
            wrong.append(number)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(served.seen) == 24


def test_the_addresses_come_from_the_settings(served: Served) -> None:
    settings = Settings(torchserve_url=served.url, torchserve_management_url=served.url)
    detector = FaceDetector.from_settings(settings)
    assert detector.ready() is None
    assert len(detector.detect_encoded(b"x", 0.2)) == 1


# Keys


def test_each_call_carries_its_own_key(served: Served) -> None:
    served.new_keys("first")
    detector = client(served)
    assert detector.ready() is None
    assert len(detector.detect_encoded(b"x", 0.2)) == 1
    assert len(served.seen) == 1


def test_after_a_restart_the_new_keys_are_read(served: Served) -> None:
    served.new_keys("first")
    detector = client(served)
    detector.detect_encoded(b"x", 0.2)
    served.new_keys("second")
    assert len(detector.detect_encoded(b"x", 0.2)) == 1
    assert len(served.seen) == 3


def test_readiness_recovers_after_a_restart(served: Served) -> None:
    served.new_keys("first")
    detector = client(served)
    assert detector.ready() is None
    served.new_keys("second")
    # The first probe after it may fail; it must not go on failing.
    assert [detector.ready(), detector.ready()][-1] is None


@pytest.mark.parametrize("content", [None, "", "{", '{"inference": {"key": "x"}}', "{}"])
def test_without_a_usable_key_file_the_model_is_unavailable(
    served: Served, content: str | None
) -> None:
    served.new_keys("first")
    served.key_file.unlink()
    if content is not None:
        served.key_file.write_text(content)
    detector = client(served)
    with pytest.raises(ModelUnavailable):
        detector.detect_encoded(b"x", 0.2)
    assert detector.ready()
    served.new_keys("first")
    assert len(detector.detect_encoded(b"x", 0.2)) == 1


# Failures


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((400, {"code": 400, "message": "the .npy header is damaged"}), BadMedia),
        ((413, {"code": 413, "message": "Request entity too large"}), TooLarge),
        ((503, {"code": 503, "message": "Prediction failed"}), ModelUnavailable),
        ((507, {"code": 507, "message": "out of memory"}), ModelUnavailable),
        ((500, b""), ModelUnavailable),
        ((404, {"code": 404, "message": "Model not found"}), ModelUnavailable),
        ((401, b""), ModelUnavailable),
        ((302, b""), ModelUnavailable),
        ((200, b""), ModelUnavailable),
        ((200, b"<html>"), ModelUnavailable),
        ((200, b"\xff\xfe"), ModelUnavailable),
        ((200, []), ModelUnavailable),
        ((200, None), ModelUnavailable),
        ((200, {}), ModelUnavailable),
        ((200, {"images": None}), ModelUnavailable),
        ((200, {"images": [{}]}), ModelUnavailable),
        ((200, {"images": [{**FACE, "boxes": [[1, 2, 3]]}]}), ModelUnavailable),
        ((200, {"images": [{**FACE, "scores": ["high"]}]}), ModelUnavailable),
        ((200, {"images": [{**FACE, "landmarks": {"nose": 1}}]}), ModelUnavailable),
    ],
    ids=lambda v: str(v)[:60],
)
def test_what_the_server_answers_becomes_one_of_our_errors(
    served: Served, answer: Answer, error: type[MasqueradeError]
) -> None:
    served.predict = lambda body: answer
    with pytest.raises(error) as raised:
        client(served).detect_encoded(b"x", 0.2)
    assert "127.0.0.1" not in str(raised.value)
    served.predict = lambda body: (200, {"images": [FACE]})
    assert len(client(served).detect_encoded(b"x", 0.2)) == 1


def test_an_answer_for_no_picture_is_unreadable(served: Served) -> None:
    served.predict = lambda body: (200, {"images": []})
    with pytest.raises(ModelUnavailable):
        client(served).detect_encoded(b"x", 0.2)


def test_a_key_file_that_holds_a_list_is_no_key_file(served: Served) -> None:
    served.new_keys("first")
    served.key_file.write_text("[]")
    with pytest.raises(ModelUnavailable):
        client(served).detect_encoded(b"x", 0.2)


@pytest.mark.parametrize("answer", [5, None, [{"workers": 7}], [{"workers": [1]}]])
def test_readiness_survives_any_json(served: Served, answer: Any) -> None:
    served.describe = lambda: (200, answer)
    assert client(served).ready()


def test_a_server_that_hangs_is_given_up_in_time(served: Served) -> None:
    release = threading.Event()
    served.predict = lambda body: (release.wait(5), (200, {"images": []}))[1]
    begun = time.monotonic()
    with pytest.raises(ModelUnavailable):
        client(served, timeout=0.2).detect_encoded(b"x", 0.2)
    assert time.monotonic() - begun < 2
    release.set()


def test_nobody_there(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    detector = FaceDetector(url, url)
    with pytest.raises(ModelUnavailable) as raised:
        detector.detect_encoded(b"x", 0.2)
    assert raised.value.retry_after
    assert detector.ready() == "the model server does not answer"


def test_a_job_s_client_waits_for_the_model_to_come_back(served: Served) -> None:
    answers = iter([(503, {}), (200, {"images": [FACE]})])
    served.predict = lambda body: next(answers)
    assert len(client(served, patience=10).detect_encoded(b"x", 0.2)) == 1
    assert len(served.seen) == 2


def test_a_server_that_is_starting_is_not_waited_for(served: Served) -> None:
    """It takes calls before it has a worker, and keeps them waiting."""
    served.new_keys("before")
    model = client(served)
    served.predict = lambda body: (503, {"code": 503})
    with pytest.raises(ModelUnavailable, match="failed"):
        model.detect_encoded(b"picture", 0.2)
    asked = len(served.seen)
    served.describe = lambda: (200, [{"workers": [{"status": "WORKER_STARTED"}]}])
    with pytest.raises(ModelUnavailable, match="starting"):
        model.detect_encoded(b"picture", 0.2)
    assert len(served.seen) == asked
    served.new_keys("after")  # the restart is over
    served.describe, served.predict = lambda: (200, READY), lambda body: (200, {"images": [FACE]})
    assert len(model.detect_encoded(b"picture", 0.2)) == 1
    assert len(served.seen) == asked + 1


def test_patience_ends(served: Served) -> None:
    served.predict = lambda body: (503, {})
    with pytest.raises(ModelUnavailable):
        client(served, patience=0.5).detect_encoded(b"x", 0.2)
    assert 2 <= len(served.seen) <= 3


@pytest.mark.parametrize(
    ("answer", "failed"),
    [
        ((503, FAILED), True),
        ((500, {"code": 500, "type": "InternalServerException", "message": "Worker died."}), True),
        ((507, {"code": 507, "message": "out of memory"}), True),
        ((500, b""), True),
        ((200, {"images": [{}]}), True),
        ((503, NO_WORKER), False),
        ((503, b""), False),
        ((404, {"code": 404, "message": "Model not found"}), False),
        ((400, TOKEN_ERROR), False),
    ],
    ids=lambda v: str(v)[:60],
)
def test_a_model_that_fails_is_told_from_one_that_is_away(
    served: Served, answer: Answer, failed: bool
) -> None:
    served.predict = lambda body: answer
    with pytest.raises(ModelUnavailable) as raised:
        client(served).detect_encoded(b"x", 0.2)
    assert isinstance(raised.value, ModelFailed) == failed


def test_a_model_that_fails_is_asked_once_more(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.models.time.sleep", lambda _: None)
    answers = iter([(503, NO_WORKER), (503, FAILED), (200, {"images": [FACE]})])
    served.predict = lambda body: next(answers)
    assert len(client(served, patience=60).detect_encoded(b"x", 0.2)) == 1
    served.predict = lambda body: (503, FAILED)
    with pytest.raises(ModelFailed):
        client(served, patience=60).detect_encoded(b"x", 0.2)
    assert len(served.seen) == 5


def test_patience_is_not_spent_on_what_will_not_change(served: Served) -> None:
    served.predict = lambda body: (400, {"message": "no picture"})
    with pytest.raises(BadMedia):
        client(served, patience=10).detect_encoded(b"x", 0.2)
    assert len(served.seen) == 1


# Readiness


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((200, [{"workers": [{"status": "UNLOADING"}]}]), "UNLOADING"),
        ((200, [{"workers": []}]), "no model worker"),
        ((404, {"code": 404}), "404"),
        ((503, b""), "503"),
        ((200, b"hello"), "not answer"),
        ((200, {}), "not answer"),
        ((200, []), "not answer"),
        ((200, [{}]), "not answer"),
    ],
)
def test_readiness_says_what_is_wrong(served: Served, answer: Answer, says: str) -> None:
    served.describe = lambda: answer
    assert says in str(client(served).ready())


def test_one_worker_that_is_ready_is_enough(served: Served) -> None:
    states = [{"status": "UNLOADED"}, {"status": "READY"}]
    served.describe = lambda: (200, [{"workers": states}])
    assert client(served).ready() is None


def test_a_probe_does_not_hang(served: Served) -> None:
    release = threading.Event()
    served.describe = lambda: (release.wait(10), (200, READY))[1]
    begun = time.monotonic()
    assert client(served).ready()
    assert time.monotonic() - begun < 4
    release.set()
