"""Grids of digits as PNG files."""

import io
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from HW3.diffusion import GaussianDiffusion
from HW3.support.files import write_whole
from HW3.support.runtime import import_torchvision, seeded_generator

NUM_SAMPLES, NUM_ROWS = 64, 8


def save_grid(images: Tensor, path: Path, columns: int = 8) -> None:
    """Save images (N, 1, H, W) in [0, 1] as one PNG, in rows of `columns`."""
    utils = import_torchvision("torchvision.utils")
    buffer = io.BytesIO()
    utils.save_image(images.float().cpu(), buffer, format="png", nrow=columns)
    write_whole(path, buffer.getvalue())


def draw_grids(
    diffusion: GaussianDiffusion,
    decode: Callable[[Tensor], Tensor],
    args: Namespace,
    device: torch.device,
    folder: Path,
    epoch: int,
) -> Path:
    """Draw digits by DDPM and by DDIM from the same start noise; return the path of the second grid.

    Args:
        diffusion: with the averaged weights.
        decode: maps samples to images (B, 1, 32, 32) in [0, 1].
        args: flags of the run, with ddim_steps, ddim_eta and seed.
        device: where to draw.
        folder: of the run.
        epoch: number of the completed epoch, for the names of the files.
    """
    for sampler in ("ddpm", "ddim"):
        generator = seeded_generator(args.seed, "grid")
        if sampler == "ddpm":
            samples = diffusion.sample_ddpm(NUM_SAMPLES, device, generator=generator)
        else:
            samples = diffusion.sample_ddim(
                NUM_SAMPLES, device, args.ddim_steps, args.ddim_eta, generator=generator
            )
        path = folder / f"samples_{sampler}_epoch_{epoch:03d}.png"
        save_grid(decode(samples), path)
    return path


def draw_class_grid(
    diffusion: GaussianDiffusion,
    decode: Callable[[Tensor], Tensor],
    class_embeddings: Tensor,
    args: Namespace,
    device: torch.device,
    folder: Path,
    epoch: int,
) -> Path:
    """Draw rows of one digit per class by DDIM; return the path of the grid.

    Args:
        diffusion: with the averaged weights, and guidance.
        decode, args, device, folder, epoch: as for `draw_grids`.
        class_embeddings: conditions (K, D), one per class.
    """
    cond = class_embeddings.repeat(NUM_ROWS, 1)  # (K, D) -> (8 K, D)
    generator = seeded_generator(args.seed, "grid")
    samples = diffusion.sample_ddim(
        len(cond), device, args.ddim_steps, args.ddim_eta, cond, generator=generator
    )
    path = folder / f"samples_epoch_{epoch:03d}.png"
    save_grid(decode(samples), path, columns=len(class_embeddings))
    return path
