"""Variants of HW3/diffusion.py."""

# Pieces of the alternative that many variants replace.
FLOAT64 = (
    "self.betas = torch.linspace(config.beta_start, config.beta_end, self.timesteps, dtype=torch.float64)"
)
SPREAD = "signal, spread = self.alpha_bars.sqrt(), (1 - self.alpha_bars).sqrt()"
DRAW_T = "t = torch.randint(self.timesteps, (len(x0),))"
LOSS = "return ((eps - noise) ** 2).mean()"
X0 = "x0 = (x_t - spread * eps) / signal"
COEF_X0 = "coef_x0 = self.alpha_bars_prev.sqrt() * self.betas / (1 - self.alpha_bars)"
COEF_XT = "coef_xt = self.alphas.sqrt() * (1 - self.alpha_bars_prev) / (1 - self.alpha_bars)"
VARIANCE = "variance = self.betas * (1 - self.alpha_bars_prev) / (1 - self.alpha_bars)"
RETURN = "return mean, self.at(variance, t, x_t)"
START = "noise = torch.randn(shape, device=device, generator=generator)"
LOOP = "for step in range(self.timesteps - 1, -1, -1):"
DDPM_NOISE = "x = x + variance.sqrt() * torch.randn(x.shape, generator=generator)"
DDPM_IF = "            if step > 0:\n                x = x + variance.sqrt()"
TIMES = "return torch.linspace(self.timesteps - 1, 0, steps).round().long().tolist()"
CHECK = 'if steps < 1 or steps > self.timesteps:\n            raise ValueError(f"steps = {steps}")'
BAR = "bar = self.alpha_bars[step].item()"
BAR_PREV = "bar_prev = self.alpha_bars[times[i + 1]].item() if i + 1 < len(times) else 1.0"
SIGMA = "sigma = eta * ((1 - bar_prev) / (1 - bar)) ** 0.5 * (1 - bar / bar_prev) ** 0.5"
UPDATE = "x = bar_prev**0.5 * x0 + (1 - bar_prev - sigma**2) ** 0.5 * eps"
DDIM_NOISE = "x = x + sigma * torch.randn(x.shape, generator=generator)"
DDIM_IF = "            if sigma > 0:\n                x = x + sigma"
DDIM_EPS = "eps = self.predict(x, t, cond)\n            x0"

