"""Another right GaussianDiffusion: float64 tables, cond by keyword, noise drawn only where it is added."""

import torch
from torch import nn


class GaussianDiffusion(nn.Module):
    def __init__(self, model, config):
        super().__init__()
        self.model = model
        self.config = config
        self.timesteps = config.timesteps
        self.betas = torch.linspace(config.beta_start, config.beta_end, self.timesteps, dtype=torch.float64)
        self.alphas = 1 - self.betas
        self.alpha_bars = self.alphas.cumprod(0)
        self.alpha_bars_prev = torch.cat([torch.ones(1, dtype=torch.float64), self.alpha_bars[:-1]])

    def at(self, table, t, x):
        return table[t].to(x.dtype).reshape(-1, *[1] * (x.dim() - 1))

    def predict(self, x_t, t, cond):
        if cond is None:
            return self.model(x_t, t)
        return self.model(x_t, t, cond=cond)

    def q_sample(self, x0, t, noise=None):
        if noise is None:
            noise = torch.randn_like(x0)
        signal, spread = self.alpha_bars.sqrt(), (1 - self.alpha_bars).sqrt()
        return self.at(signal, t, x0) * x0 + self.at(spread, t, x0) * noise

    def training_loss(self, x0, noise=None, cond=None):
        t = torch.randint(self.timesteps, (len(x0),))
        if noise is None:
            noise = torch.randn_like(x0)
        eps = self.predict(self.q_sample(x0, t, noise), t, cond)
        return ((eps - noise) ** 2).mean()

    def x0_from(self, x_t, t, eps):
        spread = self.at((1 - self.alpha_bars).sqrt(), t, x_t)
        signal = self.at(self.alpha_bars.sqrt(), t, x_t)
        x0 = (x_t - spread * eps) / signal
        if self.config.clip_x0:
            x0 = x0.clamp(-1, 1)
        return x0

    def p_mean_variance(self, x_t, t, cond=None):
        eps = self.predict(x_t, t, cond)
        x0 = self.x0_from(x_t, t, eps)
        coef_x0 = self.alpha_bars_prev.sqrt() * self.betas / (1 - self.alpha_bars)
        coef_xt = self.alphas.sqrt() * (1 - self.alpha_bars_prev) / (1 - self.alpha_bars)
        variance = self.betas * (1 - self.alpha_bars_prev) / (1 - self.alpha_bars)
        mean = self.at(coef_x0, t, x_t) * x0 + self.at(coef_xt, t, x_t) * x_t
        return mean, self.at(variance, t, x_t)

    def start(self, batch_size, device, noise, generator):
        size = self.config.image_size
        shape = (batch_size, self.config.channels, size, size)
        if noise is None:
            noise = torch.randn(shape, device=device, generator=generator)
        return noise

    @torch.no_grad()
    def sample_ddpm(self, batch_size, device, cond=None, *, noise=None, generator=None):
        x = self.start(batch_size, device, noise, generator)
        for step in range(self.timesteps - 1, -1, -1):
            t = torch.full((batch_size,), step)
            mean, variance = self.p_mean_variance(x, t, cond)
            x = mean
            if step > 0:
                x = x + variance.sqrt() * torch.randn(x.shape, generator=generator)
        return x

    def ddim_times(self, steps):
        if steps < 1 or steps > self.timesteps:
            raise ValueError(f"steps = {steps}")
        if steps == 1:
            return [self.timesteps - 1]
        return torch.linspace(self.timesteps - 1, 0, steps).round().long().tolist()

    @torch.no_grad()
    def sample_ddim(self, batch_size, device, steps=50, eta=0.0, cond=None, *, noise=None, generator=None):
        x = self.start(batch_size, device, noise, generator)
        times = self.ddim_times(steps)
        for i, step in enumerate(times):
            t = torch.full((batch_size,), step)
            eps = self.predict(x, t, cond)
            x0 = self.x0_from(x, t, eps)
            bar = self.alpha_bars[step].item()
            bar_prev = self.alpha_bars[times[i + 1]].item() if i + 1 < len(times) else 1.0
            sigma = eta * ((1 - bar_prev) / (1 - bar)) ** 0.5 * (1 - bar / bar_prev) ** 0.5
            x = bar_prev**0.5 * x0 + (1 - bar_prev - sigma**2) ** 0.5 * eps
            if sigma > 0:
                x = x + sigma * torch.randn(x.shape, generator=generator)
        return x
