"""Variants of the DDIM update."""

from functools import partial

from tests.instructors.variants import edit

STEP = """
bar, bar_prev = self._alpha_bars[t], self._alpha_bars[t_prev] if t_prev >= 0 else 1.0
eps = eps_pred
if self.config.clip_x0:
    eps = (x_t - bar**0.5 * x0_pred) / (1 - bar) ** 0.5
sigma = eta * math.sqrt((1 - bar_prev) / (1 - bar)) * math.sqrt(1 - bar / bar_prev)
left = math.sqrt(max(0.0, 1 - bar_prev - sigma**2))
z = randn_like(x_t, generator)
return math.sqrt(bar_prev) * x0_pred + left * eps + sigma * z
"""
BARS = "bar, bar_prev = self._alpha_bars[t], self._alpha_bars[t_prev] if t_prev >= 0 else 1.0\n"
EPS = "eps = (x_t - bar**0.5 * x0_pred) / (1 - bar) ** 0.5"
SIGMA = "eta * math.sqrt((1 - bar_prev) / (1 - bar)) * math.sqrt(1 - bar / bar_prev)"
LEFT = "math.sqrt(max(0.0, 1 - bar_prev - sigma**2))"
NOISE = "randn_like(x_t, generator)"
SUM = "return math.sqrt(bar_prev) * x0_pred + left * eps + sigma * z"
FIRST = "bar, bar_prev ="

step = partial(edit, STEP)
bars = partial(step, BARS)
adjusted = partial(step, EPS)
sigma = partial(step, SIGMA)
left = partial(step, LEFT)
noise = partial(step, NOISE)
summed = partial(step, SUM)

RIGHT = {
    "step by step": STEP,
    "tables in float64": bars(
        "bars = torch.cat([1 - self.config.betas(), torch.ones(1, dtype=torch.float64)])\n"
        "bar, bar_prev = bars[: t + 1].prod().item(), bars[: t_prev + 1].prod().item()\n"
    ),
    "the agreeing noise, also without clipping": step("if self.config.clip_x0:", "if True:"),
    "the agreeing noise, only where x0_pred is at the limits": adjusted(
        "eps = torch.where(x0_pred.abs() < 1, eps_pred, (x_t - bar**0.5 * x0_pred) / (1 - bar) ** 0.5)"
    ),
    "x0 written out, as in the paper": summed(
        "if not self.config.clip_x0:\n    x0_pred = (x_t - (1 - bar) ** 0.5 * eps_pred) / bar**0.5\n" + SUM
    ),
    "returns early at the last step": bars(
        "if t_prev < 0:\n    return x0_pred\nbar, bar_prev = self._alpha_bars[t], self._alpha_bars[t_prev]\n"
    ),
    "no noise is drawn where sigma is 0": summed(
        SUM.replace(" + sigma * z", "") + (" if sigma == 0 else " + SUM.removeprefix("return "))
    ),
    "the variance": sigma("math.sqrt(eta**2 * (1 - bar_prev) / (1 - bar) * (1 - bar / bar_prev))"),
    "tensors": left("torch.tensor(1 - bar_prev - sigma**2).clamp(min=0).sqrt()"),
    "the size of what is left": left("abs(1 - bar_prev - sigma**2) ** 0.5"),
    "nan becomes 0": left("torch.tensor(1 - bar_prev - sigma**2).sqrt().nan_to_num(0.0)"),
    "torch.randn with the generator": noise("torch.randn(x_t.shape, generator=generator)"),
    "normal_": noise("torch.empty_like(x_t).normal_(generator=generator)"),
    "mean and deviation": summed(
        "return torch.addcmul(math.sqrt(bar_prev) * x0_pred + left * eps, torch.tensor(sigma), z)"
    ),
}

