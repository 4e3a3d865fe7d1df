"""Promotion: all of weights, versions, hashes and archives, or nothing; and the command."""

from __future__ import annotations

import json
import tomllib
import zipfile

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from gateway.cli import main
from gateway.errors import Conflict
from gateway.training import promote as module
from gateway.training.promote import PromotionError, promote
from model_store import build as store

RECIPE = """\
# a comment that stays
name = "{name}"
version = "{version}"
handler = "handlers/tiny.py"
extra_files = []
weights = "net.onnx"
weights_sha256 = "{digest}"
weights_licence = "ours"

[source]
file = "{file}"
"""


def network(weight: float, output: str = "heat") -> bytes:
    values = numpy_helper.from_array(np.full((1, 3, 1, 1), weight, np.float32), "weight")
    node = helper.make_node("Conv", ["image", "weight"], [output])
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "h", "w"])
    heat = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", 1, "h", "w"])
    graph = helper.make_graph([node], "tiny", [image], [heat], [values])
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A store with our model, another that takes its weights, and one that has nothing to do."""
    root = tmp_path / "checkout"
    (root / "handlers").mkdir(parents=True)
    (root / "handlers" / "tiny.py").write_text("def handle(data, context):\n    return data\n")
    ours = "model_store/rigger/net.onnx"
    for name, version, file in (
        ("rigger", "1.0", ours),
        ("drawn", "2.9", ours),
        ("faces", "1.0", "model_store/faces/net.onnx"),
    ):
        folder = root / "model_store" / name
        folder.mkdir(parents=True)
        (folder / "net.onnx").write_bytes(network(1.0))
        (folder / "model-config.yaml").write_text("minWorkers: 1\n")
        digest = store.sha256(network(1.0))
        (folder / "model.toml").write_text(
            RECIPE.format(name=name, version=version, digest=digest, file=file)
        )
    monkeypatch.setattr(store, "ROOT", root)
    monkeypatch.setattr(store, "STORE", root / "model_store")
    for file in store.STORE.glob("*/model.toml"):
        store.build(file, store.STORE)
    return root


@pytest.fixture
def exports(monkeypatch):
    """What the export script answers."""

    def set_to(data: bytes) -> None:
        monkeypatch.setattr(module, "_export", lambda *_: data)

    set_to(network(0.5))
    return set_to


def contents(root):
    return {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def archived(root, name):
    with zipfile.ZipFile(root / "model_store" / f"{name}.mar") as archive:
        version = json.loads(archive.read("MAR-INF/MANIFEST.json"))["model"]["modelVersion"]
        return archive.read("net.onnx"), version


def test_weights_versions_hashes_and_archives_change_together(checkout, exports, tmp_path):
    done = promote("rigger", tmp_path / "last.pt", "python", say=lambda text: None)
    assert done.versions == {"rigger": ("1.0", "1.1"), "drawn": ("2.9", "2.10")}
    assert done.weights.read_bytes() == network(0.5)
    assert archived(checkout, "rigger") == (network(0.5), "1.1")
    assert archived(checkout, "drawn") == (network(0.5), "2.10")
    assert archived(checkout, "faces") == (network(1.0), "1.0")
    for name in ("rigger", "drawn"):
        text = (checkout / "model_store" / name / "model.toml").read_text()
        assert text.startswith("# a comment that stays\n")
        recipe = tomllib.loads(text)
        assert recipe["weights_sha256"] == done.sha256 == store.sha256(network(0.5))
        assert store.is_fresh(
            store.STORE / f"{name}.mar", store.inputs(store.STORE / name / "model.toml", recipe)
        )


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (network(1.0), "served already"),
        (network(0.5, "other"), "outputs other, the served one .* outputs heat"),
        (network(float("nan")), "not finite"),
    ],
)
def test_weights_that_cannot_be_served_change_nothing(checkout, exports, tmp_path, data, told):
    exports(data)
    before = contents(checkout)
    with pytest.raises(PromotionError, match=told):
        promote("rigger", tmp_path / "last.pt", "python", say=lambda text: None)
    assert contents(checkout) == before


def test_a_build_that_fails_changes_nothing(checkout, exports, tmp_path, monkeypatch):
    before = contents(checkout)
    build = store.build

    def second_fails(recipe, out):
        if recipe.parent.name == "drawn":
            raise store.BuildError("no space")
        return build(recipe, out)

    monkeypatch.setattr(store, "build", second_fails)
    with pytest.raises(PromotionError, match="no space"):
        promote("rigger", tmp_path / "last.pt", "python", say=lambda text: None)
    assert contents(checkout) == before


def test_only_models_that_can_be_trained(checkout, exports, tmp_path):
    with pytest.raises(PromotionError, match="known are rigger"):
        promote("faces", tmp_path / "last.pt", "python")


def test_the_export_says_why_it_cannot(tmp_path):
    checkpoint = tmp_path / "last.pt"
    checkpoint.write_text("no checkpoint")
    with pytest.raises(PromotionError, match="could not be run by /no/python"):
        module._export("rigger", checkpoint, "/no/python")
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho 'Traceback'>&2; echo 'ValueError: odd file'>&2; exit 1\n")
    fake.chmod(0o755)
    with pytest.raises(PromotionError, match="cannot be exported: ValueError: odd file"):
        module._export("rigger", checkpoint, str(fake))


# the command


def test_the_command_promotes_a_file_and_says_what_restarts(checkout, exports, tmp_path, capsys):
    checkpoint = tmp_path / "last.pt"
    checkpoint.touch()
    assert main(["models", "promote", str(checkpoint)]) == 0
    out = capsys.readouterr().out
    assert "rigger: version 1.0 → 1.1" in out
    assert "make down, make up" in out


def test_the_command_promotes_what_a_job_has_made(checkout, exports, monkeypatch, capsys):
    seen = []
    made = {"model": "rigger", "checkpoint_url": "http://bucket/last.pt"}
    monkeypatch.setattr("gateway.client.Client.training", lambda self, id: seen.append(id) or made)
    monkeypatch.setattr(
        "gateway.client.Client.download", lambda self, url, out: out.write(url.encode())
    )
    monkeypatch.setattr(
        module,
        "_export",
        lambda model, checkpoint, python: seen.append(checkpoint.read_text()) or network(0.25),
    )
    assert main(["models", "promote", "a" * 32]) == 0
    assert seen == ["a" * 32, "http://bucket/last.pt"]


def test_the_command_says_what_is_wrong(checkout, monkeypatch, capsys):
    assert main(["models", "promote", "runs/none.pt"]) == 1
    assert "there is no file runs/none.pt" in capsys.readouterr().err

    def not_done(self, id):
        raise Conflict("that is no training job that has ended well")

    monkeypatch.setattr("gateway.client.Client.training", not_done)
    assert main(["models", "promote", "a" * 32]) == 1
    assert "no training job" in capsys.readouterr().err
    monkeypatch.undo()
    assert main(["models", "promote", "a" * 32, "--url", "http://127.0.0.1:1"]) == 3


def test_models_are_listed(capsys):
    assert main(["models", "list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "can be trained" in lines["rigger"]
    assert "can be trained" not in lines["face_detector"]


def test_a_job_that_is_no_finished_training_is_a_conflict(monkeypatch):
    from gateway.client import Client

    class Answer:
        def __init__(self, body):
            self.json = lambda: body

    made = {"model": "rigger", "checkpoint_url": "u"}
    for body in (
        {"kind": "video", "status": "done", "result": {"url": "x"}},
        {"kind": "training", "status": "queued", "training": None},
        {"kind": "training", "status": "running", "training": made},
    ):
        monkeypatch.setattr(Client, "_call", lambda self, *_, body=body: Answer(body))
        with pytest.raises(Conflict):
            Client("http://pod").training("a" * 32)
    done = Answer({"kind": "training", "status": "done", "training": made})
    monkeypatch.setattr(Client, "_call", lambda self, *_: done)
    assert Client("http://pod").training("a" * 32) == made
