"""Variants of the training loss of diffusion."""

from functools import partial

from tests.instructors.variants import edit

LOSS = """
if noise is None:
    noise = torch.randn_like(x0)
t = torch.randint(self.config.timesteps, (len(x0),), device=x0.device)
x_t = self.q_sample(x0, t, noise)
eps_pred = self._predict_noise(x_t, t, cond)
return (noise - eps_pred).square().mean()
"""
DRAW = "noise = torch.randn_like(x0)"
TIME = "t = torch.randint(self.config.timesteps, (len(x0),), device=x0.device)"
X_T = "x_t = self.q_sample(x0, t, noise)"
PRED = "eps_pred = self._predict_noise(x_t, t, cond)"
MEAN = "return (noise - eps_pred).square().mean()"

draw = partial(edit, LOSS, DRAW)
time = partial(edit, LOSS, TIME)
x_t = partial(edit, LOSS, X_T)
pred = partial(edit, LOSS, PRED)
mean = partial(edit, LOSS, MEAN)

RIGHT = {
    "step by step": LOSS,
    "mse_loss": mean("return F.mse_loss(eps_pred, noise)"),
    "the mean over rows of means": mean(
        "return torch.stack([(e - n).pow(2).mean() for e, n in zip(eps_pred, noise)]).mean()"
    ),
    "randint with low and high": time(
        "t = torch.randint(low=0, high=self.config.timesteps, size=(x0.shape[0],))"
    ),
    "t from uniform numbers": time("t = (torch.rand(len(x0)) * self.config.timesteps).long()"),
    "the model called directly": pred(
        "eps_pred = self.model(x_t, t) if cond is None else self.model(x_t, t, cond)"
    ),
    "x_t written out": x_t(
        "x_t = gather(self.alpha_bars, t, x0).sqrt() * x0 + "
        "(1 - gather(self.alpha_bars, t, x0)).sqrt() * noise"
    ),
    "the noise drawn after t": edit(
        LOSS,
        "if noise is None:\n    noise = torch.randn_like(x0)\n",
        "",
        X_T,
        "noise = torch.randn(x0.shape) if noise is None else noise\n" + X_T,
    ),
    "a sum over a number": mean("return ((eps_pred - noise) ** 2).sum() / noise.numel()"),
}

