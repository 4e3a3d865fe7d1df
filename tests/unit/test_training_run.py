"""Running a training: a real process and a real object store, a script that is a toy."""

from __future__ import annotations

import dataclasses
import importlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import types
from pathlib import Path

import pytest
import requests

from gateway.errors import (
    BadOption,
    Cancelled,
    DeadlineExceeded,
    StorageUnavailable,
    TrainingFailed,
)
from gateway.storage import Storage
from gateway.training import HandedBack, run, runner, view
from gateway.training.outputs import plain_name
from gateway.training.status import read
from tests import toy_training, training_standin
from tests.servers import keys, wait_for

JOB = "-job_" + "x" * 27


@pytest.fixture(autouse=True)
def toy(tmp_path, monkeypatch):
    training_standin.install(toy_training.install(tmp_path / "root"), monkeypatch.setattr)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(runner.tempfile, "tempdir", str(scratch))
    importlib.invalidate_caches()
    yield scratch
    assert list(scratch.iterdir()) == []
    for name in [name for name in sys.modules if name.startswith("model_store.toy")]:
        del sys.modules[name]


@pytest.fixture
def storage(settings):
    return Storage(settings)


@pytest.fixture
def train(settings, storage):
    def train(job=JOB, progress=lambda *_: None, note=None, device="cpu", gpus=1, **params):
        spec = {"model": "toy", "device": device, "gpus": gpus, "params": params, "workers": 0}
        return run(job, spec, storage, progress, note=note, settings=settings)

    return train


def text(storage, key, tmp_path):
    place = tmp_path / "fetched"
    with place.open("wb") as file:
        storage.fetch(key, file)
    return place.read_text()


def log(storage, tmp_path):
    (key,) = [key for key in keys(storage) if key.endswith("train.log")]
    return text(storage, key, tmp_path)


def printed(log, name):
    return next(line for line in log.splitlines() if line.startswith(name)).removeprefix(name)


def is_gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except OSError:
        return True


# the whole


def test_a_training_from_start_to_end(train, storage, tmp_path):
    calls, notes = [], []
    result = train(progress=lambda *call: calls.append(call), note=notes.append, pause=0.1)
    prefix = result["output"]
    user, device, model, folder, _ = prefix.split("/")
    assert (user, device, model) == ("anonymous", "cpu", "toy")
    assert time.strptime(folder.split("-")[0], "%Y%m%dT%H%M%SZ")
    assert keys(storage) == [
        prefix + name
        for name in (
            "checkpoints/last.pt", "logs/events.out.tfevents.0", "logs/train.log", "result.json",
        )
    ]  # fmt: skip
    assert text(storage, result["checkpoint"], tmp_path) == "4"
    assert json.loads(text(storage, result["result"], tmp_path)) == result
    assert (result["step"], result["steps"]) == (4, 4)
    assert result["metrics"] == {"loss": 0.25, "iou": None}
    assert result["views_per_second"] == 300
    assert calls[-1] == ("train", 4, 4)
    assert [done for _, done, _ in calls] == sorted(done for _, done, _ in calls)
    assert {note["step"] for note in notes} >= {0, 4}


def test_its_environment_holds_no_credentials_and_its_arguments_no_surprise(
    train, storage, tmp_path, monkeypatch
):
    monkeypatch.setenv("MASQUERADE_REDIS_URL", "redis://secret@host")
    train(label="; touch $(pwd)/x --deaf")
    names = printed(log(storage, tmp_path), "environment")
    assert "AWS_SECRET_ACCESS_KEY" in os.environ
    assert "AWS" not in names
    assert "MASQUERADE" not in names
    given = printed(log(storage, tmp_path), "arguments")
    assert "'--label=; touch $(pwd)/x --deaf'" in given


