"""HW3/data.py: batches of padded images in [0, 1], and a validation split that never leaks."""

from functools import partial

import pytest
import torch

from HW3.data import get_mnist_dataloaders


@pytest.fixture
def loaders(tmp_path):
    return partial(get_mnist_dataloaders, tmp_path, dataset="synthetic")


def everything(loader):
    images, labels = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(labels)


def fingerprints(loader):
    return {image.numpy().tobytes() for image in everything(loader)[0]}


@pytest.mark.parametrize("options", [{}, {"batch_size": 32}])
def test_batches(loaders, options):
    train, val, test = loaders(**options)
    assert val is None
    for loader in (train, test):
        x, y = next(iter(loader))
        size = options.get("batch_size", 128)
        assert (x.shape, x.dtype) == ((size, 1, 32, 32), torch.float32)
        assert (y.shape, y.dtype) == ((size,), torch.int64)
        x, y = everything(loader)
        assert (
            x.min() == 0 and 0.9 < x.max() <= 1
        )  # the brightest ink of the data sets is 255 or a little less
        assert y.unique().tolist() == list(range(10))


def test_images_are_padded_and_not_stretched(loaders):
    x, _ = everything(loaders()[2])
    border = x.clone()
    border[:, :, 2:30, 2:30] = 0
    assert not border.any()
    levels = 255 * x
    torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)  # nothing is blended
    ink = x.sum(dim=(0, 1))
    where = torch.arange(32)
    for line in (ink.sum(dim=0), ink.sum(dim=1)):
        assert 14.5 < (line * where).sum() / line.sum() < 16.5


def test_validation_never_leaks(loaders):
    whole = fingerprints(loaders()[0])
    for val_split in (0.1, 0.25):
        torch.rand(1)  # the split does not depend on the global random numbers
        train, val, test = map(fingerprints, loaders(val_split=val_split))
        assert abs(len(val) - val_split * len(whole)) <= 2
        assert not val & train and not val & test and train | val == whole
        assert fingerprints(loaders(val_split=val_split)[1]) == val
    assert fingerprints(loaders(val_split=0.25, seed=7)[1]) != val
