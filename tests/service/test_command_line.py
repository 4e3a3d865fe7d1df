"""``masquerade blur`` as a person runs it, against the real pod."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import skimage.data
from PIL import Image

from tests.service import media


def masquerade(pod, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway.cli", "blur", *map(str, words), "--url", pod.url]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


@pytest.fixture
def folder(tmp_path, clips):
    source = tmp_path / "in"
    (source / "nested").mkdir(parents=True)
    (source / "photo.jpg").write_bytes(media.photo())
    (source / "nested" / "clip.mp4").write_bytes(clips.short())
    return source


def test_a_folder(pod, folder, tmp_path, clips):
    out = tmp_path / "out"
    done = masquerade(pod, folder, "-o", out, "--style", "solid", "--report")
    assert done.returncode == 0, done.stderr
    made = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    videos = {name for name in made if name.startswith("nested/")}
    assert len(made) == 4
    assert len(videos) == 2
    photo = next(out.glob("photo*.jpg"))
    assert not media.pixels(photo.read_bytes())[media.FACE].max() > 20  # solid, through JPEG
    video = next((out / "nested").glob("clip*.mp4"))
    assert len(media.frames(video.read_bytes())) == 30
    report = json.loads(next(out.glob("photo*.report.json")).read_text())
    assert report["options"]["style"] == "solid"


def test_a_file_that_fails_makes_the_exit_status(pod, folder, tmp_path):
    (folder / "broken.jpg").write_bytes(media.photo()[:2000])
    out = tmp_path / "out"
    done = masquerade(pod, folder, "-o", out)
    assert done.returncode == 1
    assert "broken.jpg" in done.stdout + done.stderr
    assert len([path for path in out.rglob("*") if path.is_file()]) == 2


def test_forgetting(pod, folder, tmp_path, bucket):
    before = bucket.keys()
    done = masquerade(pod, folder / "nested" / "clip.mp4", "-o", tmp_path / "a.mp4", "--forget")
    assert done.returncode == 0, done.stderr
    assert bucket.keys() == before


def test_no_pod(tmp_path, pod):
    path = tmp_path / "a.png"
    Image.fromarray(skimage.data.astronaut()).save(path)
    command = [sys.executable, "-m", "gateway.cli", "blur", str(path), "--url", "127.0.0.1:9"]
    assert subprocess.run(command, capture_output=True, timeout=60).returncode == 3