@pytest.mark.parametrize(
    ("device", "gpus", "visible", "mine"),
    [
        ("cpu", 4, "0,1", "none"),
        ("gpu", 2, "", "0,1"),
        ("gpu", 2, "5,6,7", "5,6"),
        ("gpu", 1, "GPU-1", "GPU-1"),
    ],
)
def test_it_sees_its_gpus_only(train, storage, tmp_path, monkeypatch, device, gpus, visible, mine):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    result = train(device=device, gpus=gpus)
    assert printed(log(storage, tmp_path), "gpus ") == mine
    assert result["gpus"] == (0 if device == "cpu" else gpus)
    assert bool(result["warnings"]) == (result["gpus"] > 1)


def test_a_result_is_not_made_twice(train, storage):
    first = train()
    before = keys(storage)
    assert train(fail=True) == first
    assert keys(storage) == before


def test_jobs_do_not_share_a_folder(train, storage):
    assert train()["output"] != train(job="other")["output"]


# ends before the end


def test_a_killed_script_goes_on_from_its_last_checkpoint(train, storage, tmp_path):
    with pytest.raises(TrainingFailed, match="SIGKILL"):
        train(vanish=True)
    result = train(vanish=True)
    said = log(storage, tmp_path)
    assert "from step 0" in said
    assert "from step 2" in said
    assert result["step"] == 4
    assert len(result["logs"]) == 3  # both attempts' events
    assert len([key for key in keys(storage) if key.endswith("result.json")]) == 1


def test_sigterm_hands_back_with_a_checkpoint(train, storage, tmp_path):
    def progress(_, done, __):
        if done == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    before, begun = signal.getsignal(signal.SIGTERM), time.monotonic()
    with pytest.raises(HandedBack):
        train(progress=progress, steps=1000, pause=0.05)
    assert time.monotonic() - begun < 8
    assert signal.getsignal(signal.SIGTERM) is before
    kept = int(text(storage, next(k for k in keys(storage) if k.endswith(".pt")), tmp_path))
    assert 2 <= kept < 1000
    train(steps=kept + 1)
    assert f"from step {kept}" in log(storage, tmp_path)


def test_a_script_that_does_not_hear_is_ended_with_all_its_processes(
    train, storage, tmp_path, monkeypatch
):
    monkeypatch.setattr(runner, "_GRACE", 0.3)

    def progress(_, done, __):
        if done == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(HandedBack):
        train(progress=progress, steps=1000, pause=0.2, deaf=True)
    for pid in printed(log(storage, tmp_path), "processes").split():
        wait_for(lambda pid=pid: is_gone(pid), 5)


def test_a_cancel_ends_it_at_once(train, storage, tmp_path):
    def progress(_, done, __):
        if done == 1:
            raise Cancelled("the job was cancelled")

    with pytest.raises(Cancelled):
        train(progress=progress, steps=1000, pause=0.2)
    for pid in printed(log(storage, tmp_path), "processes").split():
        wait_for(lambda pid=pid: is_gone(pid), 5)


def test_it_dies_with_its_runner_and_is_gone_on_with(train, storage, tmp_path, toy, monkeypatch):
    monkeypatch.setattr(runner, "_UPLOAD", 0.05)
    horse = multiprocessing.get_context("fork").Process(
        target=train, kwargs={"steps": 1000, "pause": 0.05}
    )
    horse.start()
    wait_for(lambda: any(key.endswith("last.pt") for key in keys(storage)))
    horse.kill()
    horse.join()
    (script, _) = printed(log(storage, tmp_path), "processes").split()
    wait_for(lambda: is_gone(script), 5)
    assert train(steps=1)["step"] == 1  # nothing was left to do
    said = log(storage, tmp_path)
    assert int(said.split("from step ")[-1].split()[0]) >= 1


def test_an_error_tells_its_last_line_and_keeps_the_log(train, storage, tmp_path):
    with pytest.raises(TrainingFailed, match="status 1: RuntimeError: the loss is odd"):
        train(fail=True)
    assert "Traceback" in log(storage, tmp_path)
    assert not any(key.endswith("result.json") for key in keys(storage))


