"""HW3/data.py: batches of padded images in [0, 1], and a validation split that never leaks.

No download: the data set `synthetic` where get_mnist_dataloaders offers it, otherwise a small made-up MNIST.
"""

import inspect
import struct
from functools import partial

import pytest
import torch

from tests.grading.checks import expect

BATCH = "(x, y): x float32 (B, 1, 32, 32) in [0, 1], y int64 (B,) in 0..9"
PADDING = "x[:, :, 2:30, 2:30] = image / 255, and 0 around it"
SPLIT = "training images = train + validation, drawn by the seed"


@pytest.fixture
def loaders(data, tmp_path, rng):
    """get_mnist_dataloaders with a data set that needs no network."""
    if "dataset" in inspect.signature(data.get_mnist_dataloaders).parameters:
        return partial(data.get_mnist_dataloaders, tmp_path, dataset="synthetic")
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix, size in (("train", 1000), ("t10k", 200)):
        images = torch.zeros(size, 28, 28, dtype=torch.uint8)
        images[:, 4:24, 4:24] = torch.randint(0, 256, (size, 20, 20), generator=rng, dtype=torch.uint8)
        labels = torch.arange(size).remainder(10).to(torch.uint8)
        for name, values in (("images-idx3", images), ("labels-idx1", labels)):
            header = struct.pack(f">{1 + values.dim()}i", 0x0800 + values.dim(), *values.shape)
            (raw / f"{prefix}-{name}-ubyte").write_bytes(header + values.numpy().tobytes())
    return partial(data.get_mnist_dataloaders, tmp_path, download=False)


def everything(loader):
    """Return all images and labels of a loader."""
    images, labels = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(labels)


def fingerprints(loader):
    """Return the images of a loader, in no order, as a set of bytes."""
    return {image.numpy().tobytes() for image in everything(loader)[0]}


@pytest.mark.points(4)
def test_batches(loaders):
    """get_mnist_dataloaders serves batches (x, y) of images in [0, 1]"""
    for batch_size in (128, 32):
        options = {} if batch_size == 128 else {"batch_size": batch_size}
        train, val, test = loaders(**options)
        expect(val is None, "The validation loader without val_split", val, None, SPLIT)
        for name, loader in (("train", train), ("test", test)):
            x, y = next(iter(loader))
            seen = f"x {x.dtype} {tuple(x.shape)}, y {y.dtype} {tuple(y.shape)}"
            shapes = x.shape == (batch_size, 1, 32, 32) and y.shape == (batch_size,)
            right = shapes and x.dtype == torch.float32 and y.dtype == torch.int64
            expect(right, f"A {name} batch", seen, f"B = {batch_size}", BATCH)
            x, y = everything(loader)
            low, high = x.min().item(), x.max().item()
            # The brightest ink of the data sets is 255 or a little less.
            expect(low == 0 and 0.9 < high <= 1, f"The range of {name} images", (low, high), "[0, 1]", BATCH)
            seen = y.unique().tolist()
            expect(seen == list(range(10)), f"The labels of {name} images", seen, "0 to 9", BATCH)


@pytest.mark.points(3)
def test_padding(loaders):
    """Images are padded from 28x28 to 32x32, not stretched"""
    x, _ = everything(loaders()[2])
    border = x.clone()
    border[:, :, 2:30, 2:30] = 0
    expect(border.max() == 0, "The brightest pixel of the border, 2 wide", border.max().item(), 0, PADDING)
    levels = 255 * x
    off = (levels - levels.round()).abs().max().item()
    expect(off < 1e-3, "How far 255 x is from whole numbers", f"{off:.3f}", "0, nothing is blended", PADDING)
    where = torch.arange(32)
    longest = torch.zeros(len(x))
    for name, dim in (("rows", 1), ("columns", 2)):
        lines = x[:, 0].transpose(1, dim)  # (N, 32, 32), the rows or the columns of each image
        repeated = (lines[:, 8:24] == lines[:, 7:23]).all(dim=2).all(dim=0).any().item()
        expect(not repeated, f"{name} that repeat their neighbours in every image", "some", "none", PADDING)
        ink = lines.sum(dim=(0, 2))
        middle = f"{(ink * where).sum() / ink.sum():.1f}"
        expect(14.5 < float(middle) < 16.5, f"The middle of the ink, in {name}", middle, "15.5", PADDING)
        inked = lines.any(dim=2)
        extent = torch.where(inked, where, 0).amax(dim=1) - torch.where(inked, where, 31).amin(dim=1) + 1
        longest = longest.maximum(extent)
    seen = f"{longest.mean():.1f} pixels"
    expect(18 < longest.mean() < 21.5, "The longer side of the digits, on average", seen, "about 20", PADDING)


@pytest.mark.points(5)
def test_split(data, loaders):
    """The validation split has its size, is fixed by the seed, and never leaks into train"""
    slack = 20  # of an epoch: a training loader may drop its last, incomplete batch
    loaders = partial(loaders, batch_size=slack)
    whole = fingerprints(loaders()[0])
    for val_split in (0.1, 0.25):
        splits = []
        for _ in range(2):
            torch.rand(1)  # the split must not depend on the global random numbers
            train, val, test = loaders(val_split=val_split)
            expect(val is not None, f"The validation loader, val_split={val_split}", None, "a loader", SPLIT)
            splits.append([fingerprints(loader) for loader in (train, val, test)])
        train, val, test = splits[0]
        size, wanted = len(val), round(val_split * len(whole))
        right = wanted - 1 <= size <= wanted + slack * val_split + 1
        expect(right, f"The number of validation images, val_split={val_split}", size, wanted, SPLIT)
        for name, other in (("training", train), ("test", test)):
            shared = len(val & other)
            expect(not shared, f"Validation images that are {name} images, too", shared, 0, SPLIT)
        lost = len(whole ^ (train | val))
        expect(lost < 2 * slack, "Images not in both train + validation and all of train", lost, 0, SPLIT)
        expect(splits[1][1] == val, "The validation images of a second call", "others", "the same", SPLIT)
    if "seed" in inspect.signature(data.get_mnist_dataloaders).parameters:
        again = fingerprints(loaders(val_split=0.25, seed=7)[1])
        expect(again != val, "The validation images of another seed", "the same", "others", SPLIT)