RIGHT = {
    "alternative": ("float64 tables, cond by keyword, noise only where it is added, timesteps by linspace",),
    "float32 tables": (
        "tables of float32, as in many implementations",
        (FLOAT64, FLOAT64.replace("64", "32")),
    ),
    "cond by position": (
        "model(x_t, t, cond)",
        ("self.model(x_t, t, cond=cond)", "self.model(x_t, t, cond)"),
    ),
    "cond always": (
        "model(x_t, t, None) where there is no condition",
        ("self.model(x_t, t)", "self.model(x_t, t, None)"),
    ),
    "floored times": (
        "timesteps rounded down",
        (TIMES, "return [self.timesteps * (i + 1) // steps - 1 for i in range(steps)][::-1]"),
    ),
    "truncated times": ("linspace truncated", (TIMES, TIMES.replace(".round()", ""))),
    "ceiled times": (
        "timesteps rounded up",
        (TIMES, "return [-(-self.timesteps * (i + 1) // steps) - 1 for i in range(steps)][::-1]"),
    ),
    "eps follows the clipped x0": (
        "where x0 is clipped, eps is recomputed",
        (UPDATE, "eps = (x - bar**0.5 * x0) / (1 - bar) ** 0.5\n            " + UPDATE),
    ),
    "noise always drawn": (
        "noise is drawn even where sigma is 0",
        (DDIM_IF, "            if True:\n                x = x + sigma"),
    ),
    "noise drawn first": (
        "DDPM's noise is drawn before the model is called",
        (
            "mean, variance = self.p_mean_variance(x, t, cond)",
            "z = torch.randn(x.shape, generator=generator)\n"
            "            mean, variance = self.p_mean_variance(x, t, cond)",
        ),
        (DDPM_NOISE, "x = x + variance.sqrt() * z"),
    ),
    "Eq. (11)": (
        "the mean from eps, where x0 is not clipped",
        (
            RETURN,
            "if not self.config.clip_x0:\n"
            "            a, b = self.at(self.alphas, t, x_t), self.at(1 - self.alpha_bars, t, x_t)\n"
            "            mean = (x_t - (1 - a) / b.sqrt() * eps) / a.sqrt()\n        " + RETURN,
        ),
    ),
    "variance as logarithm": (
        "variance = exp(log(max(variance, 1e-20)))",
        (VARIANCE, VARIANCE + "\n        variance = variance.clamp(min=1e-20).log().exp()"),
    ),
    "more returned": (
        "p_mean_variance also returns the logarithm of the variance and x0",
        (RETURN, RETURN + ", None, x0"),
        ("mean, variance = self.p", "mean, variance, *_ = self.p"),
    ),
    "variance as large as x": ("the variance in x_t's shape", (RETURN, RETURN + ".expand_as(x_t)")),
    "antithetic t": (
        "t in pairs t, T - 1 - t",
        (
            DRAW_T,
            "t = torch.randint(self.timesteps, ((len(x0) + 1) // 2,))\n"
            "        t = torch.cat([t, self.timesteps - 1 - t])[: len(x0)]",
        ),
    ),
    "t by rand": (
        "t as the whole part of T u",
        (DRAW_T, "t = (torch.rand(len(x0)) * self.timesteps).long()"),
    ),
    "mse_loss": ("the loss by torch", (LOSS, "return torch.nn.functional.mse_loss(eps, noise)")),
    "sigma rearranged": (
        "sigma^2 = eta^2 times the posterior's variance, for a stride",
        (SIGMA, "sigma = eta * ((1 - bar_prev) * (bar_prev - bar) / (bar_prev * (1 - bar))) ** 0.5"),
    ),
    "last step by x0": (
        "the last step returns x0 at once",
        (BAR, "if i == len(times) - 1:\n                return x0\n            " + BAR),
    ),
    "a warning": (
        "warns of something",
        (DRAW_T, 'import warnings\n        warnings.warn("slow")\n        ' + DRAW_T),
    ),
    "plain class": (
        "no nn.Module",
        ("class GaussianDiffusion(nn.Module):", "class GaussianDiffusion:"),
        ("        super().__init__()\n", ""),
    ),
    "numpy tables": (
        "the cumulative product by numpy",
        (
            "self.alpha_bars = self.alphas.cumprod(0)",
            "import numpy\n        self.alpha_bars = torch.tensor(numpy.cumprod(self.alphas.numpy()))",
        ),
    ),
    "new classes for tensors": (
        "x0 from the reciprocal, as in the original code",
        (X0, "x0 = x_t / signal - (spread / signal) * eps"),
    ),
}

