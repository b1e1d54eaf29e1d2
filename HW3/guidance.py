"""Classifier-free guidance (CFG): exaggerate what a condition changes in the prediction of the noise.

Paper: Ho and Salimans 2022, "Classifier-Free Diffusion Guidance". Their w is guidance_scale - 1; papers since
then call guidance_scale w, and so does README.md.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class GuidedModel(nn.Module):
    """Turn a conditional noise predictor into one with classifier-free guidance; Eq. (6).

    Args:
        model: the noise predictor, called as model(x_t, t, cond); zeros for cond stand for none.
        guidance_scale: 1 is the plain conditional prediction, 0 the unconditional one, more exaggerates the
            condition.
    """

    def __init__(self, model: Callable[..., Tensor], guidance_scale: float) -> None:
        super().__init__()
        self.model, self.guidance_scale = model, guidance_scale

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """Return the guided prediction, in x_t's shape, for x_t (B, ...), t (B,) and cond (B, D)."""
        # TASK: return the guided prediction of the noise, Eq. (6) of the paper, but with guidance_scale = w +
        # 1: a scale of 1 is the conditional prediction, 0 the unconditional one. For the unconditional one
        # the model, self.model(x_t, t, cond), gets zeros as cond; call it as often as you like. Leave the
        # arguments and the model's mode as they are; gradients flow through the model to x_t and cond.
        ### BEGIN SOLUTION guidance
        # eps = eps_uncond + guidance_scale (eps_cond - eps_uncond)
        if self.guidance_scale == 1:
            return self.model(x_t, t, cond)
        both = torch.cat([cond, torch.zeros_like(cond)])  # (B, D) -> (2B, D)
        eps_cond, eps_uncond = self.model(torch.cat([x_t, x_t]), torch.cat([t, t]), both).chunk(2)
        return eps_uncond + self.guidance_scale * (eps_cond - eps_uncond)
        ### END SOLUTION
