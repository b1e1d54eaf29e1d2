"""Another right ConvVAE: few layers, `rsample`, the KL term rearranged, parts of the loss as numbers."""

import torch
from torch import nn
from torch.distributions import Normal


class ConvVAE(nn.Module):
    def __init__(self, latent_dim=100):
        super().__init__()
        self.latent_dim = latent_dim
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.Flatten()
        )
        self.head = nn.Linear(16 * 64, 2 * latent_dim)
        self.expand = nn.Linear(latent_dim, 16 * 64)
        self.draw = nn.Sequential(
            nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(8, 1, 4, 2, 1), nn.Sigmoid()
        )

    def encode(self, x):
        mu, logvar = self.head(self.features(x)).chunk(2, dim=1)
        return mu, logvar

    def reparameterize(self, mu, logvar):
        std = (logvar / 2).exp()
        z = Normal(mu, std).rsample()
        return z

    def decode(self, z):
        h = self.expand(z).relu().view(-1, 16, 8, 8)
        images = self.draw(h)
        return images

    def forward(self, x):
        mu, logvar = self.encode(x)
        z = self.reparameterize(mu, logvar)
        recon = self.decode(z)
        return recon, mu, logvar

    @torch.no_grad()
    def canonicalize_latent(self, z, threshold=0.5):
        bright = self.decode(z).flatten(1).mean(1, keepdim=True) > threshold
        return z * (1 - 2 * bright.float())


def vae_loss(recon, x, mu, logvar, kl_weight=1.0, loss_type="mse"):
    if loss_type == "bce":
        rec = -(x * recon.log() + (1 - x) * (1 - recon).log()).sum()
    else:
        rec = ((recon - x) ** 2).sum()
    kl = (logvar.exp() + mu**2 - 1 - logvar).sum() / 2
    total = rec + kl_weight * kl
    return total, rec.item(), kl.item()