def test_a_deadline_ends_it(train, settings, storage, monkeypatch):
    ahead = [0.0]
    clock = types.SimpleNamespace(monotonic=lambda: time.monotonic() + ahead[0])
    monkeypatch.setattr(runner, "time", clock)

    def progress(_name, step, _steps):
        ahead[0] = settings.train_deadline if step else 0.0

    with pytest.raises(DeadlineExceeded):
        train(progress=progress, steps=1000, pause=0.1)
    assert any(key.endswith("last.pt") for key in keys(storage))


def test_a_python_that_is_not_there_is_told(settings, storage):
    wrong = dataclasses.replace(settings, train_python="/no/such/python")
    with pytest.raises(TrainingFailed, match="MASQUERADE_TRAIN_PYTHON"):
        run(JOB, {"model": "toy"}, storage, lambda *_: None, settings=wrong)


def test_parameters_are_checked_again(train):
    with pytest.raises(BadOption, match="speed"):
        train(speed=3)


def test_a_store_that_is_away_meanwhile_is_waited_for(train, storage, monkeypatch):
    monkeypatch.setattr(runner, "_UPLOAD", 0.05)
    put, failures = Storage.put, iter(range(3))

    def flaky(self, *args, **more):
        if next(failures, None) is not None:
            raise StorageUnavailable("away")
        return put(self, *args, **more)

    monkeypatch.setattr(Storage, "put", flaky)
    result = train(pause=0.1)
    assert next(failures, None) is None
    assert result["checkpoint"] in keys(storage)


def test_it_works_outside_the_main_thread(train):
    results = []
    thread = threading.Thread(target=lambda: results.append(train()))
    thread.start()
    thread.join(20)
    assert results[0]["step"] == 4


def test_what_a_killed_attempt_left_on_the_disk_is_removed(train, toy):
    (toy / "masquerade-train-999999999-abc").mkdir()
    mine = toy / f"masquerade-train-{os.getpid()}-abc"
    mine.mkdir()
    train()
    assert list(toy.iterdir()) == [mine]
    mine.rmdir()


# names, lines, links


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("Ada Lovelace", "ada-lovelace"),
        ("../../etc", "etc"),
        ("", "anonymous"),
        ("ß✓", "anonymous"),
        ("results", "user-results"),
        ("Uploads/", "user-uploads"),
        ("a" * 99, "a" * 40),
    ],
)
def test_a_user_is_one_harmless_part_of_a_key(name, plain):
    assert plain_name(name) == plain


@pytest.mark.parametrize(
    ("line", "step", "metrics", "speed"),
    [
        ("50: joints 1.250 pck05 0.5 · 31 views/s", 50, {"joints": 1.25, "pck05": 0.5}, 31),
        ("7: loss nan rate 1e-05 x -inf", 7, {"loss": None, "rate": 1e-5, "x": None}, None),
        ("8: nothing to tell", 8, {}, None),
    ],
)
def test_a_line_of_the_script_is_read(line, step, metrics, speed):
    assert read(line) == {"step": step, "metrics": metrics, "views_per_second": speed}


@pytest.mark.parametrize("line", ["Traceback (most recent call last):", "12:30 o'clock", ""])
def test_other_lines_say_nothing(line):
    assert read(line) is None


def test_the_view_has_links_in_place_of_keys(train, storage):
    shown = view(train(), storage)
    assert not {"checkpoint", "result"} & set(shown)
    assert requests.get(shown["checkpoint_url"], timeout=5).text == "4"
    assert requests.get(shown["result_url"], timeout=5).json()["steps"] == 4
    names = [entry["name"] for entry in shown["logs"]]
    assert names == ["events.out.tfevents.0", "train.log"]
    assert "from step 0" in requests.get(shown["logs"][1]["url"], timeout=5).text


def test_a_view_before_anything_is_stored(train, storage):
    notes = []
    train(note=notes.append)
    assert view(notes[0], storage)["logs"] == []
    assert "checkpoint_url" not in view(notes[0], storage)
