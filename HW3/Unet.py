"""The noise predictor for images: a small UNet that is told the timestep and, if asked to, a condition.

Papers: Ronneberger et al. 2015 (U-Net); Ho, Jain, Abbeel 2020 (DDPM), appendix B, for its use as
eps_theta(x_t, t); Dhariwal and Nichol 2021, section 3, for scale and shift by the embedding ("adaptive group
normalisation"); Salimans and Ho 2022, "Progressive Distillation for Fast Sampling of Diffusion Models",
appendix D, for the angle phi.

Notation: B batch, C channels, H x W pixels, E = `time_dim`, the width of the embedding of time and condition.

Simplified against the DDPM paper: no attention, no dropout, few residual blocks, and few channels where
there are many pixels. A 3x3 convolution costs 18 C^2 H W operations, so with channels that double as the
sides halve every level costs the same, and none of them much; by default the fine levels, which draw the
strokes, get two blocks. Added to the paper: eps_pred = sin(phi) x_t + cos(phi) network(x_t, t, cond), with an
angle phi = pi / 4 + angle . silu(embedding) that is learned as a function of t and cond. If sin(phi) =
sqrt(1 - alpha_bar_t), the network predicts v, which is as large as x_t at every t: where x_t is nearly all
noise it is passed on, and the thin network is left with the digit. What each choice is worth was measured:
tests/benchmarks/README.md.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 8  # of channels in every group normalisation


class SinusoidalEmbedding(nn.Module):
    """Embed timesteps as sines and cosines of many frequencies (Vaswani et al. 2017, section 3.5).

    embedding = [sin(t w_0), ..., sin(t w_k), cos(t w_0), ..., cos(t w_k)], w_i = 10000^(-i / (dim / 2)).

    Args:
        dim: width of the embedding, an even number of at least 2.

    Raises:
        ValueError: if dim is odd or less than 2.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim < 2 or dim % 2:
            raise ValueError(f"dim must be an even number of at least 2, got {dim}")
        frequencies = torch.exp(-math.log(10000.0) * torch.arange(dim // 2) / (dim // 2))
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        """Embed timesteps t (B,), 0-based, as float32 (B, dim) in [-1, 1]."""
        angles = t.float()[:, None] * self.frequencies  # (B,) -> (B, dim / 2)
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class Embedding(nn.Module):
    """Embed the timestep and an optional condition as one vector.

    Args:
        dim: width of the result, an even number.
        cond_dim: width of the condition, or None for a model without one.
    """

    def __init__(self, dim: int, cond_dim: int | None = None) -> None:
        super().__init__()
        self.cond_dim = cond_dim
        self.time = nn.Sequential(
            SinusoidalEmbedding(dim), nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, dim)
        )
        if cond_dim is not None:
            self.cond = nn.Sequential(nn.Linear(cond_dim, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """Return the embedding (B, dim) of t (B,) and cond (B, cond_dim), unit vectors, or None.

        Raises:
            ValueError: if cond is given to a model without one, or its shape is not (B, cond_dim).
        """
        embedding = self.time(t)
        if self.cond_dim is None:
            if cond is not None:
                raise ValueError("cond was given, but this model was built without cond_dim")
            return embedding
        # TASK: write the conditional path of this model, which has a cond_dim. The result is the sum of the
        # time's embedding and the condition's; self.cond is the network that embeds conditions.
        # - Sampling without a condition, cond = None, is sampling with the null token of the guidance paper,
        #   section 3.2. It is a vector of zeros here.
        # - A cond of another shape than (B, cond_dim), B the number of timesteps, is a ValueError.
        # - Conditions are unit vectors, so their components are small, the smaller the more there are. Layers
        #   learn best from components of about 1: before self.cond, multiply by the factor that gives a unit
        #   vector's components a root mean square of 1. It is the same number for all rows.
        # - Leave the arguments as they are. Gradients flow to cond and to both networks.
        ### BEGIN SOLUTION condition
        if cond is None:
            cond = embedding.new_zeros(len(t), self.cond_dim)
        if cond.shape != (len(t), self.cond_dim):
            raise ValueError(f"cond must have the shape {(len(t), self.cond_dim)}, got {tuple(cond.shape)}")
        # A unit vector of D components has components of about 1 / sqrt(D); layers learn best from components
        # of about 1.
        return embedding + self.cond(cond * math.sqrt(self.cond_dim))
        ### END SOLUTION


def adaptive_group_norm(norm: nn.GroupNorm, h: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return norm(h) * (1 + scale) + shift; Dhariwal and Nichol, section 3.

    A group normalisation ends by multiplying each channel by a weight and adding a bias. Scale and shift are
    made part of these two, which saves passes over h. Weights then differ between images, so the channels of
    all images are treated as those of one image, in B times as many groups.

    Args:
        norm: the normalisation, with its own weight and bias (C,).
        h: (B, C, H, W).
        scale, shift: (B, C).
    """
    weight = norm.weight * (1 + scale)  # (B, C)
    bias = norm.bias * (1 + scale) + shift
    images = len(h)
    h = torch.group_norm(
        h.reshape(1, -1, *h.shape[2:]), images * norm.num_groups, weight.flatten(), bias.flatten(), norm.eps
    )
    return h.unflatten(1, (images, -1))[0]  # (1, B C, H, W) -> (B, C, H, W)


class ResBlock(nn.Module):
    """Add to x what two convolutions make of it, scaled and shifted by the embedding between them.

    Args:
        in_channels, out_channels: numbers of channels.
        embedding_dim: width E of the embedding.
    """

    def __init__(self, in_channels: int, out_channels: int, embedding_dim: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.scale_shift = nn.Linear(embedding_dim, 2 * out_channels)
        self.norm2 = nn.GroupNorm(GROUPS, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.skip = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map x (B, in_channels, H, W) and embedding (B, E) to (B, out_channels, H, W)."""
        h = self.conv1(F.silu(self.norm1(x)))
        scale_shift = self.scale_shift(F.silu(embedding)).to(self.norm2.weight.dtype)  # (B, 2 C)
        scale, shift = scale_shift.chunk(2, dim=1)
        h = adaptive_group_norm(self.norm2, h, scale, shift)
        return self.skip(x) + self.conv2(F.silu(h))


class UNet(nn.Module):
    """Predict the noise in x_t: eps_pred = sin(phi) x_t + cos(phi) network(x_t, t, cond).

    Args:
        in_channels: channels of the image.
        base_channels: channels of the first level, a multiple of 8.
        channel_mults: channels of each level, as multiples of base_channels; the sides halve from one to the
            next.
        time_dim: width of the embedding of time and condition; 8 * base_channels when None.
        cond_dim: width of the condition; None makes a UNet without one.
        num_res_blocks: residual blocks of each level, on the way down and again on the way up; the last
            number holds for all further levels.

    Raises:
        ValueError: if base_channels is not a multiple of 8, or a multiple or a number of blocks not positive.
    """

    def __init__(
        self,
        in_channels: int = 1,
        base_channels: int = 16,
        channel_mults: Sequence[int] = (1, 2, 4, 8),
        time_dim: int | None = None,
        cond_dim: int | None = None,
        num_res_blocks: Sequence[int] = (2, 2, 1),
    ) -> None:
        super().__init__()
        if base_channels < GROUPS or base_channels % GROUPS:
            raise ValueError(f"base_channels must be a multiple of {GROUPS}, got {base_channels}")
        for name, numbers in (("channel_mults", channel_mults), ("num_res_blocks", num_res_blocks)):
            if not numbers or min(numbers) < 1:
                raise ValueError(f"{name} must be positive numbers, got {numbers}")
        widths = [base_channels * mult for mult in channel_mults]
        time_dim = 8 * base_channels if time_dim is None else time_dim
        self.embedding = Embedding(time_dim, cond_dim)
        self.angle = nn.Parameter(torch.zeros(time_dim))  # weights of the embedding in phi
        self.stem = nn.Conv2d(in_channels, widths[0], 3, padding=1)

        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(widths):
            blocks = range(num_res_blocks[min(level, len(num_res_blocks) - 1)])
            self.down.append(nn.ModuleList(ResBlock(width, width, time_dim) for _ in blocks))
            # On the way up each block also gets the output of its counterpart on the way down.
            self.up.append(nn.ModuleList(ResBlock(2 * width, width, time_dim) for _ in blocks))
        self.downsample, self.upsample = nn.ModuleList(), nn.ModuleList()
        for fine, coarse in pairwise(widths):
            self.downsample.append(nn.Conv2d(fine, coarse, 3, stride=2, padding=1))
            # The 1x1 convolution comes first: at the coarse level it costs a quarter.
            self.upsample.append(nn.Sequential(nn.Conv2d(coarse, fine, 1), nn.Upsample(scale_factor=2)))
        self.middle = ResBlock(widths[-1], widths[-1], time_dim)
        self.norm = nn.GroupNorm(GROUPS, widths[0])
        self.head = nn.Conv2d(widths[0], in_channels, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """Return the predicted noise in images x.

        Args:
            x: noisy images (B, C, H, W); H and W must be divisible by 2^(levels - 1).
            t: timesteps int64 (B,), 0-based.
            cond: conditions (B, cond_dim), unit vectors; None for the unconditional prediction.

        Returns:
            The noise, in x's shape.

        Raises:
            ValueError: if the sides of x can't be halved that often, or cond does not fit the model.
        """
        factor = 2 ** len(self.downsample)
        if x.shape[-2] % factor or x.shape[-1] % factor:
            raise ValueError(f"the sides of x must be divisible by {factor}, got {tuple(x.shape)}")
        embedding = self.embedding(t, cond)

        h = self.stem(x)  # (B, C, H, W) -> (B, C_0, H, W)
        skips = []
        for level, blocks in enumerate(self.down):
            if level > 0:
                h = self.downsample[level - 1](h)  # (B, C_l-1, H, W) -> (B, C_l, H / 2, W / 2)
            for block in blocks:
                h = block(h, embedding)
                skips.append(h)

        h = self.middle(h, embedding)

        for level in reversed(range(len(self.up))):
            for block in self.up[level]:
                h = block(torch.cat([h, skips.pop()], dim=1), embedding)
            if level > 0:
                h = self.upsample[level - 1](h)  # (B, C_l, H, W) -> (B, C_l-1, 2 H, 2 W)

        # Not as a matrix product, which autocast would do in bf16: near pi / 2 the cosine needs more digits.
        phi = math.pi / 4 + (F.silu(embedding) * self.angle).sum(dim=1)[:, None, None, None]  # (B, 1, 1, 1)
        return phi.sin() * x + phi.cos() * self.head(F.silu(self.norm(h)))
