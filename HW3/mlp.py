"""The noise predictor for latent vectors: an MLP of residual blocks that is told the timestep and, if asked
to, a condition.

Paper: Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion Models". Simplified against
it: the latents of a digit are one vector, not a map, so an MLP takes the place of their UNet.

Notation: B batch, D = `latent_dim`, E = `time_dim`, the width of the embedding of time and condition.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from HW3.Unet import Embedding


class MLPBlock(nn.Module):
    """Add to h what two layers make of it, scaled and shifted by what the embedding says.

    Args:
        hidden_dim: width of h.
    """

    def __init__(self, hidden_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden_dim)
        self.linear1 = nn.Linear(hidden_dim, hidden_dim)
        self.linear2 = nn.Linear(hidden_dim, hidden_dim)

    def forward(self, h: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """Map h, scale and shift, all (B, hidden_dim), to (B, hidden_dim)."""
        return h + self.linear2(F.silu(self.linear1(self.norm(h) * (1 + scale) + shift)))


class EpsMLP(nn.Module):
    """Predict the noise in latents, with a gate per dimension.

    eps_pred = gate(t, cond) * z_t + network(z_t, t, cond)

    Args:
        latent_dim: dimensions D of a latent, at least 1.
        time_dim: width of the embedding of time and condition, an even number.
        hidden_dim: width of the residual blocks.
        cond_dim: width of the condition; None makes an MLP without one.
        num_blocks: number of residual blocks.

    Raises:
        ValueError: if a size is not positive.
    """

    def __init__(
        self,
        latent_dim: int,
        time_dim: int = 256,
        hidden_dim: int = 512,
        cond_dim: int | None = None,
        num_blocks: int = 2,
    ) -> None:
        super().__init__()
        for name, value in (
            ("latent_dim", latent_dim),
            ("hidden_dim", hidden_dim),
            ("num_blocks", num_blocks),
        ):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.embedding = Embedding(time_dim, cond_dim)
        self.gate = nn.Linear(time_dim, latent_dim)
        self.scale_shift = nn.Linear(time_dim, 2 * hidden_dim)
        self.stem = nn.Linear(latent_dim, hidden_dim)
        self.blocks = nn.ModuleList(MLPBlock(hidden_dim) for _ in range(num_blocks))
        self.norm = nn.LayerNorm(hidden_dim)
        self.head = nn.Linear(hidden_dim, latent_dim)

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """Return the predicted noise in latents x.

        Args:
            x: noisy latents (B, D) or (B, D, 1, 1).
            t: timesteps int64 (B,), 0-based.
            cond: conditions (B, cond_dim), unit vectors; None for the unconditional prediction.

        Returns:
            The noise, in x's shape.

        Raises:
            ValueError: if cond does not fit the model.
        """
        embedding = self.embedding(t, cond)
        z = x.flatten(1)  # (B, D, 1, 1) -> (B, D)
        scale, shift = self.scale_shift(F.silu(embedding)).chunk(2, dim=1)  # (B, E) -> 2 x (B, hidden_dim)
        h = self.stem(z)
        for block in self.blocks:
            h = block(h, scale, shift)
        eps_pred = self.gate(embedding) * z + self.head(F.silu(self.norm(h)))
        return eps_pred.view_as(x)
