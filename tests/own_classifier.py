"""Somebody's own classifier, made here: it tells red, green and blue apart, in 200 bytes.

Its folder is what the README's page on one's own classifier describes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from model_store.build import ROOT, sha256

NAMES = ("red", "green", "blue")
MANIFEST = """
name = "colours"
version = "2.1"
categories = "categories.txt"
[input]
resize = "cover"
side = 40
crop = [32, 32]
colours = "RGB"
layout = "NCHW"
mean = [127.5, 127.5, 127.5]
std = [127.5, 127.5, 127.5]
[output]
scores = "softmax"
"""


def network(batch: int | str = "batch", side: int = 32) -> bytes:
    """ONNX: the mean of each colour, times 4, as three logits."""
    weight = numpy_helper.from_array(4 * np.eye(3, dtype=np.float32), "weight")
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["logits"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, side, side])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 3])
    graph = helper.make_graph(nodes, "colours", [image], [logits], [weight])
    opset = [helper.make_opsetid("", 13)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())


def folder(at: Path, name: str = "colours", weights: bytes | None = None) -> Path:
    """A folder of the model store with everything in it; answers its recipe."""
    weights = weights or network()
    made = at / name
    made.mkdir(parents=True)
    (made / "colours.onnx").write_bytes(weights)
    (made / "classifier.toml").write_text(MANIFEST)
    (made / "categories.txt").write_text("\n".join(NAMES) + "\n")
    config = (ROOT / "model_store" / "classifier" / "model-config.yaml").read_text()
    (made / "model-config.yaml").write_text(config)
    recipe = made / "model.toml"
    recipe.write_text(
        f"""
name = "{name}"
version = "2.1"
handler = "handlers/classifier.py"
extra_files = [
    "handlers/runtime.py",
    "handlers/classifier_manifest.py",
    "handlers/classifier_network.py",
    "{made}/classifier.toml",
    "{made}/categories.txt",
]
weights = "colours.onnx"
weights_sha256 = "{sha256(weights)}"
weights_licence = "ours"
[source]
file = "{made}/colours.onnx"
"""
    )
    return recipe
