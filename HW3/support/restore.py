"""Rebuild trained models from their checkpoints alone: to draw from them, or as part of a later stage.

Noise is drawn on the CPU, so a seed gives the same digits on every device, up to rounding.
"""

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from HW3.support.process import UsageError

import torch
from torch import Tensor

from HW3.clip import TinyCLIP
from HW3.data import to_unit
from HW3.diffusion import DiffusionConfig, GaussianDiffusion
from HW3.guidance import GuidedModel
from HW3.mlp import EpsMLP
from HW3.support import checkpoint
from HW3.support.cuda_graph import GraphedModel
from HW3.support.runtime import note_other_dataset
from HW3.support.stages import STAGES
from HW3.Unet import UNet
from HW3.vae import ConvVAE, LatentSpace

DRAWING_STAGES = tuple(name for name, stage in STAGES.items() if stage.draws)
DEFAULT_STEPS = 50


# Earlier stages


def restore_vae(saved: dict[str, Any]) -> ConvVAE:
    """Rebuild the VAE of a checkpoint, in evaluation mode, on the CPU.

    Raises:
        UsageError: if another version of the code wrote the weights, and they don't fit.
    """
    vae = checkpoint.rebuild(ConvVAE, saved["model_config"])
    checkpoint.load_weights(vae, saved["model_state"])
    return vae.eval()


def restore_space(saved: dict[str, Any], *, canonicalize: bool = False) -> LatentSpace:
    """Rebuild a latent space from its `state`, or an unfitted one from a VAE's checkpoint."""
    space = LatentSpace(restore_vae(saved), canonicalize=canonicalize)
    if "mean" in saved:
        space.mean, space.std = saved["mean"], saved["std"]
    return space


def load_space(
    args: Namespace, saved: dict[str, Any] | None, *, canonicalize: bool = False
) -> tuple[LatentSpace, dict[str, Any]]:
    """Return the latent space of --vae-ckpt and the flags of the run that trained its VAE.

    Args:
        args: the flags.
        saved: the checkpoint of the run that is resumed. It keeps the latent space that it began in, whatever
            became of the VAE's own checkpoint.
        canonicalize: see `LatentSpace`.
    """
    if saved:
        vae, vae_args = saved["vae"], saved["vae"].get("args", {})
    else:
        vae = checkpoint.load(args.vae_ckpt, "vae")
        note_other_dataset(vae, args.vae_ckpt, args.dataset)
        vae_args = vae["args"] | {"epochs": vae["epoch"]}  # it may have been stopped before its last one
    return restore_space(vae, canonicalize=canonicalize), vae_args


def load_class_embeddings(args: Namespace, saved: dict[str, Any] | None) -> Tensor:
    """Return the frozen embeddings (10, D) of the labels, from --clip-ckpt or the run that is resumed.

    Raises:
        UsageError: if --embed-dim was given and is not D.
    """
    if saved:
        embeddings = saved["class_embeddings"]
    else:
        clip_saved = checkpoint.load(args.clip_ckpt, "clip")
        note_other_dataset(clip_saved, args.clip_ckpt, args.dataset)
        clip = checkpoint.rebuild(TinyCLIP, clip_saved["model_config"])
        checkpoint.load_weights(clip, clip_saved["model_state"])
        embeddings = clip.class_embeddings().detach()
    if args.embed_dim not in (None, embeddings.shape[1]):
        raise UsageError(f"--embed-dim {args.embed_dim}: {args.clip_ckpt} has {embeddings.shape[1]}")
    return embeddings


# Drawing


@dataclass(frozen=True)
class Sampling:
    """How to draw.

    Args:
        sampler: `ddpm` or `ddim`.
        steps: of DDIM, 1 to T; None for 50, or T if that is less.
        eta: of DDIM, in [0, 1].
        guidance_scale: of tiny SD.
    """

    sampler: str = "ddim"
    steps: int | None = None
    eta: float = 0.0
    guidance_scale: float = 2.0


