"""Training the rigger: views keep their truth, the network learns, the export is the network.

Skipped where torch and mmcv are not installed (``model_store/rigger/requirements.txt``).
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("mmcv")

from model_store.rigger import export, train  # noqa: E402
from model_store.rigger.body import MIRRORED  # noqa: E402
from model_store.rigger.losses import gaussian, losses, scores  # noqa: E402
from model_store.rigger.network import Rigger  # noqa: E402
from model_store.rigger.scene import make_scene  # noqa: E402
from model_store.rigger.views import (  # noqa: E402
    CELL,
    FIGURE,
    NOTHING,
    OTHER,
    PAGE,
    Drawings,
    Mirror,
    pipeline,
    views,
)


@pytest.fixture(scope="module")
def batch() -> dict[str, torch.Tensor]:
    rng, steps = np.random.default_rng(0), pipeline(64)
    every = [steps(v) for _ in range(12) for v in views(rng, make_scene(rng))]
    return torch.utils.data.default_collate(every)


def test_views_of_all_kinds_occur_and_joints_stay_in_the_figures(
    batch: dict[str, torch.Tensor],
) -> None:
    assert set(batch["kind"].tolist()) == {PAGE, FIGURE, OTHER, NOTHING}
    figures = batch["kind"] == FIGURE
    inside = (batch["joints"][figures] > -3) & (batch["joints"][figures] < 67)
    assert inside.float().mean() > 0.98
    assert (batch["mask"][figures].float().mean((1, 2)) > 3).all()


def test_crops_of_nothing_show_no_part_of_a_figure(batch: dict[str, torch.Tensor]) -> None:
    nothing = batch["kind"] == NOTHING
    assert not batch["mask"][nothing].any()
    assert not batch["boxes"][nothing].any()


def test_processes_average_their_gradients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    network = torch.nn.Linear(2, 1)
    network.weight.grad = torch.ones(1, 2)
    dist = torch.distributed
    dist.init_process_group("gloo", f"file://{tmp_path / 'meeting'}", world_size=1, rank=0)
    try:
        train.share(network)
    finally:
        dist.destroy_process_group()
    assert network.weight.grad.tolist() == [[1, 1]]
    assert network.bias.grad.tolist() == [0]  # no view taught it


def test_a_mirror_moves_image_mask_boxes_and_joints_together() -> None:
    image = np.zeros((20, 40, 3), np.uint8)
    image[5, 3] = 255
    joints = np.tile([3.5, 5.5], (13, 1)) + np.arange(13)[:, None]
    results = {
        "image": image, "mask": image[..., 0], "joints": joints,
        "boxes": np.array([[2.0, 4, 10, 12]]), "rng": np.random.default_rng(3),
    }  # fmt: skip
    while (out := Mirror().transform(dict(results)))["image"][5, 3].any():
        pass
    assert out["image"][5, 36].all()
    assert out["mask"][5, 36] == 255
    assert out["boxes"].tolist() == [[30, 4, 38, 12]]
    assert out["joints"][MIRRORED[4]].tolist() == [40 - joints[4, 0], joints[4, 1]]


def test_a_gaussian_peaks_at_its_joint() -> None:
    bump = gaussian(torch.tensor([[[5.5, 2.5]]]), 8, 12, 1.0)[0, 0]
    assert divmod(int(bump.argmax()), 12) == (2, 5)
    assert float(bump.max()) == pytest.approx(1)


def test_a_few_steps_on_one_batch_lower_every_loss(batch: dict[str, torch.Tensor]) -> None:
    torch.manual_seed(0)
    network = Rigger()
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    _, first = train.learn(network, optimizer, batch, False)
    for _ in range(12):
        heads, last = train.learn(network, optimizer, batch, False)
    for name in ("joints", "mask", "centre", "box"):
        assert last[name] < first[name], name
    assert set(scores(heads, batch)) == {"pck05", "iou", "told"}
    assert set(losses(heads, batch)) == set(first)


def test_the_rate_rises_stays_and_falls() -> None:
    args = train.argparse.Namespace(steps=1000, fall=0.3, rate=1.0)
    rates = [train.rate_at(step, args) for step in range(1000)]
    assert rates[0] < 0.01
    assert rates[300] == rates[600] == pytest.approx(1)
    assert rates[-1] < 0.02
    assert all(a >= b for a, b in itertools.pairwise(rates[700:]))


def test_the_export_computes_what_the_network_does(tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    network = Rigger().eval()
    torch.save({"kept": network.state_dict()}, tmp_path / "last.pt")
    data = export.export(tmp_path / "last.pt")
    assert len(data) < 8e6
    session = ort.InferenceSession(data)
    image = torch.rand(1, 3, 96, 160) * 255
    with torch.no_grad():
        expected = network(image)
    found = session.run(None, {"image": image.numpy()})
    assert [o.name for o in session.get_outputs()] == list(expected._fields)
    assert found[0].shape == (1, 13, 96 // CELL, 160 // CELL)
    for a, b in zip(found, expected, strict=True):
        assert np.allclose(a, b.numpy(), atol=0.02 * max(1.0, float(b.abs().max())))


def test_the_stream_of_views_never_ends_and_differs_by_seed() -> None:
    first, other = (next(iter(Drawings(32, seed))) for seed in (1, 2))
    assert first["image"].shape == (3, 32, 32)
    assert not torch.equal(first["image"], other["image"])
