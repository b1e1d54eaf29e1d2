"""The usual implementation of this homework, to compare with: a textbook UNet, images transformed singly."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from HW3.Unet import SinusoidalEmbedding


class Block(nn.Module):
    """A residual block of the DDPM paper: the embedding of the time is added between two convolutions."""

    def __init__(self, in_channels: int, out_channels: int, embedding_dim: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(8, in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time = nn.Linear(embedding_dim, out_channels)
        self.norm2 = nn.GroupNorm(8, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.skip = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time(F.silu(embedding))[:, :, None, None]
        return self.skip(x) + self.conv2(F.silu(self.norm2(h)))


class UsualUNet(nn.Module):
    """The UNet of the DDPM paper without attention: 32, 64, 128, 128 channels, two blocks a level."""

    def __init__(self, base: int = 32, mults: tuple[int, ...] = (1, 2, 4, 4), num_blocks: int = 2) -> None:
        super().__init__()
        dim = 4 * base
        self.time = nn.Sequential(
            SinusoidalEmbedding(base), nn.Linear(base, dim), nn.SiLU(), nn.Linear(dim, dim)
        )
        self.stem = nn.Conv2d(1, base, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        width, widths = base, [base]
        for level, mult in enumerate(mults):
            for _ in range(num_blocks):
                self.down.append(Block(width, base * mult, dim))
                width = base * mult
                widths.append(width)
            if level < len(mults) - 1:
                self.down.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
                widths.append(width)
        self.middle = nn.ModuleList(Block(width, width, dim) for _ in range(2))
        for level, mult in reversed(list(enumerate(mults))):
            for _ in range(num_blocks + 1):
                self.up.append(Block(width + widths.pop(), base * mult, dim))
                width = base * mult
            if level > 0:
                self.up.append(
                    nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, padding=1))
                )
        self.norm = nn.GroupNorm(8, width)
        self.head = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        embedding = self.time(t)
        h = self.stem(x)
        skips = [h]
        for layer in self.down:
            h = layer(h, embedding) if isinstance(layer, Block) else layer(h)
            skips.append(h)
        for block in self.middle:
            h = block(h, embedding)
        for layer in self.up:
            h = layer(torch.cat([h, skips.pop()], dim=1), embedding) if isinstance(layer, Block) else layer(h)
        return self.head(F.silu(self.norm(h)))


class ImageByImage(Dataset):
    """Images that are padded and converted one at a time, as torchvision's transforms do."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        from torchvision import transforms

        self.images, self.labels = images.numpy(), labels
        self.transform = transforms.Compose(
            [
                transforms.ToPILImage(),
                transforms.Pad(2),
                transforms.ToTensor(),
                transforms.Normalize(0.5, 0.5),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), int(self.labels[index])


def usual_loader(images: Tensor, labels: Tensor, batch_size: int) -> DataLoader:
    """Return the loader that everybody writes."""
    return DataLoader(ImageByImage(images, labels), batch_size, shuffle=True)
