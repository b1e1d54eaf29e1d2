"""Draw from what the scripts trained: rebuild a model from its checkpoint alone, and sample it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from HW3.data import to_unit
from HW3.diffusion import DiffusionConfig, GaussianDiffusion
from HW3.guidance import GuidedModel
from HW3.mlp import EpsMLP
from HW3.Unet import UNet
from HW3.vae import ConvVAE, LatentSpace

DRAWING_STAGES = ("vae", "diffusion", "latent_diffusion", "tiny_sd")


@dataclass(frozen=True)
class Sampling:
    """How to draw.

    Args:
        sampler: `ddpm` or `ddim`.
        steps: of DDIM, 1 to T.
        eta: of DDIM, in [0, 1].
        guidance_scale: of tiny SD.
    """

    sampler: str = "ddim"
    steps: int = 50
    eta: float = 0.0
    guidance_scale: float = 2.0


Draw = Callable[[Tensor, torch.Generator], Tensor]  # labels int64 (B,), noise source -> images (B, 1, 32, 32)


def restore(saved: dict[str, Any], sampling: Sampling, device: torch.device) -> Draw:
    """Rebuild the model of a checkpoint and return the function that draws from it.

    Args:
        saved: a checkpoint of one of DRAWING_STAGES.
        sampling: how to draw.
        device: where to draw.

    Returns:
        draw(labels, generator) -> images (B, 1, 32, 32) in [0, 1]: labels int64 (B,), which only tiny SD
        follows; a CPU generator, so that a seed draws the same digits on every device up to rounding.
    """
    if saved["stage"] == "vae":
        vae = ConvVAE(**saved["model_config"])
        vae.load_state_dict(saved["model_state"])
        vae = vae.to(device).eval()

        def draw_prior(labels: Tensor, generator: torch.Generator) -> Tensor:
            z = torch.randn(len(labels), vae.latent_dim, generator=generator)
            return vae.decode(z.to(device)).detach()

        return draw_prior

    if "vae" in saved:
        canonicalize = saved["args"].get("canonicalize", False)
        decode = LatentSpace.restore(saved["vae"], canonicalize=canonicalize).to(device).decode
        model = EpsMLP(**saved["model_config"])
    else:
        decode = to_unit
        model = UNet(**saved["model_config"])
    model.load_state_dict(saved["model_state"])
    model = model.to(device).eval()
    embeddings = saved.get("class_embeddings")
    if embeddings is not None:
        embeddings = embeddings.to(device)
        model = GuidedModel(model, torch.zeros_like(embeddings[0]), sampling.guidance_scale)
    diffusion = GaussianDiffusion(model, DiffusionConfig(**saved["diffusion_config"])).to(device)

    def draw(labels: Tensor, generator: torch.Generator) -> Tensor:
        cond = None if embeddings is None else embeddings[labels.to(device)]
        if sampling.sampler == "ddpm":
            samples = diffusion.sample_ddpm(len(labels), device, cond, generator=generator)
        else:
            samples = diffusion.sample_ddim(
                len(labels), device, sampling.steps, sampling.eta, cond, generator=generator
            )
        return decode(samples)

    return draw
