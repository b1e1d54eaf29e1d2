"""Another right UNet: learned times, time and condition as further channels, no normalisation."""

import torch
from torch import nn


class UNet(nn.Module):
    def __init__(self, in_channels=1, base_channels=16, channel_mults=(1, 2), time_dim=None, cond_dim=None):
        super().__init__()
        width = base_channels * channel_mults[-1]
        self.cond_dim = cond_dim
        self.time = nn.Embedding(1000, 8)
        if cond_dim is not None:
            self.cond = nn.Linear(cond_dim, 8)
        self.enter = nn.Conv2d(in_channels + (8 if cond_dim is None else 16), base_channels, 3, 1, 1)
        self.down = nn.Conv2d(base_channels, width, 4, 2, 1)
        self.up = nn.ConvTranspose2d(width, base_channels, 4, 2, 1)
        self.leave = nn.Conv2d(2 * base_channels, in_channels, 3, 1, 1)

    def forward(self, x, t, cond=None):
        extra = self.time(t)
        if self.cond_dim is not None:
            extra = torch.cat([extra, self.cond(cond)], dim=1)
        extra = extra[:, :, None, None].expand(-1, -1, *x.shape[2:])
        skip = torch.tanh(self.enter(torch.cat([x, extra], dim=1)))
        h = torch.tanh(self.up(torch.tanh(self.down(skip))))
        out = self.leave(torch.cat([h, skip], dim=1))
        return out
