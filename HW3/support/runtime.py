"""Device, precision, seeds, losses and progress of a run.

Plain functions; none of them knows a model or a loss, calls `backward()` or iterates over epochs.
"""

import ctypes
import importlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from HW3.support.process import RunError, UsageError

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEPT_BYTES = 2**30


def import_torchvision(module: str):
    """Import a module of torchvision, late: one built for another torch fails here, and deserves an
    explanation.

    Raises:
        UsageError: if torchvision is missing or does not fit the torch beside it.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError, AttributeError) as error:
        raise UsageError(
            f"torchvision is missing or does not fit torch {torch.__version__} ({error}); "
            "install the tested pair with: pip install -r requirements.txt"
        ) from error


# Device and precision


def pick_device(name: str) -> torch.device:
    """Return the device of that name; `auto` takes CUDA, then MPS, then the CPU.

    Raises:
        UsageError: if the device that is asked for is not there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, there in available.items() if there)
    elif not available[name]:
        raise UsageError(f"--device {name}: there is no such device here, or this torch was built without it")
    if name == "cpu":
        _keep_freed_memory()
    return torch.device(name)


def _keep_freed_memory() -> None:
    """Let this process keep the memory that it frees for its next tensors, where its C library is glibc.

    By default each large tensor gets fresh pages from the system, which take up to a third of the time of
    what is done with it.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        # Older versions of glibc refuse more than 32 MiB here.
        libc.mallopt(M_MMAP_THRESHOLD, KEPT_BYTES) or libc.mallopt(M_MMAP_THRESHOLD, 2**25)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the context in which a model runs, for any number of `with` statements.

    `auto` multiplies in bf16 where that is faster: on GPUs that have it and on processors that multiply it
    natively. Weights, losses and the schedule stay fp32 in any case.

    Args:
        device: where the model runs.
        precision: `fp32`, `bf16` or `auto`.
    """
    enabled = resolve_precision(device.type, precision) == "bf16"
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def resolve_precision(device: str, precision: str) -> str:
    """Return `fp32` or `bf16`: the precision itself, or what `auto` means on a device of that name."""
    if precision != "auto":
        return precision
    kind = pick_device(device).type
    if kind == "cpu":
        # Processors with AMX have it, too. torch has no public name for it.
        pays = torch.cpu._is_avx512_bf16_supported()
    else:
        pays = kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if pays else "fp32"


# Randomness


def derive_seed(seed: int, epoch: int, purpose: str) -> int:
    """Return a seed in [0, 2^63), well mixed from its three parts, so that no two uses share a stream."""
    mixed = np.random.SeedSequence([seed, epoch, *purpose.encode()]).generate_state(1, np.uint64)
    return int(mixed[0] >> 1)


def seed_epoch(seed: int, epoch: int) -> None:
    """Seed all randomness of an epoch by (seed, epoch), so that a resumed run needs no stored generator
    state.

    Epoch 0 is what comes before training: the initial weights.
    """
    torch.manual_seed(derive_seed(seed, epoch, "train"))


def seeded_generator(seed: int, purpose: str) -> torch.Generator:
    """Return a CPU generator for pictures: the same noise every epoch, and none of it taken from training."""
    return torch.Generator().manual_seed(derive_seed(seed, 0, purpose))


# Losses and progress


class Losses:
    """Collect the losses of an epoch where they are computed, so that a GPU need not wait, and average them.

    Args:
        epoch: number of the epoch, from 1.
        epochs: number of all epochs.
        checkpoint: the file that is still good if the epoch fails.
        names: of the losses.
    """

    def __init__(self, epoch: int, epochs: int, checkpoint: Path, *names: str) -> None:
        self.epoch, self.epochs, self.checkpoint, self.names = epoch, epochs, checkpoint, names
        self.steps: list[Tensor] = []
        self.sizes: list[int] = []

    def add(self, batch_size: int, *losses: Tensor) -> None:
        """Add the losses of one step, scalars that are means over a batch of batch_size.

        Raises:
            RunError: if one of them is not finite; on a GPU this shows at the end of the epoch.
        """
        self.steps.append(torch.stack([loss.detach().float() for loss in losses]))
        self.sizes.append(batch_size)
        if self.steps[-1].device.type == "cpu":
            self._check(self.steps[-1:], first_step=len(self.steps))

    def means(self) -> dict[str, float]:
        """Return the mean of each loss over all images so far, by name.

        Raises:
            RunError: if a loss was not finite.
        """
        steps = torch.stack(self.steps).cpu().double()  # (steps, names)
        self._check(steps, first_step=1)
        sizes = torch.tensor(self.sizes, dtype=torch.float64)
        return dict(zip(self.names, (sizes @ steps / sizes.sum()).tolist(), strict=True))

    def _check(self, steps: Iterable[Tensor], first_step: int) -> None:
        for number, values in enumerate(steps, first_step):
            if not values.isfinite().all():
                kept = (
                    f"the last good checkpoint is {self.checkpoint}"
                    if self.checkpoint.exists()
                    else "nothing was saved"
                )
                listed = ", ".join(
                    f"{name} {value:g}" for name, value in zip(self.names, values.tolist(), strict=True)
                )
                raise RunError(f"not finite in epoch {self.epoch}, step {number}: {listed}; {kept}")


def progress(loader: DataLoader, losses: Losses) -> Iterator[list[Tensor]]:
    """Yield the batches of an epoch, under a bar with loss and images/s on stderr, if that is a terminal."""
    images = min(len(loader.dataset), len(loader) * loader.sampler.batch_size)
    in_notebook = type(sys.stderr).__module__.startswith("ipykernel")
    silent = False if in_notebook else True if sys.stderr is None else None  # None: unless it is a terminal
    with tqdm(
        total=images,
        unit=" images",
        desc=f"epoch {losses.epoch}/{losses.epochs}",
        disable=silent,
        leave=False,
    ) as bar:
        for batch in loader:
            yield batch
            if bar.update(len(batch[0])):  # true when the bar was drawn; reading the loss makes a GPU wait
                bar.set_postfix_str(f"{losses.names[0]} {losses.steps[-1][0].item():.4f}", refresh=False)


def note_other_dataset(earlier: dict, path: Path, dataset: str) -> None:
    """Say in one line when an earlier stage's checkpoint comes from another data set than this run's."""
    if earlier["args"]["dataset"] != dataset:
        print(f"Note: {path} was trained on {earlier['args']['dataset']}, this run trains on {dataset}")