WRONG = {
    "direction sigma noise last_step clipping rounding whole_runs": {
        "a list of rows": summed("return list(" + SUM[7:] + ")"),
        "nothing is returned at all": summed(SUM[7:]),
        "a tuple": summed(SUM + ", sigma"),
        "a name that is not there": bars(BARS.replace("self._alpha_bars[t]", "self.alphabar[t]")),
    },
    "direction sigma last_step whole_runs": {
        "1 step too early": bars(
            "bar, bar_prev = self._alpha_bars[t], self._alpha_bars[t - 1] if t else 1.0\n"
        ),
    },
    "direction sigma clipping rounding whole_runs": {
        "always the default betas": step(
            FIRST, "self._alpha_bars = DiffusionConfig().betas().neg().add(1).cumprod(0).tolist()\n" + FIRST
        ),
        "eps_pred for x0_pred, and the other way round": step(
            "eps = eps_pred", "eps = eps_pred\nif t_prev >= 0:\n    eps, x0_pred = x0_pred, eps"
        ),
    },
    "direction sigma rounding whole_runs": {
        "the mean of DDPM": summed(
            "return (bar_prev**0.5 * (1 - bar / bar_prev) * "
            "x0_pred + (bar / bar_prev)**0.5 * (1 - bar_prev) * x_t)"
            " / (1 - bar) + sigma * z"
        ),
        "eta forgotten": sigma(SIGMA.removeprefix("eta * ")),
    },
    "direction sigma whole_runs": {
        "x_t for eps_pred": summed(SUM.replace("* eps", "* x_t")),
        "no root at the direction": left("1 - bar_prev - sigma**2"),
        "t_prev = 0 taken for the last step": bars(BARS.replace("t_prev >= 0", "t_prev > 0")),
    },
    "direction last_step whole_runs": {
        "x0_pred at t": summed(SUM.replace("math.sqrt(bar_prev)", "math.sqrt(bar)")),
        "direction at t": left("math.sqrt(max(0.0, 1 - bar - sigma**2))"),
        "x0_pred halved": summed(SUM.replace("math", "0.5 * math")),
        "rounded to bfloat16": summed(SUM.replace("x0_pred", "x0_pred.bfloat16().float()")),
        "x0_pred clamped": summed(SUM.replace("x0_pred", "x0_pred.clamp(-1, 1)")),
        "of the first row": summed(SUM.replace("x0_pred", "x0_pred[:1]")),
    },
    "direction clipping rounding whole_runs": {
        "no direction": summed(SUM.replace(" + left * eps", "")),
    },
    "direction whole_runs": {
        "no root at x0_pred": summed(SUM.replace("math.sqrt(bar_prev)", "bar_prev")),
        "x0_pred without a factor": summed(SUM.replace("math.sqrt(bar_prev) * ", "")),
        "sign of the direction": summed(SUM.replace("+ left", "- left")),
    },
    "sigma noise": {
        "the global generator if eta < 1": noise("randn_like(x_t, generator if eta == 1 else None)"),
        "seeded inside": noise("torch.randn(x_t.shape, generator=torch.Generator().manual_seed(t))"),
    },
    "sigma noise rounding whole_runs": {
        "the predicted noise again": noise("eps"),
    },
    "sigma noise whole_runs": {
        "the noise forgotten": summed(SUM.removesuffix(" + sigma * z")),
        "uniform in 0..1": noise("torch.rand(x_t.shape, generator=generator)"),
        "the mean of the noise": summed(SUM + ".mean()"),
    },
    "sigma last_step whole_runs": {
        "DDPM's other variance": sigma("eta * math.sqrt(1 - bar / bar_prev)"),
        "the first quotient upside down": sigma(
            SIGMA.replace("(1 - bar_prev) / (1 - bar)", "(1 - bar) / (1 - bar_prev)")
        ),
        "noise without sigma": summed(SUM.replace("sigma * z", "(eta > 0) * z")),
        "posterior_variance of t": sigma(
            "eta * self.posterior_variance[t].sqrt().item() if t else eta * 0.1"
        ),
    },
    "sigma rounding whole_runs": {
        "sigma not taken from the direction": left("math.sqrt(1 - bar_prev)"),
        "sigma at most a tenth": sigma(f"min(0.1, {SIGMA})"),
    },
    "sigma whole_runs": {
        "eta squared": sigma(SIGMA.replace("eta", "eta**2")),
        "root of eta": sigma(SIGMA.replace("eta", "eta**0.5")),
        "eta only as yes or no": sigma(SIGMA.replace("eta", "bool(eta)")),
        "no root of the first quotient": sigma(
            "eta * (1 - bar_prev) / (1 - bar) * math.sqrt(1 - bar / bar_prev)"
        ),
        "no root of the second": sigma("eta * math.sqrt((1 - bar_prev) / (1 - bar)) * (1 - bar / bar_prev)"),
        "variance for deviation": sigma("eta * (1 - bar_prev) / (1 - bar) * (1 - bar / bar_prev)"),
        "beta of t for the whole step": sigma(
            "eta * math.sqrt((1 - bar_prev) / (1 - bar) * self.betas[t].item())"
        ),
        "sigma for its square": left("math.sqrt(max(0.0, 1 - bar_prev - sigma))"),
        "the noise doubled": summed(SUM + " * 2"),
        "the noise by the variance": summed(SUM.replace("sigma *", "sigma**2 *")),
        "noise at eta = 1 alone": summed(SUM.replace("sigma *", "(eta == 1) * sigma *")),
    },
    "noise": {
        "the generator ignored": noise("torch.randn_like(x_t)"),
        "the global generator seeded": "torch.manual_seed(0)\n" + noise("torch.randn_like(x_t)"),
        "the generator's seed, again and again": noise(
            "torch.randn(x_t.shape, generator=generator and "
            "torch.Generator().manual_seed(generator.initial_seed()))"
        ),
        "the same noise at each step": noise(f"self.__dict__.setdefault('z', {NOISE})"),
        "the generator ignored for images": noise(
            "randn_like(x_t, generator if x_t.shape[-1] == 1 else None)"
        ),
        "a seed for the global generator": "if generator is not None:\n"
        "    torch.manual_seed(generator.initial_seed())\n" + noise("torch.randn_like(x_t)"),
    },
    "noise whole_runs": {
        "one noise for all rows": noise("randn_like(x_t[:1], generator).expand_as(x_t)"),
        "one noise for all channels": noise("randn_like(x_t[:, :1], generator).expand_as(x_t)"),
        "one noise for all columns": noise("randn_like(x_t[..., :1], generator).expand_as(x_t)"),
        "uniform, of variance 1": noise("(2 * 3**0.5) * (torch.rand(x_t.shape, generator=generator) - 0.5)"),
        "signs": noise(f"{NOISE}.sign()"),
        "cut off at 1.5": noise(f"{NOISE}.clamp(-1.5, 1.5) / 0.88"),
        "half of the rows mirrored": noise(f"{NOISE}\nz[1::2] = -z[: len(z) // 2 * 2 : 2]"),
        "sorted": noise(f"{NOISE}.sort(-1).values"),
        "shifted": noise(f"{NOISE} * 0.94 + 0.34"),
        "the first row without noise": noise(f"{NOISE}\nz[0] = 0"),
    },
    "last_step clipping whole_runs": {
        "eps_pred changed": summed("eps_pred.mul_(left)\n" + SUM.replace("left * eps", "eps")),
    },
    "last_step whole_runs": {
        "index -1": bars("bar, bar_prev = self._alpha_bars[t], self._alpha_bars[t_prev]\n"),
        "alpha_bar of step 0": bars(
            "bar, bar_prev = self._alpha_bars[t], self._alpha_bars[max(t_prev, 0)]\n"
        ),
        "nearly 1": bars(BARS.replace("1.0", "0.999")),
        "1 only from t = 0": bars(
            "bar, bar_prev = self._alpha_bars[t], self._alpha_bars[t_prev] if t else 1.0\n"
        ),
        "0": bars(BARS.replace("1.0", "1e-4")),
        "x_t is returned": "if t_prev < 0:\n    return x_t\n" + STEP,
        "eps_pred is returned": "if t_prev < 0:\n    return eps_pred\n" + STEP,
        "nothing is returned then": "if t_prev < 0:\n    return\n" + STEP,
        "noise is added": "if t_prev < 0:\n    return x0_pred + 0.1 * randn_like(x_t, generator)\n" + STEP,
        "clamped": "if t_prev < 0:\n    return x0_pred.clamp(-0.9, 0.9)\n" + STEP,
        "the mean of both": "if t_prev < 0:\n    return (x0_pred + x_t) / 2\n" + STEP,
        "of one row for all": "if t_prev < 0:\n    return x0_pred[:1].expand_as(x0_pred)\n" + STEP,
    },
    "clipping whole_runs": {
        "eps_pred as it was": step("if self.config.clip_x0:", "if False:"),
        "eps_pred clipped": adjusted("eps = eps_pred.clamp(-1, 1)"),
        "only without noise": step("self.config.clip_x0", "self.config.clip_x0 and eta == 0"),
        "only with less noise than DDPM": step("self.config.clip_x0", "self.config.clip_x0 and eta < 1"),
        "no roots": adjusted("eps = (x_t - bar * x0_pred) / (1 - bar)"),
        "the roots swapped": adjusted("eps = (x_t - (1 - bar) ** 0.5 * x0_pred) / bar**0.5"),
        "not divided": adjusted("eps = x_t - bar**0.5 * x0_pred"),
        "the difference to x_t": adjusted("eps = x_t - x0_pred"),
        "the sign": adjusted(EPS.replace("x_t -", "-x_t +")),
        "half way": adjusted(EPS.replace("= (", "= eps / 2 + 0.5 * (")),
        "only if all is clipped": step(
            "self.config.clip_x0", "self.config.clip_x0 and bool((x0_pred.abs() == 1).all())"
        ),
        "only where it is clipped at 1": adjusted(f"eps = torch.where(x0_pred < 1, eps, {EPS[6:]})"),
        "x0_pred clipped anew, to 0..1": adjusted(
            f"x0_pred = x0_pred.clamp(0, 1) if t_prev >= 0 else x0_pred\n    {EPS}"
        ),
        "without clipping instead": step("if self.config", "if not self.config"),
    },
    "rounding": {
        "a root of less than 0": left("math.sqrt(1 - bar_prev - sigma**2)"),
        "nan": left("torch.tensor(1 - bar_prev - sigma**2).sqrt()"),
        "0 at least, of the root": left("max(0.0, math.sqrt(1 - bar_prev - sigma**2))"),
        "a complex number": left("(1 - bar_prev - sigma**2) ** 0.5"),
        "an assertion": left(LEFT + "\nassert 1 - bar_prev - sigma**2 >= 0"),
        "nan becomes 1": left("torch.tensor(1 - bar_prev - sigma**2).sqrt().nan_to_num(1.0)"),
        "x_t where it is less than 0": left(LEFT + "\nif 1 - bar_prev - sigma**2 < 0:\n    return x_t"),
        "nothing where it is less than 0": left(LEFT + "\nif 1 - bar_prev - sigma**2 < 0:\n    return None"),
        "the variance of eta = 0 where it is less than 0": left(
            LEFT + "\nif 1 - bar_prev - sigma**2 < 0:\n    left = math.sqrt(1 - bar_prev)"
        ),
        "the power of a tensor": left("torch.tensor(1 - bar_prev - sigma**2, dtype=torch.float64).pow(0.5)"),
        "at most 1": left("math.sqrt(min(1.0, 1 - bar_prev - sigma**2))"),
    },
    "whole_runs": {
        "x_t changed": "x_t.add_(0.5)\nx_t = x_t - 0.5\n" + STEP,
        "x0_pred changed": summed("x0_pred *= math.sqrt(bar_prev)\nreturn x0_pred + left * eps + sigma * z"),
        "float64 returned": summed(
            SUM.replace("math", "torch.ones((), dtype=torch.float64).expand_as(x_t) * math")
        ),
        "the result put into x_t": summed("return x_t.copy_(" + SUM[7:] + ")"),
        "adjusted in x_t's place": adjusted("eps = x_t.sub_(bar**0.5 * x0_pred) / (1 - bar) ** 0.5"),
    },
}
