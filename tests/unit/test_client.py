"""The HTTP client against the stand-in pod: real sockets, no models."""

import io
import socket
import time
from email.utils import formatdate

import numpy as np
import pytest
import requests
from page_standin import standin
from PIL import Image

import gateway.client
from gateway.client import Client, Job, Result
from gateway.errors import BadMedia, Busy, MasqueradeError, NotFound, PodUnreachable, TooLarge


@pytest.fixture
def pod():
    with standin() as state:
        yield state


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.jpg"
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(path)
    return path


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(bytes(range(256)) * 20)
    return path


def test_a_photo_comes_back_finished(pod, photo):
    result = Client(pod.url).blur(photo, {"style": "solid", "scale": "1.5"})
    assert isinstance(result, Result)
    assert (result.kind, result.faces, result.frames) == ("image", 1, 1)
    assert (result.width, result.height, result.content_type) == (60, 40, "image/jpeg")
    post = {"name": "photo.jpg", "bytes": photo.stat().st_size, "style": "solid", "scale": "1.5"}
    assert pod.posts == [post]


def test_a_video_is_watched_to_its_end(pod, clip):
    client = Client(pod.url)
    job = client.blur(clip, {})
    assert isinstance(job, Job)
    assert not job.finished
    views = list(client.watch(job.id))
    fractions = [view.fraction for view in views]
    assert fractions == sorted(fractions)
    assert len(views) > 2
    assert views[-1].status == "done"
    assert views[-1].result.faces == 2
    out = io.BytesIO(b"older and longer than what comes" * 1000)
    client.download(views[-1].result.url, out)
    assert out.getvalue() == clip.read_bytes()


def test_a_cut_event_stream_is_taken_up_again(pod, clip):
    pod.cut_streams = 2
    pauses = []
    client = Client(pod.url, pause=pauses.append)
    job = client.blur(clip, {})
    *_, last = client.watch(job.id)
    assert last.status == "done"
    assert pauses.count(1.0) == 2


def test_a_failed_job_carries_its_error(pod, clip):
    client = Client(pod.url)
    job = client.blur(clip.rename(clip.with_name("lost.mp4")), {})
    *_, last = client.watch(job.id)
    assert isinstance(last.error, BadMedia)
    assert "frame 20" in str(last.error)


def test_a_large_file_goes_straight_to_the_store_in_pieces(pod, clip, monkeypatch):
    monkeypatch.setattr(gateway.client, "DIRECT_LIMIT", 1000)
    monkeypatch.setattr(gateway.client, "MIB", 2048)
    sent = []
    job = Client(pod.url).blur(clip, {}, sent=lambda done, total: sent.append((done, total)))
    assert isinstance(job, Job)
    assert sent == [(2048, 5120), (4096, 5120), (5120, 5120)]
    assert len(pod.puts) == 1
    assert pod.posts[0]["bytes"] == 5120


def test_a_file_over_the_pods_limit_is_not_sent(pod, clip, monkeypatch):
    monkeypatch.setattr(gateway.client, "DIRECT_LIMIT", 1000)
    pod.max_bytes = 4000
    with pytest.raises(TooLarge):
        Client(pod.url).blur(clip, {})
    assert pod.puts == []


def test_a_busy_pod_is_asked_again_after_the_time_it_names(pod, photo):
    pauses = []
    photo = photo.rename(photo.with_name("busy.jpg"))
    assert isinstance(Client(pod.url, pause=pauses.append).blur(photo, {}), Result)
    assert pauses == [1.0]


def test_patience_has_an_end(pod, photo):
    pod.busy_left = 1000
    pauses = []
    client = Client(pod.url, patience=3.0, pause=pauses.append)
    with pytest.raises(Busy):
        client.blur(photo.rename(photo.with_name("busy.jpg")), {})
    assert pauses == [1.0, 1.0, 1.0]


def test_problems_come_back_as_the_errors_they_were(pod, photo):
    with pytest.raises(BadMedia, match="breaks off"):
        Client(pod.url).blur(photo.rename(photo.with_name("broken.jpg")), {})
    with pytest.raises(NotFound):
        Client(pod.url).job("nothing")
    assert Client(pod.url).delete("nothing") is False


def test_an_expired_link_says_who_refused(pod):
    with pytest.raises(MasqueradeError, match=f"{pod.s3} answered 403"):
        Client(pod.url).download(f"{pod.s3}/gone?X-Amz-Signature=1", io.BytesIO())


def test_a_cut_download_starts_over_and_then_gives_up(pod, photo):
    client = Client(pod.url, pause=lambda _: None)
    result = client.blur(photo, {})
    whole = io.BytesIO()
    client.download(result.url, whole)
    pod.cut_downloads = 1
    again = io.BytesIO()
    client.download(result.url, again)
    assert again.getvalue() == whole.getvalue()
    pod.cut_downloads = 3
    with pytest.raises(MasqueradeError, match="broke off"):
        client.download(result.url, io.BytesIO())


def test_nobody_there_is_told_apart_at_once():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(PodUnreachable, match=str(port)):
            Client(f"http://127.0.0.1:{port}").ping()


def test_a_raising_pause_abandons_an_upload(pod, clip, monkeypatch):
    class Enough(Exception):
        pass

    def pause(_seconds):
        raise Enough

    monkeypatch.setattr(gateway.client, "DIRECT_LIMIT", 1000)
    with pytest.raises(Enough):
        Client(pod.url, pause=pause).blur(clip, {})
    assert pod.posts == []


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("7", 7, 7),
        ("0", 0.2, 0.2),
        ("999999", 999999, 999999),
        ("soon", 2, 2),
        (None, 2, 2),
        ("in 30 s, as a date", 20, 30),
    ],
)
def test_retry_after_in_all_its_forms(header, low, high):
    answer = requests.Response()
    if header == "in 30 s, as a date":
        header = formatdate(time.time() + 30, usegmt=True)
    if header is not None:
        answer.headers["Retry-After"] = header
    assert low <= gateway.client._retry_after(answer) <= high
