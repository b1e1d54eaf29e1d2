"""What the papers say, in float64: the values that submissions are compared with.

Nothing here comes from HW3. t is 0-based: t = 0 is the papers' t = 1, and alpha_bar of "before
t = 0", here t = -1, is exactly 1.
"""

import math

import torch


class Schedule:
    """The linear noise schedule of DDPM and all that follows from it.

    Args:
        timesteps: number T of steps.
        beta_start, beta_end: first and last beta.
    """

    def __init__(self, timesteps=1000, beta_start=1e-4, beta_end=0.02):
        self.arguments = {"timesteps": timesteps, "beta_start": beta_start, "beta_end": beta_end}
        self.timesteps = timesteps
        self.betas = torch.linspace(beta_start, beta_end, timesteps, dtype=torch.float64).tolist()
        self.alpha_bars = torch.cumprod(1 - torch.tensor(self.betas, dtype=torch.float64), dim=0).tolist()

    def __str__(self):
        return "T = {timesteps}, betas {beta_start:.4g} to {beta_end:.4g}".format(**self.arguments)

    def alpha_bar(self, t):
        return self.alpha_bars[t] if t >= 0 else 1.0

    def q_sample(self, x0, noise, t):
        """x_t; DDPM Eq. (4)."""
        alpha_bar_t = self.alpha_bar(t)
        return math.sqrt(alpha_bar_t) * x0.double() + math.sqrt(1 - alpha_bar_t) * noise.double()

    def noise_in(self, x_t, x0, t):
        """The noise that leads from x0 to x_t; Eq. (4) solved for it."""
        alpha_bar_t = self.alpha_bar(t)
        return (x_t.double() - math.sqrt(alpha_bar_t) * x0.double()) / math.sqrt(1 - alpha_bar_t)

    def x0_pred(self, x_t, eps, t, clip=False):
        """The prediction of x0; DDPM Eq. (15)."""
        alpha_bar_t = self.alpha_bar(t)
        x0 = (x_t.double() - math.sqrt(1 - alpha_bar_t) * eps.double()) / math.sqrt(alpha_bar_t)
        return x0.clamp(-1, 1) if clip else x0

    def posterior_variance(self, t):
        """DDPM Eq. (7), right."""
        return (1 - self.alpha_bar(t - 1)) / (1 - self.alpha_bar(t)) * self.betas[t]

    def posterior_factors(self, t):
        """The factors of x0 and x_t in the mean of DDPM Eq. (7), left."""
        alpha_bar_t, alpha_bar_prev, beta_t = self.alpha_bar(t), self.alpha_bar(t - 1), self.betas[t]
        for_x0 = math.sqrt(alpha_bar_prev) * beta_t / (1 - alpha_bar_t)
        return for_x0, math.sqrt(1 - beta_t) * (1 - alpha_bar_prev) / (1 - alpha_bar_t)

    def posterior_mean(self, x_t, eps, t):
        """DDPM Eq. (7), left, with x0 as predicted."""
        for_x0, for_x_t = self.posterior_factors(t)
        return for_x0 * self.x0_pred(x_t, eps, t) + for_x_t * x_t.double()

    def reverse_tables(self):
        """The factors of x_t and the predicted noise in the mean, DDPM Eq. (11), and the variance: (3, T)."""
        variances = [self.posterior_variance(t) for t in range(self.timesteps)]
        betas, bars, variances = torch.tensor([self.betas, self.alpha_bars, variances], dtype=torch.float64)
        for_x_t = 1 / (1 - betas).sqrt()
        return torch.stack([for_x_t, -for_x_t * betas / (1 - bars).sqrt(), variances]).float()

    def ddim_sigma(self, t, t_prev, eta):
        """DDIM Eq. (16)."""
        alpha_bar_t, alpha_bar_prev = self.alpha_bar(t), self.alpha_bar(t_prev)
        return (
            eta
            * math.sqrt((1 - alpha_bar_prev) / (1 - alpha_bar_t))
            * math.sqrt(1 - alpha_bar_t / alpha_bar_prev)
        )

    def ddim_factors(self, t, t_prev, eta):
        """The factors of x0_pred and eps_pred in DDIM Eq. (12)."""
        alpha_bar_prev, sigma_t = self.alpha_bar(t_prev), self.ddim_sigma(t, t_prev, eta)
        return math.sqrt(alpha_bar_prev), math.sqrt(max(0.0, 1 - alpha_bar_prev - sigma_t**2))

    def config(self, shape, clip=False):
        """The arguments of DiffusionConfig for this schedule and data of the shape (B, C, H, W)."""
        arguments = {**self.arguments, "channels": shape[1], "image_size": shape[-1]}
        return {**arguments, "clip_x0": True} if clip else arguments


# Large steps, so that every coefficient is of order one and no wrong formula is close to the right one.
HARSH = Schedule(timesteps=16, beta_start=0.03, beta_end=0.35)
OTHER = Schedule(timesteps=16, beta_start=0.01, beta_end=0.2)  # as long as HARSH
DEFAULT = Schedule()
LONG = Schedule(timesteps=1500, beta_start=1e-4, beta_end=0.013)
SHORT = Schedule(timesteps=2, beta_start=0.2, beta_end=0.5)
STEEP = Schedule(timesteps=40, beta_start=0.02, beta_end=0.25)


def squared_error(recon, x):
    """-log p(x|z) of a Gaussian decoder of the variance 1/2 without its constant, of each pixel."""
    return (recon.double() - x.double()).square()


def binary_cross_entropy(recon, x):
    """-log p(x|z) of a Bernoulli decoder, of each pixel; appendix C.1 of Kingma and Welling."""
    recon, x = recon.double(), x.double()
    return -(x * recon.log() + (1 - x) * (1 - recon).log())


def kl_divergence(mu, logvar):
    """KL(N(mu, exp(logvar)) || N(0, 1)); of each dimension; appendix B of Kingma and Welling."""
    mu, logvar = mu.double(), logvar.double()
    return -0.5 * (1 + logvar - mu.square() - logvar.exp())


def clip_figure_3(logits, labels):
    """The loss of figure 3 of CLIP for a batch that holds each label once; logits (B, B), labels (B,)."""
    logits = logits.double()[:, labels]  # columns in the order of the images
    rows, columns = logits.log_softmax(dim=1).diagonal(), logits.log_softmax(dim=0).diagonal()
    return -(rows.mean() + columns.mean()) / 2


def clip_losses(logits, labels):
    """The two losses of figure 3 for labels that may repeat or be absent, and a constant.

    Returns:
        The cross-entropy of the images' labels; that of the labels' images, a mean over the labels that are
        there, with the positives of Eq. (2) of Khosla et al.; and the mean entropy of the labels' images.
    """
    logits = logits.double()
    image_loss = -logits.log_softmax(dim=1)[torch.arange(len(labels)), labels].mean()
    losses, entropies = [], []
    for label in labels.unique():
        own = labels == label
        losses.append(-logits[:, label].log_softmax(dim=0)[own].mean())
        entropies.append(own.sum().double().log())
    return image_loss, torch.stack(losses).mean(), torch.stack(entropies).mean()
