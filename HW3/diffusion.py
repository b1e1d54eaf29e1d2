"""Gaussian diffusion: the forward process q, the reverse process p, the loss, and two samplers.

Papers: Ho, Jain, Abbeel 2020, "Denoising Diffusion Probabilistic Models" (DDPM); Song, Meng, Ermon 2021,
"Denoising Diffusion Implicit Models" (DDIM).

Notation: beta_t the variance added at step t, alpha_t = 1 - beta_t, alpha_bar_t = alpha_0 ... alpha_t; x_t
the noisy data, x0 the clean data, eps the noise. t is 0-based: t = 0 means diffused by one step (the papers'
t = 1), T - 1 is the last; alpha_bar of "before t = 0" is exactly 1. The DDIM paper's alpha is this alpha_bar.

Of the DDPM paper's choices: linear betas, the loss L_simple, and the posterior's variance for the reverse
process. Left out: the variational bound and the discrete decoder (section 3.3).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class DiffusionConfig:
    """Describe the data and the noise schedule.

    Args:
        image_size: side of the images; 1 for latent vectors as (B, D, 1, 1).
        channels: channels of the images, or dimensions D of the latents.
        timesteps: number T of steps.
        beta_start, beta_end: first and last beta, in (0, 1); those between are evenly spaced.
        clip_x0: clip the prediction of x0 to [-1, 1] in the samplers.

    Raises:
        ValueError: if a size is not positive, a beta is out of range, beta_start is above beta_end, or the
            betas are too large for so many steps.
    """

    image_size: int = 32
    channels: int = 1
    timesteps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02
    clip_x0: bool = False

    def __post_init__(self) -> None:
        for name in ("image_size", "channels", "timesteps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("beta_start", "beta_end"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {getattr(self, name)}")
        if self.beta_start > self.beta_end:
            raise ValueError(f"beta_start {self.beta_start} must be at most beta_end {self.beta_end}")
        if (1 - self.betas()).prod() < torch.finfo(torch.float32).tiny:
            raise ValueError(f"betas up to {self.beta_end} are too large for {self.timesteps} steps")

    @classmethod
    def scaled(
        cls, timesteps: int, beta_start: float | None = None, beta_end: float | None = None, **others
    ) -> "DiffusionConfig":
        """Return a schedule whose betas, where not given, scale with 1000 / T: x_T is noise for any T."""
        scale = 1000 / timesteps
        beta_start = min(1e-4 * scale, 0.999) if beta_start is None else beta_start
        beta_end = min(0.02 * scale, 0.999) if beta_end is None else beta_end
        return cls(timesteps=timesteps, beta_start=beta_start, beta_end=beta_end, **others)

    def betas(self) -> Tensor:
        """Return the betas float64 (T,), evenly spaced."""
        return torch.linspace(self.beta_start, self.beta_end, self.timesteps, dtype=torch.float64)


class GaussianDiffusion(nn.Module):
    """Add noise to data by a schedule, and take it out again with a model that predicts it.

    Args:
        model: the noise predictor, called as model(x_t, t) or model(x_t, t, cond) with x_t (B, C, H, W), t
            int64 (B,); returns the predicted noise in x_t's shape.
        config: shape of the data and schedule.
    """

    def __init__(self, model: Callable[..., Tensor], config: DiffusionConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config
        # The tables are computed in float64 and kept in float32: 1 - alpha_bar in float32 would lose three
        # digits.
        betas = config.betas()
        alphas = 1 - betas
        alpha_bars = alphas.cumprod(dim=0)
        alpha_bars_prev = torch.cat([alpha_bars.new_ones(1), alpha_bars[:-1]])
        self._alpha_bars = alpha_bars.tolist()  # numbers for `ddim_step`, where all rows share one t

        tables = {
            "betas": betas,
            "alphas": alphas,
            "alpha_bars": alpha_bars,
            "sqrt_alpha_bars": alpha_bars.sqrt(),
            "sqrt_one_minus_alpha_bars": (1 - alpha_bars).sqrt(),
            # DDPM Eq. (7): mean and variance of q(x_{t-1} | x_t, x_0)
            "posterior_mean_coef_x0": alpha_bars_prev.sqrt() * betas / (1 - alpha_bars),
            "posterior_mean_coef_x_t": alphas.sqrt() * (1 - alpha_bars_prev) / (1 - alpha_bars),
            "posterior_variance": betas * (1 - alpha_bars_prev) / (1 - alpha_bars),
        }
        for name, table in tables.items():
            self.register_buffer(name, table.float(), persistent=False)

    def q_sample(self, x0: Tensor, t: Tensor, noise: Tensor | None = None) -> Tensor:
        """Diffuse x0 to step t at once; Eq. (4) of DDPM.

        Args:
            x0: clean data (B, ...).
            t: int64 (B,) in 0..T-1.
            noise: N(0, I) in x0's shape; drawn when None.

        Returns:
            x_t in x0's shape.
        """
        # TASK: return a sample of q(x_t | x_0), Eq. (4) of DDPM, each row at its own t, for a schedule of any
        # length and x0 of any shape (B, ...). `gather`, below in this file, looks values up in the tables
        # that `__init__` makes. The noise is `noise`, or new noise when it is None. Leave the arguments as
        # they are; gradients flow to x0 and noise.
        ### BEGIN SOLUTION q_sample
        # x_t = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) noise
        noise = torch.randn_like(x0) if noise is None else noise
        return (
            gather(self.sqrt_alpha_bars, t, x0) * x0 + gather(self.sqrt_one_minus_alpha_bars, t, x0) * noise
        )
        ### END SOLUTION

    def training_loss(self, x0: Tensor, noise: Tensor | None = None, cond: Tensor | None = None) -> Tensor:
        """Return how well the model predicts the noise at random timesteps; L_simple, Eq. (14) of DDPM.

        Args:
            x0: clean data (B, ...), in pixel space in [-1, 1].
            noise: N(0, I) in x0's shape; drawn when None.
            cond: condition of each row, (B, ...), or None.

        Returns:
            The loss, a scalar: the mean over rows and components.
        """
        # TASK: return L_simple, Eq. (14) of DDPM, estimated with one random timestep for each row (0-based,
        # all T equally likely) and the noise `noise`, or new noise when it is None. It is a mean over rows
        # and components. `q_sample` adds the noise; `_predict_noise` calls the model, with the condition if
        # there is one. Gradients flow to the model. Leave the arguments as they are.
        ### BEGIN SOLUTION training_loss
        # L_simple = E || noise - eps_theta(x_t, t) ||^2 per component, t uniform in 0..T-1
        t = torch.randint(0, self.config.timesteps, (len(x0),), device=x0.device)
        noise = torch.randn_like(x0) if noise is None else noise
        x_t = self.q_sample(x0, t, noise)
        return F.mse_loss(self._predict_noise(x_t, t, cond), noise)
        ### END SOLUTION

    def predict_x0(self, x_t: Tensor, t: Tensor, eps_pred: Tensor) -> Tensor:
        """Return the clean data that x_t would stem from if eps_pred were its noise.

        x0_pred = (x_t - sqrt(1 - alpha_bar_t) eps_pred) / sqrt(alpha_bar_t); Eq. (15) of DDPM, (9) of DDIM

        Args:
            x_t, eps_pred: noisy data and the noise predicted in it (B, ...).
            t: int64 (B,) in 0..T-1.

        Returns:
            x0_pred in x_t's shape, in [-1, 1] if the config clips it.
        """
        noise_part = gather(self.sqrt_one_minus_alpha_bars, t, x_t) * eps_pred
        x0_pred = (x_t - noise_part) / gather(self.sqrt_alpha_bars, t, x_t)
        return x0_pred.clamp(-1, 1) if self.config.clip_x0 else x0_pred

    def p_mean_variance(
        self, x_t: Tensor, t: Tensor, cond: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean and variance of p(x_{t-1} | x_t), and the prediction of x0 that they are made from.

        Eq. (7) of DDPM, with x0 as it is predicted from x_t; without clipping, the mean is that of Eq. (11).

        Args:
            x_t: noisy data (B, ...).
            t: int64 (B,) in 0..T-1.
            cond: condition of each row, or None.

        Returns:
            mean and x0_pred in x_t's shape; variance (B, 1, ...), exactly 0 at t = 0.
        """
        # TASK: return mean and variance of Eq. (7) of DDPM, with the prediction of x0 in the place of x0, and
        # that prediction. `_predict_noise` calls the model, once, with the condition if there is one;
        # `predict_x0` clips where the config says so, and the mean is then made from the clipped prediction.
        # `gather` looks values up in the tables that `__init__` makes, each row at its own t.
        ### BEGIN SOLUTION posterior
        # mean = sqrt(alpha_bar_prev) beta_t / (1 - alpha_bar_t) x0_pred
        #      + sqrt(alpha_t) (1 - alpha_bar_prev) / (1 - alpha_bar_t) x_t
        # variance = (1 - alpha_bar_prev) / (1 - alpha_bar_t) beta_t
        x0_pred = self.predict_x0(x_t, t, self._predict_noise(x_t, t, cond))
        coef_x0 = gather(self.posterior_mean_coef_x0, t, x_t)
        coef_x_t = gather(self.posterior_mean_coef_x_t, t, x_t)
        return coef_x0 * x0_pred + coef_x_t * x_t, gather(self.posterior_variance, t, x_t), x0_pred
        ### END SOLUTION

    @torch.no_grad()
    def sample_ddpm(
        self,
        batch_size: int,
        device: torch.device | str,
        cond: Tensor | None = None,
        *,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw samples by ancestral sampling over all T steps; Algorithm 2 of DDPM.

        Args:
            batch_size: number B of samples.
            device: where the model is.
            cond: condition of each row (B, ...), or None.
            noise: the start x_T (B, C, H, W); drawn when None.
            generator: source of all randomness; the global one when None.

        Returns:
            Samples (B, C, H, W).

        Raises:
            ValueError: if noise or cond does not have B rows.
        """
        x_t = self._start(batch_size, device, cond, noise, generator)
        # TASK: take all steps of Algorithm 2 of DDPM, from x_t = x_T down to x_0, and return x_0. Mean and
        # variance of a step come from `p_mean_variance`, which wants t as an int64 (B,), 0-based; the noise
        # comes from `randn_like`, below in this file, and `generator`. The last step adds no noise. Leave the
        # arguments as they are: x_t is `noise` where that is given.
        ### BEGIN SOLUTION sample_ddpm
        for step in reversed(range(self.config.timesteps)):
            t = torch.full((batch_size,), step, device=x_t.device)
            mean, variance, _ = self.p_mean_variance(x_t, t, cond)
            x_t = mean + variance.sqrt() * randn_like(x_t, generator)  # at t = 0 the variance is 0
        return x_t
        ### END SOLUTION

    @torch.no_grad()
    def sample_ddim(
        self,
        batch_size: int,
        device: torch.device | str,
        steps: int = 50,
        eta: float = 0.0,
        cond: Tensor | None = None,
        *,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw samples in few steps by DDIM; section 4.2 of the paper.

        Args:
            batch_size, device, cond, noise, generator: as for `sample_ddpm`.
            steps: number of steps, 1 to T.
            eta: 0 for the deterministic sampler, 1 for as much noise as DDPM's.

        Returns:
            Samples (B, C, H, W).

        Raises:
            ValueError: if steps or eta is out of range, or noise or cond does not have B rows.
        """
        if not 0 <= eta <= 1:
            raise ValueError(f"eta must be in [0, 1], got {eta}")
        timesteps = self.ddim_timesteps(steps)
        x_t = self._start(batch_size, device, cond, noise, generator)
        for step, step_prev in zip(timesteps, [*timesteps[1:], -1], strict=True):
            t = torch.full((batch_size,), step, device=x_t.device)
            eps_pred = self._predict_noise(x_t, t, cond)
            x0_pred = self.predict_x0(x_t, t, eps_pred)
            x_t = self.ddim_step(x_t, eps_pred, x0_pred, step, step_prev, eta, generator)
        return x_t

    def ddim_timesteps(self, steps: int) -> list[int]:
        """Return `steps` distinct timesteps, evenly spaced and descending from T - 1.

        Raises:
            ValueError: if steps is not in 1..T.
        """
        if not 1 <= steps <= self.config.timesteps:
            raise ValueError(f"steps must be from 1 to timesteps = {self.config.timesteps}, got {steps}")
        return [(i + 1) * self.config.timesteps // steps - 1 for i in reversed(range(steps))]

    def ddim_step(
        self,
        x_t: Tensor,
        eps_pred: Tensor,
        x0_pred: Tensor,
        t: int,
        t_prev: int,
        eta: float,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Go from step t to step t_prev < t, which is -1 for the last step, onto x0; Eq. (12) of DDIM.

        If x0_pred is clipped, eps_pred is replaced by the noise that leads from the clipped x0_pred to x_t.

        Args:
            x_t: noisy data (B, ...) at step t.
            eps_pred, x0_pred: the predictions of the noise and of the clean data in it.
            t, t_prev: the two steps; alpha_bar of step -1 is 1.
            eta: 0 for no noise, 1 for the posterior's variance.
            generator: source of the noise; the global one when None.

        Returns:
            x_prev in x_t's shape.
        """
        # TASK: return x_prev, the DDIM update from t to t_prev: Eq. (12) of the paper with the sigma of Eq.
        # (16). Their step tau_i is t here, tau_{i-1} is t_prev, and their alpha is our alpha_bar. The list
        # self._alpha_bars holds the numbers alpha_bar_0 to alpha_bar_{T-1}.
        # - The last step has t_prev = -1. It must land on x0_pred: alpha_bar "before t = 0" is exactly 1.
        # - The noise comes from `randn_like`, below in this file, and `generator`.
        # - With eta = 1, rounding may take what is left of the variance, under the root in Eq. (12), below 0:
        #   then take 0.
        # - If self.config.clip_x0, x0_pred was clipped. Then eps_pred no longer fits: use the noise that
        #   leads from the clipped x0_pred to x_t by Eq. (4) of DDPM instead.
        # - Leave the arguments as they are.
        ### BEGIN SOLUTION ddim_step
        # sigma_t = eta sqrt((1 - alpha_bar_prev) / (1 - alpha_bar_t)) sqrt(1 - alpha_bar_t / alpha_bar_prev)
        # x_prev = sqrt(alpha_bar_prev) x0_pred + sqrt(1 - alpha_bar_prev - sigma_t^2) eps_pred + sigma_t z
        alpha_bar_t = self._alpha_bars[t]
        alpha_bar_prev = self._alpha_bars[t_prev] if t_prev >= 0 else 1.0
        if self.config.clip_x0:
            eps_pred = (x_t - math.sqrt(alpha_bar_t) * x0_pred) / math.sqrt(1 - alpha_bar_t)
        sigma_t = eta * math.sqrt(
            (1 - alpha_bar_prev) / (1 - alpha_bar_t) * (1 - alpha_bar_t / alpha_bar_prev)
        )
        # "The direction pointing to x_t"; rounding may take what is left of the variance below zero.
        direction = math.sqrt(max(0.0, 1 - alpha_bar_prev - sigma_t**2)) * eps_pred
        return math.sqrt(alpha_bar_prev) * x0_pred + direction + sigma_t * randn_like(x_t, generator)
        ### END SOLUTION

    def _predict_noise(self, x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        eps_pred = self.model(x_t, t) if cond is None else self.model(x_t, t, cond)
        return eps_pred.to(x_t.dtype)  # the schedule is fp32, also where the model multiplies in bf16

    def _start(
        self,
        batch_size: int,
        device: torch.device | str,
        cond: Tensor | None,
        noise: Tensor | None,
        generator: torch.Generator | None,
    ) -> Tensor:
        shape = (batch_size, self.config.channels, self.config.image_size, self.config.image_size)
        if cond is not None and len(cond) != batch_size:
            raise ValueError(f"cond must have batch_size = {batch_size} rows, got {len(cond)}")
        if noise is None:
            return randn_like(torch.empty(shape, device=device), generator)
        if noise.shape != shape:
            raise ValueError(f"noise must have the shape {shape}, got {tuple(noise.shape)}")
        return noise.to(device)


def gather(table: Tensor, t: Tensor, x: Tensor) -> Tensor:
    """Return table[t] to broadcast over x: (T,) and t (B,) -> (B, 1, ..., 1) of x's rank and dtype."""
    return table[t].to(x.dtype).view(-1, *[1] * (x.dim() - 1))


def randn_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw N(0, I) in x's shape; on the generator's device, so that a seed gives one noise everywhere."""
    device = x.device if generator is None else generator.device
    # From pinned memory a GPU fetches it when it gets there: nobody waits.
    pinned = x.is_cuda and device.type == "cpu"
    noise = torch.randn(x.shape, generator=generator, device=device, dtype=x.dtype, pin_memory=pinned)
    return noise.to(x.device, non_blocking=pinned)
