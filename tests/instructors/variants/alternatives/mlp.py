"""Another right EpsMLP: x, time and condition as one long vector."""

import torch
from torch import nn


class EpsMLP(nn.Module):
    def __init__(self, latent_dim, time_dim=256, hidden_dim=512, cond_dim=None):
        super().__init__()
        self.cond_dim = cond_dim
        self.time = nn.Embedding(1000, time_dim)
        width = latent_dim + time_dim + (cond_dim or 0)
        self.hidden = nn.Linear(width, hidden_dim)
        self.last = nn.Linear(hidden_dim, latent_dim)

    def forward(self, x, t, cond=None):
        parts = [x.flatten(1), self.time(t)]
        if self.cond_dim is not None:
            parts.append(cond)
        h = torch.nn.functional.silu(self.hidden(torch.cat(parts, dim=1)))
        out = self.last(h)
        return out.reshape(x.shape)
