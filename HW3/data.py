"""MNIST and its relatives: from the files on disk to batches of images in [0, 1].

LeCun, Cortes, Burges 1998 (MNIST); Xiao et al. 2017 (Fashion-MNIST); Clanuwat et al. 2018 (KMNIST). All three
have 60,000 training and 10,000 test images of 28x28 pixels in ten classes. The files are read once into one
uint8 tensor and padded (not stretched) to 32x32, so that the sides halve evenly; a batch is one indexing
operation, there are no per-image transforms and no worker is needed.

Every image has one value range here, [0, 1]; `to_signed` and `to_unit` convert to and from the [-1, 1] that
diffusion in pixel space works in.
"""

import os
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from HW3.support.data_files import DATASETS, load_images
from HW3.support.runtime import derive_seed

IMAGE_SIZE = 32
NUM_CLASSES = 10


class ImageBatches(Dataset):
    """Serve whole batches of images, padded once and converted as they are asked for.

    Args:
        images: uint8 (N, 28, 28) or (N, 32, 32).
        labels: int64 (N,), 0 to 9.
        device: where the images rest and the batches are made.
    """

    def __init__(self, images: Tensor, labels: Tensor, device: torch.device | str = "cpu") -> None:
        margin = (IMAGE_SIZE - images.shape[-1]) // 2
        self.images = F.pad(images, (margin,) * 4).unsqueeze(1).to(device)  # (N, 28, 28) -> (N, 1, 32, 32)
        self.labels = labels.to(device)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return x float32 (B, 1, 32, 32) in [0, 1] and y int64 (B,) for indices int64 (B,)."""
        indices = indices.to(self.labels.device)
        return self.images[indices].float() / 255, self.labels[indices]


class BatchOrder(Sampler[Tensor]):
    """Yield the indices of each batch of an epoch, in an order that depends on (seed, epoch) alone.

    Args:
        length: number of items.
        batch_size: items per batch; the last batch may be smaller.
        shuffle: draw a new order each epoch, or keep the natural one.
        seed: of the order.
        limit_batches: stop an epoch after that many batches; None for all.
        device: of the indices; where the items are, or else a GPU has to wait for the indices of each batch.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int,
        limit_batches: int | None,
        device: torch.device | str,
    ) -> None:
        self.length, self.batch_size, self.shuffle, self.seed = length, batch_size, shuffle, seed
        self.device = device
        self.num_batches = min(-(-length // batch_size), limit_batches or length)
        self.epoch = 1

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch (from 1) that the next iteration is; without a call they follow one another."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.arange(self.length)
        if self.shuffle:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, self.epoch, "order"))
            order = torch.randperm(self.length, generator=generator)
        self.epoch += 1
        yield from order.to(self.device).split(self.batch_size)[: self.num_batches]


def get_mnist_dataloaders(
    data_dir: str | os.PathLike,
    batch_size: int = 128,
    num_workers: int = 0,
    val_split: float = 0.0,
    download: bool = True,
    *,
    dataset: str = "mnist",
    seed: int = 42,
    device: torch.device | str = "cpu",
    limit_batches: int | None = None,
) -> tuple[DataLoader, DataLoader | None, DataLoader]:
    """Return the loaders of training, validation (None without val_split) and test batches.

    A batch is (x, y): x float32 (B, 1, 32, 32) in [0, 1], y int64 (B,) in 0..9. The training batches come in
    an order of their own each epoch, set by the seed and `loader.sampler.set_epoch`; the others keep theirs.

    Args:
        data_dir: folder of the data set or its parent, `data/MNIST` or `data`; not read for `synthetic`.
        batch_size: images per batch, at least 1; the last batch of an epoch may be smaller.
        num_workers: processes that make the batches; 0 (none) is fastest here.
        val_split: share of the training images, in [0, 1), that is set aside for validation, chosen by the
            seed; above 0, each part gets at least one.
        download: fetch what is missing or damaged; otherwise it is an error.
        dataset: one of DATASETS.
        seed: of the validation split and the order of the training batches.
        device: where the batches are made; ignored with workers, which make them on the CPU.
        limit_batches: end every epoch, of all three loaders, after that many batches; None for all.

    Raises:
        ValueError: if an argument is out of range.
        UsageError: if the data is missing or damaged and can't be fetched.
    """
    if dataset not in DATASETS:
        raise ValueError(f"dataset must be one of {', '.join(DATASETS)}, got {dataset!r}")
    for name, value, least in (("batch_size", batch_size, 1), ("num_workers", num_workers, 0)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    if limit_batches is not None and limit_batches < 1:
        raise ValueError(f"limit_batches must be at least 1 or None, got {limit_batches}")
    if not 0 <= val_split < 1:
        raise ValueError(f"val_split must be in [0, 1), got {val_split}")

    train_images, train_labels = load_images(data_dir, dataset, train=True, download=download)
    test_images, test_labels = load_images(data_dir, dataset, train=False, download=download)
    num_val = round(val_split * len(train_labels))
    if val_split:
        num_val = min(max(num_val, 1), len(train_labels) - 1)
    shuffled = torch.randperm(
        len(train_labels), generator=torch.Generator().manual_seed(derive_seed(seed, 0, "split"))
    )
    val_indices, train_indices = shuffled[:num_val].sort().values, shuffled[num_val:].sort().values

    def loader(images: Tensor, labels: Tensor, *, shuffle: bool = False) -> DataLoader:
        place = "cpu" if num_workers else device
        batches = ImageBatches(images, labels, place)
        return make_loader(
            batches,
            batch_size,
            shuffle=shuffle,
            seed=seed,
            num_workers=num_workers,
            limit_batches=limit_batches,
            device=place,
        )

    return (
        loader(train_images[train_indices], train_labels[train_indices], shuffle=True),
        loader(train_images[val_indices], train_labels[val_indices]) if num_val else None,
        loader(test_images, test_labels),
    )


def make_loader(
    dataset: Dataset,
    batch_size: int,
    *,
    shuffle: bool = False,
    seed: int = 0,
    num_workers: int = 0,
    limit_batches: int | None = None,
    device: torch.device | str = "cpu",
) -> DataLoader:
    """Return a loader over a data set that is indexed by whole batches (int64), such as a TensorDataset."""
    order = BatchOrder(
        len(dataset), batch_size, shuffle=shuffle, seed=seed, limit_batches=limit_batches, device=device
    )
    # A generator of its own: the loader draws a number for its workers, which must not move the global
    # generator.
    return DataLoader(
        dataset, batch_size=None, sampler=order, num_workers=num_workers, generator=torch.Generator()
    )


def all_examples(loader: DataLoader) -> tuple[Tensor, Tensor]:
    """Return all images (N, 1, 32, 32) in [0, 1] and labels (N,) of a loader's data set, in its own order."""
    return loader.dataset[torch.arange(len(loader.dataset))]


def to_signed(images: Tensor) -> Tensor:
    """Map images from [0, 1] to [-1, 1], any shape."""
    return 2 * images - 1


def to_unit(images: Tensor) -> Tensor:
    """Map images from [-1, 1] back to [0, 1], any shape; what lies beyond is cut off."""
    return ((images + 1) / 2).clamp(0, 1)
