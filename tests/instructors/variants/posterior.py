"""Variants of mean and variance of the reverse process."""

from functools import partial

from tests.instructors.variants import edit

POSTERIOR = """
eps = self._predict_noise(x_t, t, cond)
x0_pred = self.predict_x0(x_t, t, eps)
bar, beta = gather(self.alpha_bars, t, x_t), gather(self.betas, t, x_t)
bar_prev = gather(torch.cat([torch.ones(1), self.alpha_bars[:-1]]), t, x_t)
for_x0 = bar_prev.sqrt() * beta / (1 - bar)
for_x_t = (1 - beta).sqrt() * (1 - bar_prev) / (1 - bar)
mean = for_x0 * x0_pred + for_x_t * x_t
variance = (1 - bar_prev) / (1 - bar) * beta
return mean, variance, x0_pred
"""
EPS = "eps = self._predict_noise(x_t, t, cond)"
X0 = "x0_pred = self.predict_x0(x_t, t, eps)"
PREV = "bar_prev = gather(torch.cat([torch.ones(1), self.alpha_bars[:-1]]), t, x_t)"
FOR_X0 = "for_x0 = bar_prev.sqrt() * beta / (1 - bar)"
FOR_X_T = "for_x_t = (1 - beta).sqrt() * (1 - bar_prev) / (1 - bar)"
MEAN = "mean = for_x0 * x0_pred + for_x_t * x_t"
VARIANCE = "variance = (1 - bar_prev) / (1 - bar) * beta"
RETURN = "return mean, variance, x0_pred"

eps = partial(edit, POSTERIOR, EPS)
x0 = partial(edit, POSTERIOR, X0)
prev = partial(edit, POSTERIOR, PREV)
for_x0 = partial(edit, POSTERIOR, FOR_X0)
for_x_t = partial(edit, POSTERIOR, FOR_X_T)
mean = partial(edit, POSTERIOR, MEAN)
variance = partial(edit, POSTERIOR, VARIANCE)
returned = partial(edit, POSTERIOR, RETURN)

RIGHT = {
    "step by step": POSTERIOR,
    "the tables": """
        x0_pred = self.predict_x0(x_t, t, self._predict_noise(x_t, t, cond))
        a, b = self.posterior_mean_coef_x0[t], self.posterior_mean_coef_x_t[t]
        shape = (-1, *[1] * (x_t.dim() - 1))
        return a.view(shape) * x0_pred + b.view(shape) * x_t, self.posterior_variance[t].view(shape), x0_pred
        """,
    "in float64": """
        x0_pred = self.predict_x0(x_t, t, self._predict_noise(x_t, t, cond))
        bars = torch.tensor([*self._alpha_bars, 1.0], dtype=torch.float64)
        rows = (-1, *[1] * (x_t.dim() - 1))
        bar, prev = bars[t].view(rows), bars[t - 1].view(rows)
        alpha = bar / prev
        mean = (prev.sqrt() * (1 - alpha) * x0_pred + alpha.sqrt() * (1 - prev) * x_t) / (1 - bar)
        return mean.float(), ((1 - prev) / (1 - bar) * (1 - alpha)).float(), x0_pred
        """,
    "the noise that agrees with x0_pred, as in Eq. (11)": mean(
        "agreeing = (x_t - bar.sqrt() * x0_pred) / (1 - bar).sqrt()\n"
        "mean = (x_t - beta / (1 - bar).sqrt() * agreeing) / (1 - beta).sqrt()"
    ),
    "a table of the previous ones": prev("bar_prev = bar / gather(self.alphas, t, x_t)")
    .replace(VARIANCE, "variance = gather(self.posterior_variance, t, x_t)")
    .replace(FOR_X_T, "for_x_t = gather(self.posterior_mean_coef_x_t, t, x_t)"),
    "the variance for every component": returned("return mean, variance.expand_as(x_t), x0_pred"),
    "the model called directly": eps(
        "eps = self.model(x_t, t) if cond is None else self.model(x_t, t, cond)"
    ),
    "x0_pred written out": x0(
        "x0_pred = gather(self.alpha_bars, t, x_t) ** -0.5 * x_t"
        " - (1 / gather(self.alpha_bars, t, x_t) - 1).sqrt() * eps\n"
        "x0_pred = x0_pred.clamp(-1, 1) if self.config.clip_x0 else x0_pred"
    ),
}

