"""A UNet whose design choices are switches, for `trials.py`; the choice that won is `HW3/Unet.py`."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from HW3.Unet import Embedding


class Block(nn.Module):
    """A residual block, told of the time by scale and shift."""

    def __init__(self, in_channels: int, out_channels: int, dim: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(8, in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.modulation = nn.Linear(dim, 2 * out_channels)
        self.norm2 = nn.GroupNorm(8, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.skip = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.modulation(F.silu(embedding))[:, :, None, None].chunk(2, dim=1)
        h = self.norm2(h) * (1 + scale) + shift
        return self.skip(x) + self.conv2(F.silu(h))


class TrialUNet(nn.Module):
    """A UNet with switches.

    Args:
        base, mults: channels of the first level, and of each level as multiples of them.
        blocks: residual blocks of each level, on the way down and again on the way up.
        join: "concat" or "add": how a skip enters on the way up.
        passing: how x_t enters the output: "gate" adds gate(t) x_t, "angle" is that of HW3.Unet.
        patch: fold patches of that side into channels before the first level, and unfold them after the last.
    """

    def __init__(
        self,
        base: int = 16,
        mults: Sequence[int] = (1, 2, 4, 8),
        blocks: Sequence[int] = (1, 1, 1, 1),
        join: str = "concat",
        passing: str = "gate",
        patch: int = 1,
    ) -> None:
        super().__init__()
        dim = 128
        widths = [base * mult for mult in mults]
        self.join, self.passing, self.patch = join, passing, patch
        self.embedding = Embedding(dim)
        if passing == "gate":
            self.gate = nn.Linear(dim, 1)
        else:
            self.angle = nn.Parameter(torch.zeros(dim))
        self.stem = nn.Conv2d(patch**2, widths[0], 3, padding=1)

        self.down, self.up, self.downsample, self.upsample = (nn.ModuleList() for _ in range(4))
        for width, number in zip(widths, blocks, strict=True):
            joined = 2 * width if join == "concat" else width
            self.down.append(nn.ModuleList(Block(width, width, dim) for _ in range(number)))
            self.up.append(nn.ModuleList(Block(joined, width, dim) for _ in range(number)))
        for fine, coarse in pairwise(widths):
            self.downsample.append(nn.Conv2d(fine, coarse, 3, stride=2, padding=1))
            self.upsample.append(nn.Sequential(nn.Conv2d(coarse, fine, 1), nn.Upsample(scale_factor=2)))
        self.middle = Block(widths[-1], widths[-1], dim)
        self.norm = nn.GroupNorm(8, widths[0])
        self.head = nn.Conv2d(widths[0], patch**2, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        embedding = self.embedding(t)
        h = self.stem(F.pixel_unshuffle(x, self.patch))
        skips = []
        for level, blocks in enumerate(self.down):
            if level > 0:
                h = self.downsample[level - 1](h)
            for block in blocks:
                h = block(h, embedding)
                skips.append(h)
        h = self.middle(h, embedding)
        for level in reversed(range(len(self.up))):
            for block in self.up[level]:
                h = block(self._joined(h, skips.pop()), embedding)
            if level > 0:
                h = self.upsample[level - 1](h)
        out = F.pixel_shuffle(self.head(F.silu(self.norm(h))), self.patch)
        if self.passing == "gate":
            return out + self.gate(embedding)[:, :, None, None] * x
        phi = math.pi / 4 + (F.silu(embedding) * self.angle).sum(dim=1)[:, None, None, None]
        return phi.sin() * x + phi.cos() * out

    def _joined(self, h: Tensor, skip: Tensor) -> Tensor:
        return torch.cat([h, skip], dim=1) if self.join == "concat" else h + skip
