"""What runs in the process that imports the submission: call its code with given inputs, return the outcome.

A probe takes and returns numbers, strings, None, lists and dicts of these, and CPU tensors. It imports HW3
late, so that a module that does not import fails its own exercises and no others. There is no formula of an
exercise here, no expected value and no verdict.
"""

from tests.grading.probes.clip import clip_loss, compute_logits
from tests.grading.probes.diffusion import (
    ddim_step,
    p_mean_variance,
    q_sample,
    sample_ddim,
    sample_ddpm,
    training_loss,
)
from tests.grading.probes.networks import embed, guide, update_average
from tests.grading.probes.vae import canonicalize_latent, kl_divergence, reparameterize, vae_loss

__all__ = [
    "canonicalize_latent",
    "clip_loss",
    "compute_logits",
    "ddim_step",
    "embed",
    "guide",
    "kl_divergence",
    "p_mean_variance",
    "q_sample",
    "reparameterize",
    "sample_ddim",
    "sample_ddpm",
    "training_loss",
    "update_average",
    "vae_loss",
]