WRONG = {
    "mean": {
        "no root at x0_pred": for_x0("for_x0 = bar_prev * beta / (1 - bar)"),
        "alpha_bar of t": for_x0("for_x0 = bar.sqrt() * beta / (1 - bar)"),
        "no beta": for_x0("for_x0 = bar_prev.sqrt() / (1 - bar)"),
        "the factors swapped": mean("mean = for_x_t * x0_pred + for_x0 * x_t"),
        "no root of alpha": for_x_t("for_x_t = (1 - beta) * (1 - bar_prev) / (1 - bar)"),
        "alpha_bar for alpha": for_x_t("for_x_t = bar.sqrt() * (1 - bar_prev) / (1 - bar)"),
        "1 - alpha_bar of t": for_x_t("for_x_t = (1 - beta).sqrt()"),
        "a difference": mean("mean = for_x0 * x0_pred - for_x_t * x_t"),
        "x0_pred alone": mean("mean = for_x0 * x0_pred"),
        "x_t alone": mean("mean = for_x_t * x_t"),
        "no division": mean("mean = (for_x0 * x0_pred + for_x_t * x_t) * (1 - bar)"),
        "detached at half": mean("mean = 0.5 * (for_x0 * x0_pred + for_x_t * x_t)"),
    },
    "mean variance": {
        "alpha_bar before the first is that of the first": prev(
            "bar_prev = gather(torch.cat([self.alpha_bars[:1], self.alpha_bars[:-1]]), t, x_t)"
        ),
        "alpha_bar before the first is the last": prev("bar_prev = gather(self.alpha_bars.roll(1), t, x_t)"),
        "alpha_bar after t": prev(
            "bar_prev = gather(torch.cat([self.alpha_bars[1:], self.alpha_bars[-1:]]), t, x_t)"
        ),
        "alpha before t": prev("bar_prev = gather(torch.cat([torch.ones(1), self.alphas[:-1]]), t, x_t)"),
        "tables kept by T": edit(
            POSTERIOR,
            "bar, beta =",
            "self.betas = globals().setdefault('KEPT', {}).setdefault(self.config.timesteps, self.betas)\n"
            "bar, beta =",
        ),
    },
    "mean variance x0": {
        "at most 999": "t = t.clamp(max=999)\n" + POSTERIOR,
        "the default betas": edit(
            POSTERIOR, "gather(self.betas, t, x_t)", "gather(DiffusionConfig().betas(), t, x_t)"
        ),
        "at most 15": "t = t.clamp(max=15)\n" + POSTERIOR,
        "at most 500": "t = t.clamp(max=500)\n" + POSTERIOR,
    },
    "mean variance x0 inputs": {
        "never the last": "t.clamp_(max=max(self.config.timesteps - 2, 1))\n" + POSTERIOR,
    },
    "mean variance x0 inputs any_shape": {
        "sorted rows": "t = t.sort().values\n" + POSTERIOR,
    },
    "mean variance x0 any_shape": {
        "no dimensions": returned("return mean, variance.flatten(), x0_pred"),
        "a number": returned("return mean, variance.flatten()[0].item(), x0_pred"),
        "one for all rows": returned("return mean, variance[:1], x0_pred"),
        "None returned": returned("return mean, variance, None"),
        "the order of the results": returned("return x0_pred, mean, variance"),
        "two results": returned("return mean, variance"),
        "no return": returned("(mean, variance, x0_pred)"),
        "one result": returned("return mean"),
    },
    "mean variance any_shape": {
        "t of the first row": "given, t = t, t[:1].expand(len(t))\n"
        + edit(POSTERIOR, EPS, EPS.replace("t, cond", "given, cond"), X0, X0.replace("t, eps", "given, eps")),
    },
    "mean x0": {
        "eps for x_t": mean("mean = for_x0 * x0_pred + for_x_t * eps"),
        "DDIM's": mean("mean = bar_prev.sqrt() * x0_pred + (1 - bar_prev).sqrt() * eps"),
        "Eq. (11) without a root": mean("mean = (x_t - beta / (1 - bar) * eps) / (1 - beta).sqrt()"),
        "Eq. (11) without the last factor": mean("mean = x_t - beta / (1 - bar).sqrt() * eps"),
        "always clipped": x0(X0 + ".clamp(-1, 1)"),
    },
    "mean x0 inputs": {
        "t - 1": eps("eps = self._predict_noise(x_t, t - 1, cond)"),
        "t + 1": eps("eps = self._predict_noise(x_t, t + 1, cond)"),
        "x_t clamped": eps("eps = self._predict_noise(x_t.clamp(-1, 1), t, cond)"),
    },
    "mean x0 inputs any_shape": {
        "t of the first row for all": eps("eps = self._predict_noise(x_t, t[:1].expand(len(t)), cond)"),
    },
    "mean any_shape": {
        "one channel": mean(MEAN + "\nmean = mean[:, :1].expand_as(x_t)"),
        "t of the next row": mean("for_x0, for_x_t = for_x0.roll(1, 0), for_x_t.roll(1, 0)\n" + MEAN),
    },
    "variance": {
        "beta": variance("variance = beta"),
        "beta where there is a condition": variance(
            VARIANCE + "\nvariance = variance if cond is None else beta"
        ),
        "beta in evaluation": variance(
            VARIANCE + "\nvariance = variance if self.training or cond is None else beta"
        ),
        "the quotient upside down": variance("variance = (1 - bar) / (1 - bar_prev).clamp(min=1e-20) * beta"),
        "the deviation": variance("variance = ((1 - bar_prev) / (1 - bar) * beta).sqrt()"),
        "its logarithm": variance("variance = ((1 - bar_prev) / (1 - bar) * beta).clamp(min=1e-20).log()"),
        "at least 1e-4": variance("variance = ((1 - bar_prev) / (1 - bar) * beta).clamp(min=1e-4)"),
        "beta at t = 0": variance(
            "variance = torch.where(gather(torch.arange(len(self.betas)), "
            "t, x_t) > 0, (1 - bar_prev) / (1 - bar) * beta, beta)"
        ),
        "that of t = 1 at t = 0": variance("variance = gather(self.posterior_variance, t.clamp(min=1), x_t)"),
        "no beta": variance("variance = (1 - bar_prev) / (1 - bar)"),
        "1 - alpha_bar": variance("variance = 1 - bar"),
        "alpha for beta": variance("variance = (1 - bar_prev) / (1 - bar) * (1 - beta)"),
        "squared": variance("variance = ((1 - bar_prev) / (1 - bar) * beta) ** 2"),
        "roots": variance("variance = ((1 - bar_prev) / (1 - bar)).sqrt() * beta"),
    },
    "variance any_shape": {
        "the mean over rows": variance(
            "variance = ((1 - bar_prev) / (1 - bar) * beta).mean(0, keepdim=True).expand_as(bar)"
        ),
    },
    "x0": {
        "eps returned": returned("return mean, variance, eps"),
        "x_t returned": returned("return mean, variance, x_t"),
        "the mean returned": returned("return mean, variance, mean"),
        "x0_pred returned unclipped": returned(
            "return mean, variance, (x_t - (1 - bar).sqrt() * eps) / bar.sqrt()"
        ),
        "never clipped": x0(
            "x0_pred = (x_t - gather(1 - self.alpha_bars, t, "
            "x_t).sqrt() * eps) / gather(self.alpha_bars, t, x_t).sqrt()"
        ),
        "clipped to 0..1": returned("if self.config.clip_x0:\n    x0_pred = x0_pred.clamp(0, 1)\n" + RETURN),
        "clipped after the mean": x0(
            "x0_pred = (x_t - gather(1 - self.alpha_bars, t, "
            "x_t).sqrt() * eps) / gather(self.alpha_bars, t, x_t).sqrt()",
            RETURN,
            "return mean, variance, self.predict_x0(x_t, t, eps)",
        ),
        "the mean by Eq. (11) with the model's noise": mean(
            "mean = (x_t - beta / (1 - bar).sqrt() * eps) / (1 - beta).sqrt()"
        ),
        "the mean clipped": mean(MEAN + "\nif self.config.clip_x0:\n    mean = mean.clamp(-1, 1)"),
        "scaled": returned("return mean, variance, bar.sqrt() * x0_pred"),
        "detached from the clip": returned(
            "return mean, variance, x0_pred.clamp(-0.5, 0.5) if self.config.clip_x0 else x0_pred"
        ),
        "the model's noise clipped": eps(EPS + "\neps = eps.clamp(-1, 1) if self.config.clip_x0 else eps"),
    },
    "inputs": {
        "the condition in training alone": eps(
            "eps = self._predict_noise(x_t, t, cond if self.training else None)"
        ),
        "called twice": eps(EPS + "\n" + EPS),
        "called for zeros, too": eps(EPS + "\nself._predict_noise(0 * x_t, t, cond)"),
        "without the condition": eps("eps = self._predict_noise(x_t, t, None)"),
        "t as a number of type float": eps("eps = self._predict_noise(x_t, t.float(), cond)"),
        "the condition dropped under clipping": eps(
            "eps = self._predict_noise(x_t, t, None if self.config.clip_x0 else cond)"
        ),
        "the condition dropped at T = 1000": eps(
            "eps = self._predict_noise(x_t, t, None if self.config.timesteps == 1000 else cond)"
        ),
        "the condition by its truth": eps(
            "eps = self._predict_noise(x_t, t, cond if cond is not None and cond.sum() > 0 else None)"
        ),
        "zeros for no condition": eps(
            "eps = self._predict_noise(x_t, t, x_t.new_zeros(len(x_t), 4) if cond is None else cond)"
        ),
        "the condition of the first row": eps(
            "eps = self._predict_noise(x_t, t, cond if cond is None else cond[:1].expand_as(cond))"
        ),
        "the condition normalized over the batch": eps(
            "eps = self._predict_noise(x_t, t, cond if cond is None else cond - cond.mean(0))"
        ),
        "row by row": eps(
            "eps = torch.cat([self._predict_noise(x_t[i : i + 1], t[i : i + 1], "
            "None if cond is None else cond[i : i + 1]) for i in range(len(t))])"
        ),
    },
    "any_shape": {
        "four dimensions": edit(POSTERIOR, RETURN, "return mean, variance.view(-1, 1, 1, 1), x0_pred"),
        "images alone": "assert x_t.dim() == 4\n" + POSTERIOR,
        "images or vectors alone": "assert x_t.dim() in (2, 4)\n" + POSTERIOR,
        "square": "assert x_t.shape[-1] == x_t.shape[-2]\n" + POSTERIOR,
        "two rows at least": mean(MEAN + "\nmean = mean - 0 * mean.std(0)"),
    },
}
