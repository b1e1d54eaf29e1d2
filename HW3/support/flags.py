"""The command line of the scripts: flags in both spellings, values that are checked at once."""

import argparse
import re
import sys
from pathlib import Path
from typing import Any, NoReturn

import torch

from HW3.diffusion import DiffusionConfig
from HW3.support import process
from HW3.support.data_files import DATASETS
from HW3.support.flag_types import integer, integers, path, real

MANY = 1_000_000  # epochs, or images in a batch; more is a slip of the keyboard


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Show the script's docstring unchanged, and the defaults that are informative."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return (
            action.help
            if action.default is None or action.default is False
            else super()._get_help_string(action)
        )


class Parser(argparse.ArgumentParser):
    """A parser that takes `--data-dir` as `--data_dir` too, no abbreviations, and complains in one line."""

    def __init__(self, description: str) -> None:
        super().__init__(
            prog=process.command(),
            description=description,
            epilog="Underscores and hyphens are the same in flags: --batch_size is --batch-size.",
            formatter_class=_Formatter,
            allow_abbrev=False,
        )

    def parse_args(self, args=None, namespace=None):
        args = sys.argv[1:] if args is None else args
        args = map(str, args)  # main(["--epochs", 3]) in a notebook
        hyphenated = [re.sub(r"^--[\w-]+", lambda flag: flag[0].replace("_", "-"), arg) for arg in args]
        return super().parse_args(hyphenated, namespace)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


WIDTH = integer(1, 65_536)  # of a layer; more would end in a lack of memory
EVEN_WIDTH = integer(2, 65_536, multiple_of=2)


def add_run_flags(
    parser: Parser,
    *,
    data_dir: str,
    out_dir: str,
    epochs: int,
    batch_size: int,
    lr: float,
) -> None:
    """Add the flags that every script has, with the defaults of this one."""
    add = parser.add_argument
    add("--data-dir", type=path, default=Path(data_dir), help="folder of the data set, or one above it")
    add("--dataset", choices=tuple(DATASETS), default="mnist", help="data set to train on")
    add(
        "--out-dir",
        "--output-dir",
        type=path,
        default=Path(out_dir),
        help="folder for pictures and checkpoints",
    )
    add(
        "--epochs",
        type=integer(1, MANY),
        default=epochs,
        help="number of epochs, including those before --resume",
    )
    add("--batch-size", type=integer(1, MANY), default=batch_size, help="images per training step")
    add(
        "--lr",
        type=real(0, 1, above=True),
        default=lr,
        help="learning rate of the stage's optimizer; see HW3/optim.py for stages 2, 3 and 5",
    )
    add(
        "--ema-decay",
        type=real(0, 1, below=True),
        default=0.999,
        help="decay of the moving average of the weights",
    )
    add("--seed", type=integer(0, 2**32 - 1), default=42, help="random seed")
    add(
        "--num-workers", type=integer(0, 64), default=0, help="processes that load batches; 0 is fastest here"
    )
    add("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="device to train on")
    add(
        "--precision",
        choices=("auto", "fp32", "bf16"),
        default="auto",
        help="precision of the model's arithmetic",
    )
    add("--limit-batches", type=integer(1), help="batches per epoch, for a quick look; default: all")
    add("--resume", action="store_true", help="continue the run in the output folder")


def add_diffusion_flags(parser: Parser) -> None:
    """Add the flags of the schedule and of the samplers, for `parse_diffusion_args`."""
    add = parser.add_argument
    add(
        "--timesteps", type=integer(2, 100_000), default=1000, help="number of steps T of the forward process"
    )
    add("--beta-start", type=real(0, 1, above=True, below=True), help="first beta; default: 1e-4 * 1000 / T")
    add("--beta-end", type=real(0, 1, above=True, below=True), help="last beta; default: 0.02 * 1000 / T")
    add(
        "--ddim-steps",
        type=integer(1),
        help="steps of the DDIM sampler; default: 200 (stage 5: 50), or T if that is less",
    )
    add(
        "--ddim-eta",
        type=real(0, 1),
        default=0.0,
        help="noise of the DDIM sampler: 0 is none, 1 as much as DDPM's",
    )
    add(
        "--sample-every",
        type=integer(1),
        default=1,
        help="number of epochs between two grids; the last epoch always draws",
    )


def add_unet_flags(parser: Parser, *, channel_mults: str, num_res_blocks: str) -> None:
    """Add the flags of the UNet's size, with this stage's channels and blocks."""
    add = parser.add_argument
    add(
        "--base-channels",
        type=integer(8, 4096, multiple_of=8),
        default=16,
        help="channels of the first level",
    )
    add(
        "--channel-mults",
        type=integers(1, 64, most_items=6),
        default=channel_mults,
        help="channels of each level, as multiples of that",
    )
    add(
        "--num-res-blocks",
        type=integers(1, 64, most_items=6),
        default=num_res_blocks,
        help="residual blocks per level, down and up; the last number applies to all further levels",
    )


def add_drawing_flags(parser: Parser, *, precision: str) -> None:
    """Add the flags of the commands that draw from a checkpoint."""
    add = parser.add_argument
    add("--sampler", choices=("ddim", "ddpm"), help="sampler; default: ddim")
    add("--steps", type=integer(1), help="steps of DDIM; default: 50, or T if that is less")
    add("--eta", type=real(0, 1), help="noise of DDIM: 0 is none, 1 as much as DDPM's; default: 0")
    add(
        "--guidance-scale",
        type=real(0),
        help="guidance of tiny SD: 1 is plain conditional, 0 unconditional; default: 2",
    )
    add("--seed", type=integer(0, 2**32 - 1), default=42, help="random seed")
    add("--data-dir", type=path, default=Path("data"), help="folder of the data set, or one above it")
    add("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="device to draw on")
    add(
        "--precision", choices=("auto", "fp32", "bf16"), default=precision, help="precision of the arithmetic"
    )


def data_options(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Return the arguments of `get_mnist_dataloaders` that every script takes from its flags."""
    names = ("data_dir", "batch_size", "num_workers", "dataset", "seed", "limit_batches")
    return {name: getattr(args, name) for name in names} | {"device": device}


def unet_config(args: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of the UNet that these flags ask for."""
    return {name: getattr(args, name) for name in ("base_channels", "channel_mults", "num_res_blocks")}


def parse_diffusion_args(parser: Parser, argv: list[str] | None, *, ddim_steps: int) -> argparse.Namespace:
    """Parse the flags of a diffusion stage, and check those that must fit together.

    Args:
        parser: has the flags of `add_diffusion_flags`.
        argv: the command line; the process's own when None.
        ddim_steps: how many where none are given, or all timesteps if fewer.
    """
    args = parser.parse_args(argv)
    if args.ddim_steps is None:
        args.ddim_steps = min(ddim_steps, args.timesteps)
    if args.ddim_steps > args.timesteps:
        parser.error(
            f"argument --ddim-steps: must be at most --timesteps {args.timesteps}, got {args.ddim_steps}"
        )
    try:
        DiffusionConfig.scaled(args.timesteps, args.beta_start, args.beta_end)
    except ValueError as error:
        parser.error(f"arguments --beta-start, --beta-end: {error}")
    return args
