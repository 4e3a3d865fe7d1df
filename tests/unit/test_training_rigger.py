"""The rigger's own script as a training job: three steps, a stop and a resume, promotion.

Skipped where no Python with torch is found: ``MASQUERADE_TRAIN_PYTHON``, ``.venv-train`` or
this one.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest

from gateway.settings import Settings
from gateway.storage import Storage
from gateway.training import HandedBack, run, runner
from gateway.training.process import python_with_torch
from gateway.training.promote import promote
from model_store import build as store
from tests.servers import keys

JOB = "a" * 32
SMALL = {"size": 64, "batch": 2, "workers": 0}

EVENTS = """
import sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1]); events.Reload()
print(*(f"{e.step}" for e in events.Scalars("mask")))
"""


@pytest.fixture(scope="module")
def python():
    found = python_with_torch(Settings(train_python=os.environ.get("MASQUERADE_TRAIN_PYTHON", "")))
    code = "import torch, mmcv, tensorboard, onnx"
    if subprocess.run([found, "-c", code], capture_output=True).returncode:
        pytest.skip("no Python with torch")
    return found


@pytest.fixture
def train(settings, python, monkeypatch):
    monkeypatch.setattr(runner, "_LOOK", 0.1)
    settings = dataclasses.replace(settings, train_python=python)
    storage = Storage(settings)

    def train(params, progress=lambda *_: None, note=None):
        spec = {"model": "rigger", "device": "cpu", "params": {**SMALL, **params}}
        return run(JOB, spec, storage, progress, note=note, settings=settings)

    train.storage = storage
    return train


def fetch(storage: Storage, key: str, place: Path) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("wb") as file:
        storage.fetch(key, file)
    return place


def test_three_steps_leave_a_checkpoint_logs_for_tensorboard_and_a_result(train, python, tmp_path):
    result = train({"steps": 3})
    assert result["output"].startswith("anonymous/cpu/rigger/")
    assert result["metrics"]["mask"] > 0
    assert {"joints", "mask", "centre", "box"} <= set(result["metrics"])
    names = [key.removeprefix(result["output"]) for key in keys(train.storage)]
    assert names[0] == "checkpoints/last.pt"
    assert names[-1] == "result.json"
    for key in result["logs"]:
        fetch(train.storage, key, tmp_path / "logs" / key.rsplit("/", 1)[-1])
    read = subprocess.run(
        [python, "-c", EVENTS, tmp_path / "logs"], capture_output=True, text=True, check=True
    )
    assert read.stdout.split() == ["3"]


def test_a_stop_keeps_the_step_it_was_at_and_the_next_attempt_goes_on(
    train, python, tmp_path, monkeypatch
):
    monkeypatch.setattr(runner, "_UPLOAD", 0.1)
    monkeypatch.setattr(runner, "_GRACE", 60)  # the machine may be busy

    def stop_when_it_trains(note):
        if any("events" in key for key in note["logs"]):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(HandedBack):
        train({"steps": 2000}, note=stop_when_it_trains)
    (key,) = [key for key in keys(train.storage) if key.endswith("last.pt")]
    checkpoint = fetch(train.storage, key, tmp_path / "last.pt")
    code = "import sys, torch; print(torch.load(sys.argv[1], weights_only=True)['step'])"
    read = subprocess.run([python, "-c", code, checkpoint], capture_output=True, text=True)
    step = int(read.stdout)
    assert 0 < step < 2000
    result = train({"steps": step + 1})
    assert result["step"] == step + 1
    assert result["metrics"]


def test_what_was_trained_is_promoted_and_served_weights_follow(
    train, python, tmp_path, monkeypatch
):
    root = tmp_path / "checkout"
    for name in ("model_store/rigger", "handlers"):
        shutil.copytree(store.ROOT / name, root / name)
    before = tomllib.loads((root / "model_store/rigger/model.toml").read_text())
    monkeypatch.setattr(store, "ROOT", root)
    monkeypatch.setattr(store, "STORE", root / "model_store")
    result = train({"steps": 1})
    checkpoint = fetch(train.storage, result["checkpoint"], tmp_path / "last.pt")
    done = promote("rigger", checkpoint, python)
    after = tomllib.loads((root / "model_store/rigger/model.toml").read_text())
    assert after["weights_sha256"] == done.sha256 != before["weights_sha256"]
    assert done.versions["rigger"] == (before["version"], after["version"])
    with zipfile.ZipFile(done.archives[0]) as archive:
        assert archive.read("rigger.onnx") == done.weights.read_bytes()
