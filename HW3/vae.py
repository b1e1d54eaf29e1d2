"""A convolutional variational autoencoder (VAE) for 1x32x32 images, and its loss.

Paper: Kingma and Welling 2014, "Auto-Encoding Variational Bayes".

Notation: x image, z latent, D = `latent_dim`; q(z|x) = N(mu, diag(exp(logvar))) the encoder, p(x|z) the
decoder, p(z) = N(0, I) the prior.

Simplified against the paper: one sample of z per image and step (their L = 1), and a weight on the KL term
(Higgins et al. 2017, beta-VAE) for the student to vary.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from HW3.data import make_loader

WIDTHS = (32, 64, 128)  # channels at 16x16, 8x8 and 4x4 pixels


class ConvVAE(nn.Module):
    """Encode images as Gaussians over latents, and decode latents as images.

    Args:
        latent_dim: number D of latent dimensions, at least 1.

    Raises:
        ValueError: if latent_dim is less than 1.
    """

    def __init__(self, latent_dim: int = 100) -> None:
        super().__init__()
        if latent_dim < 1:
            raise ValueError(f"latent_dim must be at least 1, got {latent_dim}")
        self.latent_dim = latent_dim
        first, second, third = WIDTHS
        self.encoder = nn.Sequential(
            *downsample(1, first),  # (B, 1, 32, 32) -> (B, 32, 16, 16)
            *downsample(first, second),  # -> (B, 64, 8, 8)
            *downsample(second, third),  # -> (B, 128, 4, 4)
            nn.Flatten(),
        )
        self.to_mu = nn.Linear(third * 4 * 4, latent_dim)
        self.to_logvar = nn.Linear(third * 4 * 4, latent_dim)
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, third * 4 * 4, bias=False),
            nn.Unflatten(1, (third, 4, 4)),
            nn.BatchNorm2d(third),
            nn.ReLU(inplace=True),
            *upsample(third, second),  # -> (B, 64, 8, 8)
            *upsample(second, first),  # -> (B, 32, 16, 16)
            nn.ConvTranspose2d(first, 1, 4, stride=2, padding=1),  # -> (B, 1, 32, 32)
        )
        self.to(memory_format=torch.channels_last)  # CPUs convolve faster in this layout

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and logvar of q(z|x), each float32 (B, D), for images x (B, 1, 32, 32) in [0, 1]."""
        h = self.encoder(x)
        return self.to_mu(h).float(), self.to_logvar(h).float()

    def reparameterize(self, mu: Tensor, logvar: Tensor) -> Tensor:
        """Draw z ~ q(z|x) as a differentiable function of mu and logvar; section 2.4 of Kingma and Welling.

        Args:
            mu, logvar: (B, D).

        Returns:
            z (B, D).
        """
        # TASK: return one sample of q(z|x) = N(mu, diag(exp(logvar))) for each row, by the trick of section
        # 2.4 of Kingma and Welling, through which gradients flow to mu and logvar. Also in evaluation mode.
        # Leave the arguments and the model's mode as they are.
        ### BEGIN SOLUTION reparameterize
        # z = mu + sigma * eps, sigma = exp(logvar / 2), eps ~ N(0, I)
        std = torch.exp(0.5 * logvar)
        return mu + std * torch.randn_like(std)
        ### END SOLUTION

    def decode(self, z: Tensor) -> Tensor:
        """Return the images float32 (B, 1, 32, 32) in [0, 1] of latents z (B, D) or (B, D, 1, 1)."""
        return torch.sigmoid(self.decoder(z.flatten(1)).float())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return reconstructions (B, 1, 32, 32) in [0, 1], mu and logvar (B, D) of images of that shape."""
        mu, logvar = self.encode(x)
        return self.decode(self.reparameterize(mu, logvar)), mu, logvar

    @torch.no_grad()
    def canonicalize_latent(self, z: Tensor, threshold: float = 0.5) -> Tensor:
        """Flip the sign of each latent whose decoded image is mostly bright; digits lie on black.

        Args:
            z: latents (B, D) or (B, D, 1, 1).
            threshold: greatest mean of a decoded image, in [0, 1], that is left as it is.

        Returns:
            Latents of z's shape.
        """
        # TASK: -z is as likely as z under the prior, so it may replace a z whose image is too bright for a
        # digit. Return z with the sign of each latent flipped where the mean of its decoded image is greater
        # than the threshold, the others as they are, in z's shape. Leave z itself and the model's mode as
        # they are.
        ### BEGIN SOLUTION canonicalize_latent
        flipped = self.decode(z).mean(dim=(1, 2, 3)) > threshold  # (B, 1, 32, 32) -> (B,)
        return torch.where(flipped.view(-1, *[1] * (z.dim() - 1)), -z, z)
        ### END SOLUTION


class LatentSpace(nn.Module):
    """The latents of a frozen VAE as data for diffusion: the means of q(z|x), centred and scaled.

    Rombach et al. 2022, section G, scale the latents so that their deviation over all dimensions is 1 and the
    noise schedule fits them. Simplified: the mean of q(z|x) replaces a sample of it, of which most is noise
    that diffusion would have to learn (tests/benchmarks/README.md).

    Args:
        vae: the VAE; it is set to evaluation and frozen.
        canonicalize: apply `ConvVAE.canonicalize_latent` after encoding and before decoding.
    """

    def __init__(self, vae: ConvVAE, *, canonicalize: bool = False) -> None:
        super().__init__()
        self.vae = vae.eval().requires_grad_(False)
        self.canonicalize = canonicalize
        self.register_buffer("mean", torch.zeros(vae.latent_dim))
        self.register_buffer("std", torch.ones(()))

    def state(self) -> dict[str, Any]:
        """Return what rebuilds the space, for the checkpoint of a later stage."""
        return {
            "model_config": {"latent_dim": self.vae.latent_dim},
            "model_state": self.vae.state_dict(),
            "mean": self.mean,
            "std": self.std,
        }

    @torch.no_grad()
    def encode(self, batches: Iterable[tuple[Tensor, Tensor]], *, fit: bool) -> Tensor:
        """Return the latents (N, D, 1, 1) of a whole data set, in order.

        Args:
            batches: of images (B, 1, 32, 32) in [0, 1] and their labels.
            fit: first set mean and deviation to those of these latents.
        """
        z = torch.cat([self._canonical(self.vae.encode(x.to(self.mean.device))[0]) for x, _ in batches])
        if fit:
            self.mean.copy_(z.mean(dim=0))
            self.std.copy_((z - self.mean).square().mean().sqrt())
        return ((z - self.mean) / self.std)[:, :, None, None]

    def latent_loader(self, loader: DataLoader, *, fit: bool) -> DataLoader:
        """Return a loader like one of images, of latents z (B, D, 1, 1) and labels (B,), encoded once.

        Args:
            loader: of images; its whole data set is encoded.
            fit: see `encode`.
        """
        latents = self.encode(make_loader(loader.dataset, 1000), fit=fit)
        return DataLoader(
            TensorDataset(latents, loader.dataset.labels),
            batch_size=None,
            sampler=loader.sampler,
            generator=torch.Generator(),
        )

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Return the images (B, 1, 32, 32) in [0, 1] of latents z (B, D, 1, 1)."""
        return self.vae.decode(self._canonical(z.flatten(1) * self.std + self.mean))

    def _canonical(self, z: Tensor) -> Tensor:
        return self.vae.canonicalize_latent(z) if self.canonicalize else z