WRONG = {
    "error": {
        "a sum": mean("return (noise - eps_pred).square().sum()"),
        "a mean over rows alone": mean("return (noise - eps_pred).square().flatten(1).sum(1).mean()"),
        "a sum over rows": mean("return (noise - eps_pred).square().flatten(1).mean(1).sum()"),
        "Huber": mean("return F.smooth_l1_loss(eps_pred, noise)"),
        "a root": mean("return (noise - eps_pred).square().mean().sqrt()"),
        "halved": mean("return (noise - eps_pred).square().mean() / 2"),
        "of v": mean("return (noise - x0 - eps_pred).square().mean()"),
        "the first channel": mean("return (noise - eps_pred)[:, :1].square().mean()"),
        "the first row": mean("return (noise - eps_pred)[:1].square().mean()"),
        "weighted by the noise": mean(
            "return (gather(1 - self.alpha_bars, t, x0) * (noise - eps_pred).square()).mean()"
        ),
        "the square of the mean": mean("return (noise - eps_pred).mean().square()"),
        "the variance": mean("return (noise - eps_pred).var()"),
        "the median": mean("return (noise - eps_pred).square().median()"),
        "times 1.1": mean("return 1.1 * (noise - eps_pred).square().mean()"),
        "absolute": mean("return (noise - eps_pred).abs().mean()"),
        "weighted by t": mean(
            "return ((noise - eps_pred).square().flatten(1).mean(1) * (t + 1) / self.config.timesteps).mean()"
        ),
    },
    "error inputs": {
        "all rows but the last": mean("return (noise - eps_pred)[: len(x0) - 1].square().mean()"),
    },
    "error inputs timesteps noise": {
        "beyond the end": time("t = torch.randint(self.config.timesteps + 1, (len(x0),))"),
    },
    "error inputs timesteps noise gradients": {
        "a loss for each row": mean("return (noise - eps_pred).square().flatten(1).mean(1)"),
        "no return": mean("(noise - eps_pred).square().mean()"),
    },
    "error noise": {
        "of x0": mean("return (x0 - eps_pred).square().mean()"),
        "of x_t": mean("return (x_t - eps_pred).square().mean()"),
        "the sign of the prediction": mean("return (noise + eps_pred).square().mean()"),
        "other noise": mean("return (torch.randn_like(x0) - eps_pred).square().mean()"),
    },
    "inputs": {
        "the condition in training alone": pred(
            "eps_pred = self._predict_noise(x_t, t, cond if self.training else None)"
        ),
        "cond zeroed": mean("if cond is not None:\n    cond.zero_()\n" + MEAN),
        "no condition": pred("eps_pred = self._predict_noise(x_t, t, None)"),
        "the condition of the next row": pred(
            "eps_pred = self._predict_noise(x_t, t, None if cond is None else cond.roll(1, 0))"
        ),
        "zeros for no condition": pred(
            "eps_pred = self._predict_noise(x_t, t, x0.new_zeros(len(x0), 4) if cond is None else cond)"
        ),
        "the condition by its truth": pred(
            "eps_pred = self._predict_noise(x_t, t, cond if cond is not None and cond.sum() > 0 else None)"
        ),
        "the condition dropped in training": pred(
            "eps_pred = self._predict_noise(x_t, t, None if self.training else cond)"
        ),
        "the condition's mean": pred(
            "eps_pred = self._predict_noise(x_t, t, cond if cond is None else cond.mean(0).expand_as(cond))"
        ),
        "the mean of x_t": x_t("x_t = self.q_sample(x0, t, noise) - x0.mean()"),
    },
    "inputs timesteps noise": {
        "t - 1": pred("eps_pred = self._predict_noise(x_t, t - 1, cond)"),
        "1-based t": pred("eps_pred = self._predict_noise(x_t, t + 1, cond)"),
        "t over T": pred("eps_pred = self._predict_noise(x_t, t / self.config.timesteps, cond)"),
    },
    "inputs noise": {
        "x0 for x_t": pred("eps_pred = self._predict_noise(x0, t, cond)"),
        "the noise for x_t": pred("eps_pred = self._predict_noise(noise, t, cond)"),
        "another noise in x_t": x_t("x_t = self.q_sample(x0, t)"),
        "another t": pred("eps_pred = self._predict_noise(x_t, t.flip(0), cond)"),
        "x_t clamped": x_t("x_t = self.q_sample(x0, t, noise).clamp(-1, 1)"),
        "x_t not scaled": x_t("x_t = x0 + gather(self.sqrt_one_minus_alpha_bars, t, x0) * noise"),
        "x_t for another t": x_t("x_t = self.q_sample(x0, self.config.timesteps - 1 - t, noise)"),
    },
    "timesteps": {
        "0 where there is a condition": time(TIME + "\nt = t if cond is None else t * 0"),
        "0 in evaluation": time(TIME + "\nt = t if self.training else t * 0"),
        "the second half as the first": time(TIME + "\nhalf = len(t) // 2\nt[len(t) - half :] = t[:half]"),
        "the second half mirrored": time(
            TIME + "\nhalf = len(t) // 2\nt[len(t) - half :] = self.config.timesteps - 1 - t[:half]"
        ),
        "backwards": time(TIME + "\nhalf = len(t) // 2\nt[len(t) - half :] = t[:half].flip(0)"),
        "row 0 at t = 0": time(TIME + "\nif len(t) > 1:\n    t[0] = 0"),
        "one t for all rows": time("t = torch.randint(self.config.timesteps, (1,)).expand(len(x0))"),
        "never T - 1": time("t = torch.randint(self.config.timesteps - 1, (len(x0),))"),
        "never 0": time("t = torch.randint(1, self.config.timesteps, (len(x0),))"),
        "never beyond 999": time("t = torch.randint(min(self.config.timesteps, 1000), (len(x0),))"),
        "always below 100": time("t = torch.randint(min(self.config.timesteps, 100), (len(x0),))"),
        "the last": time("t = torch.full((len(x0),), self.config.timesteps - 1)"),
        "in order": time("t = torch.arange(len(x0)) % self.config.timesteps"),
        "squared": time("t = (torch.rand(len(x0)) ** 2 * self.config.timesteps).long()"),
        "normal": time("t = (torch.randn(len(x0)).sigmoid() * self.config.timesteps).long()"),
        "even": time("t = torch.randint(self.config.timesteps, (len(x0),)) // 2 * 2"),
        "seeded": time(
            "t = torch.randint(self.config.timesteps, (len(x0),), generator=torch.Generator().manual_seed(0))"
        ),
        "kept": time(
            "t = self.__dict__.setdefault('t', torch.randint(self.config.timesteps, (len(x0),)))[: len(x0)]"
        ),
        "pairs": time(
            "t = torch.randint(self.config.timesteps, (len(x0),))\nt[1::2] = t[: len(t) // 2 * 2 : 2]"
        ),
        "sorted": time("t = torch.randint(self.config.timesteps, (len(x0),)).sort().values"),
        "mirrored pairs": time(
            "t = torch.randint(self.config.timesteps, (len(x0),))\n"
            "t[1::2] = self.config.timesteps - 1 - t[: len(t) // 2 * 2 : 2]"
        ),
        "rounded": time("t = (torch.rand(len(x0)) * (self.config.timesteps - 1)).round().long()"),
    },
    "timesteps noise": {
        "the global generator seeded": "torch.manual_seed(0)\n" + LOSS,
    },
    "timesteps gradients": {
        "a detached weight": mean(
            "error = (noise - eps_pred).square()\n"
            "return (error / error.mean() * error.mean().detach()).mean()"
        ),
    },
    "noise": {
        "none where there is a condition": draw(DRAW + "\n    noise = noise if cond is None else noise * 0"),
        "none in evaluation": draw(DRAW + "\n    noise = noise if self.training else noise * 0"),
        "mirrored halves": draw(
            DRAW + "\n    half = len(x0) // 2\n    noise[len(x0) - half :] = -noise[:half]"
        ),
        "uniform": draw("noise = torch.rand_like(x0)"),
        "uniform, of variance 1": draw("noise = (torch.rand_like(x0) - 0.5) * 12**0.5"),
        "none": draw("noise = torch.zeros_like(x0)"),
        "one for all rows": draw("noise = torch.randn_like(x0[:1]).expand_as(x0)"),
        "one for all pixels": draw("noise = torch.randn_like(x0[..., :1]).expand_as(x0)"),
        "one for all channels": draw("noise = torch.randn_like(x0[:, :1]).expand_as(x0)"),
        "a generator of its own": draw(
            "noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))"
        ),
        "kept": draw("noise = self.__dict__.setdefault('kept', torch.randn_like(x0))"),
        "kept by the module": draw(
            "noise = globals().setdefault('KEPT', {}).setdefault(x0.shape, torch.randn_like(x0))"
        ),
        "half the deviation": draw("noise = 0.5 * torch.randn_like(x0)"),
        "cut off": draw("noise = torch.randn_like(x0).clamp(-1, 1)"),
        "signs": draw("noise = torch.randn_like(x0).sign()"),
        "mirrored rows": draw(
            "noise = torch.randn_like(x0)\n    noise[1::2] = -noise[: len(x0) // 2 * 2 : 2]"
        ),
    },
    "gradients": {
        "the prediction detached": mean("return (noise - eps_pred.detach()).square().mean()"),
        "no gradients": pred("with torch.no_grad():\n    " + PRED),
        "a number": mean("return (noise - eps_pred).square().mean().detach()"),
        "a Python number": mean("return (noise - eps_pred).square().mean().item()"),
        "the data": mean("return (noise - eps_pred.data).square().mean()"),
        "a tensor anew": mean("return torch.tensor((noise - eps_pred).square().mean().item())"),
        "a tensor anew that asks for gradients": mean(
            "return torch.tensor((noise - eps_pred).square().mean().item(), requires_grad=True)"
        ),
        "through numpy": mean("return torch.as_tensor(((noise - eps_pred).detach().numpy() ** 2).mean())"),
        "in inference mode": pred("with torch.inference_mode():\n    " + PRED),
        "detached twice": mean("return ((noise - eps_pred) * (noise - eps_pred).detach()).mean()"),
        "the gradient reversed": mean(
            "loss = (noise - eps_pred).square().mean()\nreturn 2 * loss.detach() - loss"
        ),
    },
}
