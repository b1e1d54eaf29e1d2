"""Another right get_mnist_dataloaders: torchvision's MNIST and transforms, item by item."""

import torch
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms


def get_mnist_dataloaders(
    data_dir, batch_size=128, num_workers=0, val_split=0.0, download=True, drop_last=False
):
    steps = [transforms.Pad(2), transforms.ToTensor()]
    transform = transforms.Compose(steps)
    train = datasets.MNIST(data_dir, train=True, transform=transform, download=download)
    test = datasets.MNIST(data_dir, train=False, transform=transform, download=download)
    generator = torch.Generator().manual_seed(42)
    order = torch.randperm(len(train), generator=generator).tolist()
    size = round(val_split * len(train))
    val_indices, train_indices = order[:size], order[size:]
    val = Subset(train, val_indices)
    train = Subset(train, train_indices)

    def loader(dataset, **options):
        return DataLoader(dataset, batch_size, num_workers=num_workers, **options)

    val_loader = loader(val) if size else None
    return loader(train, shuffle=True, drop_last=drop_last), val_loader, loader(test)