def choose_sampling(saved: dict[str, Any], args: Namespace) -> Sampling:
    """Return how the flags say to draw from a checkpoint.

    Args:
        saved: the checkpoint.
        args: with the names of `Sampling`, each None where it was not given.

    Raises:
        UsageError: if a flag was given that means nothing here.
    """
    given = {field.name: getattr(args, field.name) for field in fields(Sampling)}
    given = {name: value for name, value in given.items() if value is not None}
    sampling, stage = Sampling(**given), saved["stage"]
    if stage in ("vae", "clip"):
        meaningless = dict.fromkeys(given, stage)
    else:
        meaningless = {"steps": "DDPM", "eta": "DDPM"} if sampling.sampler == "ddpm" else {}
        meaningless |= {"guidance_scale": stage} if stage != "tiny_sd" else {}
    for name in given:
        if name in meaningless:
            raise UsageError(f"--{name.replace('_', '-')} means nothing to {meaningless[name]}")
    return sampling


# What watches a sampler: gets the step t, and a function that returns x_t and x0_pred as images.
Watch = Callable[[int, Callable[[], tuple[Tensor, Tensor]]], None]
# (labels int64 (B,), source of noise, optionally who watches) -> images (B, 1, 32, 32) in [0, 1]
Draw = Callable[..., Tensor]


def count_steps(saved: dict[str, Any], sampling: Sampling) -> int:
    """Return the number of steps that a checkpoint of a diffusion stage is drawn in.

    Raises:
        UsageError: if the model has fewer timesteps than asked for.
    """
    timesteps = saved["diffusion_config"]["timesteps"]
    if sampling.sampler == "ddpm":
        return timesteps
    steps = min(DEFAULT_STEPS, timesteps) if sampling.steps is None else sampling.steps
    if steps > timesteps:
        raise UsageError(f"--steps {steps}: the model has only {timesteps} timesteps")
    return steps


def restore(saved: dict[str, Any], sampling: Sampling, device: torch.device) -> Draw:
    """Rebuild the model of a checkpoint and return the function that draws from it.

    Args:
        saved: a checkpoint of one of DRAWING_STAGES.
        sampling: how to draw.
        device: where to draw.

    Returns:
        draw(labels, generator, watch=None) -> images (B, 1, 32, 32) in [0, 1]: labels int64 (B,), which only
        tiny SD follows; a CPU generator, so that a seed draws the same digits on every device up to rounding;
        watch, if given, is called at every step.

    Raises:
        UsageError: if the model has fewer timesteps than asked for, or the weights don't fit it.
    """
    if saved["stage"] == "vae":
        vae = restore_vae(saved).to(device)

        def draw_prior(labels: Tensor, generator: torch.Generator, watch: Watch | None = None) -> Tensor:
            z = torch.randn(len(labels), vae.latent_dim, generator=generator)
            return vae.decode(z.to(device)).detach()

        return draw_prior

    steps = count_steps(saved, sampling)
    if "vae" in saved:
        canonicalize = saved["args"].get("canonicalize", False)
        decode = restore_space(saved["vae"], canonicalize=canonicalize).to(device).decode
        model = checkpoint.rebuild(EpsMLP, saved["model_config"])
    else:
        decode = to_unit
        model = checkpoint.rebuild(UNet, saved["model_config"])
    checkpoint.load_weights(model, saved["model_state"])
    model = model.to(device).eval()
    embeddings = saved.get("class_embeddings")
    if embeddings is not None:
        embeddings = embeddings.to(device)
        model = GuidedModel(model, sampling.guidance_scale)
    model = GraphedModel(model)
    config = checkpoint.rebuild(DiffusionConfig, saved["diffusion_config"])
    diffusion = GaussianDiffusion(model, config).to(device)

    def draw(labels: Tensor, generator: torch.Generator, watch: Watch | None = None) -> Tensor:
        def show(module, inputs, eps_pred) -> None:
            x_t, t = inputs[:2]
            watch(int(t[0]), lambda: (decode(x_t), decode(diffusion.predict_x0(x_t, t, eps_pred.float()))))

        cond = None if embeddings is None else embeddings[labels.to(device)]
        hook = model.register_forward_hook(show) if watch else None
        try:
            if sampling.sampler == "ddpm":
                samples = diffusion.sample_ddpm(len(labels), device, cond, generator=generator)
            else:
                samples = diffusion.sample_ddim(
                    len(labels), device, steps, sampling.eta, cond, generator=generator
                )
        finally:
            if hook:
                hook.remove()
        return decode(samples)

    return draw


def draw_in_parts(draw: Draw, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Draw many digits, 250 at a time, so that memory suffices: (N,) -> images (N, 1, 32, 32) in [0, 1]."""
    return torch.cat([draw(part, generator) for part in labels.split(250)])
