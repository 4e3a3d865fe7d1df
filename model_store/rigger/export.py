"""Write the trained network as ONNX: ``python -m model_store.rigger.export runs/rigger/last.pt``.

Weights are stored in half precision, which halves the file; they are widened again when
the model is loaded, so it computes in single precision everywhere. Input: ``image``
(batch, 3, height, width) float32 RGB 0…255; outputs as :class:`.network.Heads`.
"""

from __future__ import annotations

import argparse
import hashlib
import io
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from .network import Heads, Rigger

HERE = Path(__file__).resolve().parent
SMALL = 1024  # tensors under this many numbers stay in single precision


def export(checkpoint: Path) -> bytes:
    """The averaged weights of a checkpoint as an ONNX file."""
    network = Rigger().eval()
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    network.load_state_dict(state["kept"])
    out = io.BytesIO()
    free = {0: "batch", 2: "height", 3: "width"}
    torch.onnx.export(
        network, (torch.zeros(1, 3, 192, 192),), out, opset_version=17, dynamo=False,
        input_names=["image"], output_names=list(Heads._fields),
        dynamic_axes={"image": free, **{
            name: {0: "batch"} if name == "figure" else {0: "batch", 2: "rows", 3: "columns"}
            for name in Heads._fields
        }},
    )  # fmt: skip
    return halve(onnx.load_from_string(out.getvalue()))


def halve(model: onnx.ModelProto) -> bytes:
    """Store large weights as float16, each behind a cast back to float32."""
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < SMALL:
            continue
        name, values = tensor.name, numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *nodes])
    model.producer_name = "masquerade"
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def main() -> None:
    """Export and say the digest that ``model.toml`` pins."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, default=HERE / "rigger.onnx")
    args = parser.parse_args()
    data = export(args.checkpoint)
    args.out.write_bytes(data)
    print(f"{args.out}: {len(data) / 1e6:.1f} MB, SHA-256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