def downsample(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    """Return the layers that halve the sides of a feature map."""
    conv = nn.Conv2d(in_channels, out_channels, 4, stride=2, padding=1, bias=False)
    return conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)


def upsample(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    """Return the layers that double the sides of a feature map."""
    conv = nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1, bias=False)
    return conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)


def kl_divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    """Return the KL divergence of q(z|x) from the prior in each latent dimension; Kingma and Welling, app. B.

    Args:
        mu, logvar: of q(z|x), (B, D).

    Returns:
        (B, D), at least 0, in nats.
    """
    # TASK: return KL(N(mu, exp(logvar)) || N(0, 1)) of each row and dimension, appendix B of Kingma and
    # Welling; their sigma^2 is exp(logvar). Do not sum. Gradients flow to mu and logvar.
    ### BEGIN SOLUTION kl_divergence
    # KL = -1/2 (1 + logvar - mu^2 - exp(logvar))
    return -0.5 * (1 + logvar - mu.square() - logvar.exp())
    ### END SOLUTION


def vae_loss(
    recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor, kl_weight: float = 1.0, loss_type: str = "mse"
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the negative evidence lower bound (ELBO) and its two parts, Eq. (10) of Kingma and Welling.

    The `mse` is -log N(x; recon, I / 2) without its constant: the bound for a decoder of the variance 1/2.
    With another kl_weight it is, but for a factor, the bound for the variance kl_weight / 2.

    Args:
        recon, x: reconstructions and images (B, 1, 32, 32) in [0, 1].
        mu, logvar: of q(z|x), (B, D).
        kl_weight: weight of the KL divergence; 1 is the ELBO of the paper.
        loss_type: `mse` (Gaussian decoder, of the variance 1/2) or `bce` (Bernoulli decoder).

    Returns:
        total, rec and kl: scalars, sums over pixels, latent dimensions and batch, in nats for `bce`.

    Raises:
        ValueError: if loss_type is neither.
    """
    # TASK: return total, rec and kl. rec is the reconstruction term, -log p(x|z): for `mse` that of a
    # Gaussian of the variance 1/2 without its constant, for `bce` that of a Bernoulli variable for each
    # pixel, appendix C.1 of Kingma and Welling. kl is the divergence of `kl_divergence`. Both are sums over
    # all dimensions and over the batch. total is the negative ELBO, with kl weighted by kl_weight. Another
    # loss_type is a ValueError. Gradients flow to recon, mu and logvar.
    ### BEGIN SOLUTION vae_loss
    # rec = sum (recon - x)^2, or sum -[x log recon + (1 - x) log(1 - recon)]
    # total = rec + kl_weight * kl, kl = sum KL(q(z|x) || p(z))
    if loss_type == "mse":
        rec = F.mse_loss(recon, x, reduction="sum")
    elif loss_type == "bce":
        rec = F.binary_cross_entropy(recon, x, reduction="sum")
    else:
        raise ValueError(f"loss_type must be 'mse' or 'bce', got {loss_type!r}")
    kl = kl_divergence(mu, logvar).sum()
    return rec + kl_weight * kl, rec, kl
    ### END SOLUTION
