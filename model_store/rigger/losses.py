"""What the network is punished for; targets are made from a batch of views on the fly."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .network import Heads
from .views import CELL, FIGURE, OTHER, PAGE

BOX_UNIT = 128  # pixels of the input; a figure's look, not the page's size, tells its box
SPREAD = 1.3  # standard deviation of a joint's target, cells


def losses(heads: Heads, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each head's loss, already weighted; their sum is minimised."""
    kind, boxes = batch["kind"], batch["boxes"]
    mask = batch["mask"].float()[:, None] / 255
    # A part of a figure teaches that it is no figure, and nothing else.
    seen = kind != OTHER
    return {
        "joints": joint_loss(heads.joints, batch["joints"], kind == FIGURE),
        "mask": 2.0 * mask_loss(heads.mask[seen], mask[seen]),
        "centre": centre_loss(heads.centre[seen], boxes[seen]),
        "box": 10.0 * box_loss(heads.box[seen], boxes[seen]),
        "figure": figure_loss(heads.figure, kind),
    }


def joint_loss(logits: Tensor, joints: Tensor, wanted: Tensor) -> Tensor:
    """Cross-entropy of a softmax over all cells with a Gaussian at the joint."""
    if not wanted.any():
        return logits.sum() * 0
    logits, joints = logits[wanted].float(), joints[wanted]
    target = gaussian(joints / CELL, logits.shape[-2], logits.shape[-1], SPREAD)
    total = target.sum((2, 3), keepdim=True)
    target = target / total.clamp(min=1e-6)
    inside = (total[..., 0, 0] > 0.5).float()
    loss = -(target.flatten(2) * functional.log_softmax(logits.flatten(2), 2)).sum(2)
    return (loss * inside).sum() / inside.sum().clamp(min=1)


def gaussian(at: Tensor, rows: int, columns: int, spread: float | Tensor) -> Tensor:
    """(N, K, 2) positions in cells → (N, K, rows, columns) bumps of height 1."""
    x = torch.arange(columns, device=at.device) + 0.5
    y = torch.arange(rows, device=at.device) + 0.5
    across = torch.exp(-((x - at[..., :1]) ** 2) / (2 * spread**2))
    down = torch.exp(-((y - at[..., 1:]) ** 2) / (2 * spread**2))
    return down[..., :, None] * across[..., None, :]


def mask_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy, heavier along edges, and Dice per view."""
    logits = logits.float()
    edge = 1 + 2 * (_blurred(mask, 3) - mask).abs() + 2 * (_blurred(mask, 9) - mask).abs()
    cross = functional.binary_cross_entropy_with_logits(logits, mask, weight=edge)
    guess = logits.sigmoid()
    common, total = (guess * mask).sum((1, 2, 3)), (guess + mask).sum((1, 2, 3))
    some = mask.amax((1, 2, 3)) > 0.5
    dice = 1 - (2 * common + 1) / (total + 1)
    return cross + (dice * some).sum() / some.sum().clamp(min=1) * 0.5


def _blurred(mask: Tensor, size: int) -> Tensor:
    """The mean around each pixel over ``size`` double pixels, by rows and then by columns."""
    half = functional.avg_pool2d(mask, 2)
    rows = functional.avg_pool2d(half, (size, 1), 1, (size // 2, 0), count_include_pad=False)
    both = functional.avg_pool2d(rows, (1, size), 1, (0, size // 2), count_include_pad=False)
    return functional.interpolate(both, scale_factor=2.0, mode="nearest")


def _centres(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2 / CELL
    size = (boxes[..., 2:] - boxes[..., :2]).amin(-1) / CELL
    return middle, (size * 0.09).clamp(min=1.0)[..., None], size > 0


def centre_loss(logits: Tensor, boxes: Tensor) -> Tensor:
    """Focal loss of CenterNet (Zhou et al. 2019, "Objects as Points", eq. 1)."""
    logits = logits[:, 0].float()
    middle, spread, real = _centres(boxes)
    bumps = gaussian(middle, logits.shape[-2], logits.shape[-1], spread) * real[..., None, None]
    target = bumps.amax(1)
    peak = target > 0.75
    guess = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    found = ((1 - guess) ** 2 * guess.log() * target)[peak].sum()
    false = ((1 - target) ** 4 * guess**2 * (1 - guess).log())[~peak].sum()
    return -(found / peak.sum().clamp(min=1) + false / max(1, len(logits)) / 2)


def box_loss(box: Tensor, boxes: Tensor) -> Tensor:
    """Mean error of the box's sides around the figure's centre."""
    rows, columns = box.shape[-2:]
    middle, spread, real = _centres(boxes)
    bumps = gaussian(middle, rows, columns, spread) * real[..., None, None]
    weight, owner = bumps.max(1)
    weight = weight * (weight > 0.5)
    x = (torch.arange(columns, device=box.device) + 0.5) * CELL
    y = (torch.arange(rows, device=box.device) + 0.5) * CELL
    own = boxes.gather(1, owner.flatten(1)[..., None].expand(-1, -1, 4))
    own = own.transpose(1, 2).reshape(-1, 4, rows, columns)
    target = torch.stack([
        x - own[:, 0], y[:, None] - own[:, 1], own[:, 2] - x, own[:, 3] - y[:, None]
    ], 1) / BOX_UNIT  # fmt: skip
    error = (box.float() - target).abs().mean(1)
    return (error * weight).sum() / weight.sum().clamp(min=1e-6)


def figure_loss(logits: Tensor, kind: Tensor) -> Tensor:
    """Is the crop's thing a figure? Whole pages do not count."""
    crops = kind != PAGE
    if not crops.any():
        return logits.sum() * 0
    target = (kind[crops] == FIGURE).float()
    return functional.binary_cross_entropy_with_logits(logits[crops, 0].float(), target)


@torch.no_grad()
def scores(heads: Heads, batch: dict[str, Tensor]) -> dict[str, Any]:
    """Readable figures of a batch: PCK@0.05 of peaks, mask IoU, share of crops told right."""
    kind, size = batch["kind"], batch["image"].shape[-1]
    wanted = kind == FIGURE
    answer: dict[str, Any] = {}
    if wanted.any():
        logits = heads.joints[wanted].flatten(2)
        at, columns = logits.argmax(2), heads.joints.shape[-1]
        found = torch.stack([at % columns, at // columns], 2) * CELL + CELL / 2
        off = (found - batch["joints"][wanted]).norm(dim=2)
        box = batch["boxes"][wanted, 0]
        longer = (box[:, 2:] - box[:, :2]).amax(1).clamp(min=size / 4)
        answer["pck05"] = float((off < 0.05 * longer[:, None]).float().mean())
        guess, mask = heads.mask[wanted, 0] > 0, batch["mask"][wanted] > 127
        common = (guess & mask).sum((1, 2)) / (guess | mask).sum((1, 2)).clamp(min=1)
        answer["iou"] = float(common.mean())
    crops = kind != PAGE
    if crops.any():
        told = (heads.figure[crops, 0] > 0) == (kind[crops] == FIGURE)
        answer["told"] = float(told.float().mean())
    return answer