WRONG = {
    "test_q_sample": {
        "no root of the signal": (
            "alpha_bar x0",
            (SPREAD, SPREAD.replace("self.alpha_bars.sqrt(),", "self.alpha_bars,")),
        ),
        "no root of the spread": ("(1 - alpha_bar) noise", (SPREAD, SPREAD.replace(").sqrt()", ")"))),
        "alpha for alpha_bar": (
            "the schedule is not multiplied up",
            (SPREAD, SPREAD.replace("alpha_bars", "alphas")),
        ),
        "alpha_bar of the step before": (
            "off by one",
            (SPREAD, SPREAD.replace("alpha_bars", "alpha_bars_prev")),
        ),
        "signal and spread swapped": (
            "sqrt(1 - alpha_bar) x0",
            (SPREAD, "spread, signal = self.alpha_bars.sqrt(), (1 - self.alpha_bars).sqrt()"),
        ),
        "betas not linear": (
            "a schedule linear in sqrt(beta), as in Stable Diffusion",
            (
                FLOAT64,
                FLOAT64.replace(
                    "config.beta_start, config.beta_end", "config.beta_start**0.5, config.beta_end**0.5"
                )
                + " ** 2",
            ),
        ),
        "default betas": (
            "ignores the config",
            (FLOAT64, FLOAT64.replace("config.beta_start, config.beta_end", "1e-4, 0.02")),
        ),
        "betas without the last": (
            "the last beta is not reached",
            (FLOAT64, FLOAT64.replace("self.timesteps, dtype", "self.timesteps + 1, dtype") + "[:-1]"),
        ),
        "t of the first row": ("batch rows mixed", ("return table[t].to", "return table[t[:1]].to")),
        "one noise for all rows": (
            "the noise of the batch is shared",
            (
                "noise = torch.randn_like(x0)\n        signal",
                "noise = torch.randn_like(x0[:1]).expand_as(x0)\n        signal",
            ),
        ),
        "uniform noise": (
            "noise in [0, 1)",
            ("noise = torch.randn_like(x0)\n        signal", "noise = torch.rand_like(x0)\n        signal"),
        ),
        "uniform noise of variance 1": (
            "noise not Gaussian",
            (
                "noise = torch.randn_like(x0)\n        signal",
                "noise = (2 * torch.rand_like(x0) - 1) * 3**0.5\n        signal",
            ),
        ),
        "given noise ignored": (
            "draws its own",
            (
                "        if noise is None:\n            noise = torch.randn_like(x0)\n        signal",
                "        noise = torch.randn_like(x0)\n        signal",
            ),
        ),
        "x0 overwritten": (
            "works in place",
            ("return self.at(signal, t, x0) * x0 +", "return x0.mul_(self.at(signal, t, x0)) +"),
        ),
    },
    "test_training_loss": {
        "sum": ("sum instead of mean", (LOSS, "return ((eps - noise) ** 2).sum()")),
        "absolute error": ("L1", (LOSS, "return (eps - noise).abs().mean()")),
        "predicts x0": ("the model's output is compared with x0", (LOSS, "return ((eps - x0) ** 2).mean()")),
        "loss of each row": ("no scalar", (LOSS, "return ((eps - noise) ** 2).flatten(1).mean(1)")),
        "t from 1": ("t = 0 is never drawn", (DRAW_T, "t = torch.randint(1, self.timesteps, (len(x0),))")),
        "t without the last": (
            "t = T - 1 is never drawn",
            (DRAW_T, "t = torch.randint(self.timesteps - 1, (len(x0),))"),
        ),
        "one t": ("all rows share a t", (DRAW_T, "t = torch.randint(self.timesteps, (1,)).expand(len(x0))")),
        "small t preferred": (
            "t is not uniform",
            (DRAW_T, "t = (torch.rand(len(x0)) ** 2 * self.timesteps).long()"),
        ),
        "noise drawn twice": (
            "x_t has another noise than the loss",
            ("self.q_sample(x0, t, noise), t, cond)", "self.q_sample(x0, t), t, cond)"),
        ),
        "given noise ignored in the loss": (
            "draws its own",
            (
                "        if noise is None:\n            noise = torch.randn_like(x0)\n        eps",
                "        noise = torch.randn_like(x0)\n        eps",
            ),
        ),
        "cond forgotten in the loss": (
            "trains without the condition",
            ("self.q_sample(x0, t, noise), t, cond)", "self.q_sample(x0, t, noise), t, None)"),
        ),
        "t divided by T": (
            "the model gets a float",
            (
                "self.q_sample(x0, t, noise), t, cond)",
                "self.q_sample(x0, t, noise), t / self.timesteps, cond)",
            ),
        ),
        "x0 to the model": (
            "the model sees clean data",
            ("self.predict(self.q_sample(x0, t, noise), t, cond)", "self.predict(x0, t, cond)"),
        ),
        "detached loss": ("no gradient", (LOSS, "return ((eps.detach() - noise) ** 2).mean()")),
        "float64 x_t": ("the model gets float64", ("return table[t].to(x.dtype)", "return table[t]")),
        "cond averaged": (
            "the condition is averaged over the batch",
            (
                "self.model(x_t, t, cond=cond)",
                "self.model(x_t, t, cond=cond.mean(0, keepdim=True).expand_as(cond))",
            ),
        ),
    },
    "test_p_mean_variance": {
        "beta as variance": ("the other choice of the paper", (VARIANCE, "variance = self.betas")),
        "deviation as variance": (
            "a root too many",
            (VARIANCE, VARIANCE + "\n        variance = variance.sqrt()"),
        ),
        "alpha_bars swapped in the variance": (
            "the reciprocal",
            (
                VARIANCE,
                "variance = self.betas * (1 - self.alpha_bars) / (1 - self.alpha_bars_prev).clamp(min=1e-3)",
            ),
        ),
        "log-variance": (
            "the logarithm is returned",
            (VARIANCE, VARIANCE + "\n        variance = variance.clamp(min=1e-20).log()"),
        ),
        "variance at t = 0": (
            "beta_0 at t = 0, where it must be 0",
            (VARIANCE, VARIANCE + "\n        variance[0] = self.betas[0]"),
        ),
        "no root of alpha_bar_prev": ("in the weight of x0", (COEF_X0, COEF_X0.replace(".sqrt()", ""))),
        "no root of alpha": ("in the weight of x_t", (COEF_XT, COEF_XT.replace(".sqrt()", ""))),
        "alpha_bar for alpha_bar_prev": (
            "in the weight of x0",
            (COEF_X0, COEF_X0.replace("alpha_bars_prev", "alpha_bars")),
        ),
        "root of alpha_bar for alpha": (
            "in the weight of x_t",
            (COEF_XT, COEF_XT.replace("self.alphas", "self.alpha_bars")),
        ),
        "1 - alpha_bar in x0": (
            "no root before eps in x0_pred",
            (
                "spread = self.at((1 - self.alpha_bars).sqrt(), t, x_t)",
                "spread = self.at(1 - self.alpha_bars, t, x_t)",
            ),
        ),
        "x0 not divided": ("x0_pred = x_t - sqrt(1 - alpha_bar) eps", (X0, "x0 = x_t - spread * eps")),
        "eps added": ("sign of eps in x0_pred", (X0, "x0 = (x_t + spread * eps) / signal")),
        "never clipped": ("clip_x0 ignored", ("if self.config.clip_x0:", "if False:")),
        "always clipped": ("clips although clip_x0 is False", ("if self.config.clip_x0:", "if True:")),
        "clipped to [0, 1]": ("wrong range", ("x0.clamp(-1, 1)", "x0.clamp(0, 1)")),
        "t + 1 to the model": (
            "1-based",
            (
                "eps = self.predict(x_t, t, cond)\n        x0",
                "eps = self.predict(x_t, (t + 1).clamp(max=self.timesteps - 1), cond)\n        x0",
            ),
        ),
        "cond forgotten in p": (
            "not passed",
            ("eps = self.predict(x_t, t, cond)\n        x0", "eps = self.predict(x_t, t, None)\n        x0"),
        ),
        "Eq. (11) with clipping": (
            "x0 is clipped, but the mean does not use it",
            (
                RETURN,
                "a, b = self.at(self.alphas, t, x_t), self.at(1 - self.alpha_bars, t, x_t)\n"
                "        mean = (x_t - (1 - a) / b.sqrt() * eps) / a.sqrt()\n        " + RETURN,
            ),
        ),
        "Eq. (11) without a root": (
            "beta / (1 - alpha_bar) eps",
            (
                RETURN,
                "a, b = self.at(self.alphas, t, x_t), self.at(1 - self.alpha_bars, t, x_t)\n"
                "        mean = (x_t - (1 - a) / b * eps) / a.sqrt()\n        " + RETURN,
            ),
        ),
        "mean is x0": ("returns the prediction of x0", (RETURN, "return x0, self.at(variance, t, x_t)")),
    },
    "test_sample_ddpm": {
        "noise at the last step": (
            "sqrt(beta_0) z there",
            (
                DDPM_IF,
                "            variance = variance if step else self.betas[:1].float()\n"
                "            if True:\n"
                "                x = x + variance.sqrt()",
            ),
        ),
        "no noise": ("deterministic", ("if step > 0:", "if False:")),
        "variance for deviation": ("no root", (DDPM_NOISE, DDPM_NOISE.replace(".sqrt()", ""))),
        "beta in the sampler": (
            "sqrt(beta_t) z",
            (DDPM_NOISE, DDPM_NOISE.replace("variance.sqrt()", "self.betas[step].item() ** 0.5")),
        ),
        "same z everywhere": (
            "the noise is drawn once",
            (LOOP, "z = torch.randn(x.shape, generator=generator)\n        " + LOOP),
            (DDPM_NOISE, "x = x + variance.sqrt() * z"),
        ),
        "z shared by the rows": (
            "one noise for the batch",
            (DDPM_NOISE, DDPM_NOISE.replace("x.shape", "x[:1].shape")),
        ),
        "z shared by the pixels": (
            "one number per image",
            (DDPM_NOISE, DDPM_NOISE.replace("x.shape", "(batch_size, 1, 1, 1)")),
        ),
        "start noise used again": (
            "z = x_T",
            (LOOP, "z = x\n        " + LOOP),
            (DDPM_NOISE, "x = x + variance.sqrt() * z"),
        ),
        "uniform z": ("rand", (DDPM_NOISE, DDPM_NOISE.replace("torch.randn", "torch.rand"))),
        "ascending": ("from 0 to T - 1", (LOOP, "for step in range(self.timesteps):")),
        "t = 0 left out": ("ends a step early", (LOOP, "for step in range(self.timesteps - 1, 0, -1):")),
        "t from T": ("first step left out", (LOOP, "for step in range(self.timesteps - 2, -1, -1):")),
        "cond forgotten by sample_ddpm": (
            "not passed",
            ("self.p_mean_variance(x, t, cond)", "self.p_mean_variance(x, t)"),
        ),
        "no noise at t = 1": ("one step too early", ("if step > 0:", "if step > 1:")),
        "model called twice": (
            "the second one counts",
            (
                "mean, variance = self.p_mean_variance(x, t, cond)",
                "self.p_mean_variance(x, t, cond)\n"
                "            mean, variance = self.p_mean_variance(x, t, cond)",
            ),
        ),
        "samples clipped": (
            "clips x_t although clip_x0 is False",
            ("            x = mean\n", "            x = mean.clamp(-1, 1)\n"),
        ),
        "rows shuffled": (
            "batch rows mixed",
            ("            x = mean\n", "            x = mean.roll(1, 0)\n"),
        ),
    },
    "test_ddpm_start": {
        "start of zeros": ("x_T = 0", (START, "noise = torch.zeros(shape)")),
        "start uniform": ("x_T in [0, 1)", (START, START.replace("randn", "rand"))),
        "start shared": (
            "the same x_T in all rows",
            (START, START.replace("shape,", "(1, *shape[1:]),") + ".expand(shape)"),
        ),
        "start too wide": ("x_T of variance 1.2", (START, START + " * 1.2**0.5")),
        "generator ignored": (
            "draws from the global one",
            (
                "torch.randn(x.shape, generator=generator)\n        return x\n\n    def ddim",
                "torch.randn(x.shape)\n        return x\n\n    def ddim",
            ),
        ),
        "generator seeded by itself": (
            "every run is the same",
            (START, "generator = torch.Generator().manual_seed(0)\n            " + START),
            (
                "torch.randn(x.shape, generator=generator)\n        return x\n\n    def ddim",
                "torch.randn(x.shape, generator=torch.Generator().manual_seed(step))\n"
                "        return x\n\n"
                "    def ddim",
            ),
        ),
        "start noise ignored": (
            "draws its own",
            (
                "        if noise is None:\n            noise = torch.randn(shape",
                "        if True:\n            noise = torch.randn(shape",
            ),
        ),
        "start noise scaled": (
            "multiplied by the last sqrt(1 - alpha_bar)",
            ("        return noise\n", "        return noise * (1 - self.alpha_bars[-1].item()) ** 0.5\n"),
        ),
    },
    "test_ddim": {
        "eta squared": ("sigma ~ eta^2", (SIGMA, SIGMA.replace("eta *", "eta**2 *"))),
        "eta ignored": ("always deterministic", (SIGMA, SIGMA.replace("eta *", "0 *"))),
        "eta always 1": ("never deterministic", (SIGMA, SIGMA.replace("eta *", "1 *"))),
        "sigma of DDPM's step": (
            "beta_t for 1 - alpha_bar_t / alpha_bar_prev, wrong for strides",
            (SIGMA, "sigma = eta * ((1 - bar_prev) / (1 - bar) * self.betas[step].item()) ** 0.5"),
        ),
        "sigma squared": ("sigma is the variance", (SIGMA, SIGMA + "\n            sigma = sigma**2")),
        "sigma without the first root": (
            "(1 - alpha_bar_prev) / (1 - alpha_bar)",
            (SIGMA, SIGMA.replace("(1 - bar)) ** 0.5", "(1 - bar))")),
        ),
        "sigma without the second root": (
            "1 - alpha_bar / alpha_bar_prev",
            (SIGMA, SIGMA.replace("bar_prev) ** 0.5", "bar_prev)")),
        ),
        "sigma hat": (
            "sqrt(1 - alpha_bar / alpha_bar_prev), the DDIM paper's larger variance",
            (SIGMA, "sigma = eta * (1 - bar / bar_prev) ** 0.5 if bar_prev < 1 else 0"),
        ),
        "fraction inverted": (
            "(1 - alpha_bar) / (1 - alpha_bar_prev)",
            (
                SIGMA,
                "ratio = (1 - bar) / (1 - bar_prev) if bar_prev < 1 else 0.0\n"
                "            sigma = eta * ratio**0.5 * (1 - bar / bar_prev) ** 0.5 / 4",
            ),
        ),
        "sigma not taken from the direction": (
            "sqrt(1 - alpha_bar_prev) eps",
            (UPDATE, UPDATE.replace(" - sigma**2", "")),
        ),
        "sigma not squared in the direction": (
            "sqrt(1 - alpha_bar_prev - sigma)",
            (UPDATE, UPDATE.replace("(1 - bar_prev - sigma**2)", "max(1 - bar_prev - sigma, 0)")),
        ),
        "no root of the direction": (
            "(1 - alpha_bar_prev - sigma^2) eps",
            (UPDATE, UPDATE.replace("** 0.5 * eps", "* eps")),
        ),
        "no root of alpha_bar_prev in DDIM": (
            "alpha_bar_prev x0",
            (UPDATE, UPDATE.replace("bar_prev**0.5", "bar_prev")),
        ),
        "alpha_bar for alpha_bar_prev in DDIM": (
            "sqrt(alpha_bar) x0",
            (UPDATE, UPDATE.replace("bar_prev**0.5", "bar**0.5")),
        ),
        "alpha_bar in the direction": (
            "1 - alpha_bar",
            (UPDATE, UPDATE.replace("1 - bar_prev - sigma**2", "1 - bar - sigma**2")),
        ),
        "alphas": (
            "alpha for alpha_bar",
            (BAR, BAR.replace("alpha_bars", "alphas")),
            (BAR_PREV, BAR_PREV.replace("alpha_bars", "alphas")),
        ),
        "alpha_bar_prev of step t - 1": (
            "strides ignored",
            (BAR_PREV, "bar_prev = self.alpha_bars[step - 1].item() if step > 0 else 1.0"),
        ),
        "alpha_bar_prev by the stride": (
            "off by one at the end",
            (BAR_PREV, BAR_PREV.replace("else 1.0", "else self.alpha_bars[0].item()")),
        ),
        "last step not onto x0": (
            "alpha_bar_prev of the last step is alpha_bar_0",
            (BAR_PREV, BAR_PREV.replace("1.0", "self.alpha_bars[0].item()")),
        ),
        "noise at DDIM's last step": (
            "sqrt(beta_0) z there",
            (DDIM_IF, "            sigma = sigma or eta * self.betas[0].item() ** 0.5\n" + DDIM_IF),
        ),
        "z added without sigma": ("z", (DDIM_NOISE, "x = x + torch.randn(x.shape, generator=generator)")),
        "z shared by DDIM's rows": (
            "one noise for the batch",
            (DDIM_NOISE, DDIM_NOISE.replace("x.shape", "x[:1].shape")),
        ),
        "eps for z": ("the predicted noise is added again", (DDIM_NOISE, "x = x + sigma * eps")),
        "uniform z in DDIM": ("rand", (DDIM_NOISE, DDIM_NOISE.replace("randn", "rand"))),
        "ascending in DDIM": ("from 0 to T - 1", (TIMES, TIMES + "[::-1]")),
        "times from T - 2": (
            "the largest is not T - 1",
            (TIMES, TIMES.replace("self.timesteps - 1", "self.timesteps - 2")),
        ),
        "times by a stride from 0": (
            "range(0, T, T // steps): the largest is not T - 1",
            (TIMES, "return list(range(0, self.timesteps, self.timesteps // steps))[:steps][::-1]"),
        ),
        "times 1-based": (
            "range(0, T, T // steps) + 1, as in the original code",
            (
                TIMES,
                "return [1 + t for t in range(0, self.timesteps, self.timesteps // steps)][:steps][::-1]",
            ),
        ),
        "times crowded at the end": (
            "a floored stride leaves a long last jump",
            (TIMES, "return [self.timesteps - 1 - i * (self.timesteps // steps) for i in range(steps)]"),
        ),
        "times quadratic": (
            "not evenly spaced",
            (
                TIMES,
                "last = self.timesteps - 1\n"
                "        return [round(last * (i / (steps - 1)) ** 2) for i in range(steps)][::-1]",
            ),
        ),
        "steps = 1 at t = 0": ("starts at 0", ("return [self.timesteps - 1]", "return [0]")),
        "steps - 1 steps": ("one step left out", (TIMES, TIMES + "[:-1]")),
        "steps ignored": ("always T steps", (TIMES, "return list(range(self.timesteps))[::-1]")),
        "steps = 0 allowed": (
            "no error",
            (
                CHECK,
                CHECK.replace(
                    "if steps < 1 or", "if steps == 0:\n            return []\n        if steps < 1 or"
                ),
            ),
        ),
        "steps = T + 1 allowed": ("no error", (CHECK, "steps = max(min(steps, self.timesteps), 1)")),
        "cond forgotten by sample_ddim": ("not passed", (DDIM_EPS, DDIM_EPS.replace("cond", "None"))),
        "index for t": (
            "the model gets the number of the step",
            (DDIM_EPS, DDIM_EPS.replace("(x, t,", "(x, torch.full_like(t, len(times) - 1 - i),")),
        ),
        "t of shape (1,)": (
            "a t for the batch",
            (
                "t = torch.full((batch_size,), step)\n            eps",
                "t = torch.tensor([step])\n            eps",
            ),
        ),
        "never clipped in DDIM": (
            "clip_x0 ignored",
            (
                "x0 = self.x0_from(x, t, eps)\n            bar",
                "b = self.alpha_bars[step].item()\n            x0 = (x - (1 - b) ** 0.5 * eps) / b**0.5\n"
                "            bar",
            ),
        ),
        "x_prev clipped": (
            "clips the state instead of x0",
            (UPDATE, UPDATE + "\n            x = x.clamp(-1, 1)"),
        ),
        "x_prev clipped where clip_x0": (
            "clips the state, too",
            (UPDATE, UPDATE + "\n            x = x.clamp(-1, 1) if self.config.clip_x0 else x"),
        ),
        "sampling with DDPM's mean": (
            "ancestral steps on a sub-list of timesteps",
            (UPDATE, "x, _ = self.p_mean_variance(x, t, cond)"),
        ),
        "rows averaged": (
            "batch rows mixed",
            (UPDATE, UPDATE + "\n            x = x + 0.01 * x.mean(0, keepdim=True)"),
        ),
        "generator ignored by DDIM": (
            "draws from the global one",
            (DDIM_NOISE, "x = x + sigma * torch.randn(x.shape)"),
        ),
        "eta = 1 by default where steps = T": (
            "eta forgotten in a special case",
            (SIGMA, SIGMA.replace("eta *", "(1.0 if len(times) == self.timesteps else eta) *")),
        ),
    },
}
