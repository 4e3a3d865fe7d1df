"""The rigger's network: one U-shaped trunk, heads for joints, mask, box and "is it a figure".

Input: (N, 3, H, W) RGB, 0…255; H and W multiples of 32. Each image is normalised by its
own mean and contrast, so exposure hardly matters.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn
from torch.nn import functional

from .body import JOINTS

WIDTHS = (16, 48, 96, 128, 192)  # channels at 1/2, 1/4, 1/8, 1/16 and 1/32
DEPTHS = (0, 1, 2, 2, 2)  # residual blocks
NORM = {"type": "BN"}


class Heads(NamedTuple):
    """What the network answers; all but ``box`` before softmax or sigmoid.

    joints (N, 13, H/4, W/4); mask (N, 1, H, W); centre (N, 1, H/4, W/4);
    box (N, 4, H/4, W/4): distances left, up, right, down from a cell's middle to the
    figure's box, in units of 128 pixels; figure (N, 1).
    """

    joints: Tensor
    mask: Tensor
    centre: Tensor
    box: Tensor
    figure: Tensor


def conv(
    inside: int, outside: int, kernel: int = 3, stride: int = 1, act: bool = True
) -> ConvModule:
    """Convolution, batch norm, ReLU."""
    return ConvModule(
        inside, outside, kernel, stride, kernel // 2, norm_cfg=NORM,
        act_cfg={"type": "ReLU"} if act else None,
    )  # fmt: skip


class Residual(nn.Module):
    """Two convolutions around which the input passes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(channels, channels), conv(channels, channels, act=False))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C, H, W)."""
        return functional.relu(x + self.body(x))


class Up(nn.Module):
    """Double the size and merge the trunk's finer features."""

    def __init__(self, coarse: int, fine: int, out: int) -> None:
        super().__init__()
        self.before = conv(coarse, out, 1)
        self.across = conv(fine, out, 1)
        self.after = conv(out, out)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """(N, coarse, H, W) and (N, fine, 2H, 2W) → (N, out, 2H, 2W)."""
        larger = functional.interpolate(self.before(coarse), scale_factor=2.0, mode="nearest")
        return self.after(larger + self.across(fine))


class Rigger(nn.Module):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        stages, inside = [], 3
        for width, depth in zip(WIDTHS, DEPTHS, strict=True):
            blocks = [Residual(width) for _ in range(depth)]
            stages.append(nn.Sequential(conv(inside, width, stride=2), *blocks))
            inside = width
        self.stages = nn.ModuleList(stages)
        outs = (24, 48, 80, 112)
        self.up16 = Up(WIDTHS[4], WIDTHS[3], outs[3])
        self.up8 = Up(outs[3], WIDTHS[2], outs[2])
        self.up4 = Up(outs[2], WIDTHS[1], outs[1])
        self.up2 = Up(outs[1], WIDTHS[0], outs[0])
        self.joints = nn.Sequential(conv(outs[1], 48), nn.Conv2d(48, len(JOINTS), 1))
        self.places = nn.Sequential(conv(outs[1], 32), nn.Conv2d(32, 5, 1))
        self.mask = nn.Sequential(conv(outs[0], 16), nn.Conv2d(16, 4, 1), nn.PixelShuffle(2))
        self.figure = nn.Sequential(nn.Linear(2 * WIDTHS[4], 48), nn.ReLU(), nn.Linear(48, 1))
        with torch.no_grad():  # figures are rare among the cells
            self.places[1].bias[0] = -4.0

    def forward(self, image: Tensor) -> Heads:
        """See the module and :class:`Heads`."""
        mean = image.mean((1, 2, 3), keepdim=True)
        contrast = ((image - mean) ** 2).mean((1, 2, 3), keepdim=True).sqrt()
        x = (image - mean) / (contrast + 12.0)
        trunk = []
        for stage in self.stages:
            x = stage(x)
            trunk.append(x)
        pooled = torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)
        x = self.up16(x, trunk[3])
        x = self.up8(x, trunk[2])
        quarter = self.up4(x, trunk[1])
        half = self.up2(quarter, trunk[0])
        places = self.places(quarter)
        return Heads(
            self.joints(quarter), self.mask(half), places[:, :1], places[:, 1:], self.figure(pooled)
        )
