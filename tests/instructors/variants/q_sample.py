"""Variants of the forward process."""

from functools import partial

from tests.instructors.variants import edit

SAMPLE = """
if noise is None:
    noise = torch.randn_like(x0)
shape = (len(t), *[1] * (x0.dim() - 1))
signal = self.alpha_bars[t].sqrt().view(shape)
spread = (1 - self.alpha_bars[t]).sqrt().view(shape)
return signal * x0 + spread * noise
"""
DRAW = "noise = torch.randn_like(x0)"
SHAPE = "shape = (len(t), *[1] * (x0.dim() - 1))"
SIGNAL = "self.alpha_bars[t].sqrt()"
SPREAD = "(1 - self.alpha_bars[t]).sqrt()"
SUM = "return signal * x0 + spread * noise"

draw = partial(edit, SAMPLE, DRAW)
shape = partial(edit, SAMPLE, SHAPE)
signal = partial(edit, SAMPLE, SIGNAL)
spread = partial(edit, SAMPLE, SPREAD)
summed = partial(edit, SAMPLE, SUM)

RIGHT = {
    "step by step": SAMPLE,
    "tables of roots": signal("self.sqrt_alpha_bars[t]", SPREAD, "self.sqrt_one_minus_alpha_bars[t]"),
    "in float64": """
        noise = torch.randn_like(x0) if noise is None else noise
        bar = torch.tensor(self._alpha_bars, dtype=torch.float64)[t].reshape(-1, *[1] * (x0.dim() - 1))
        return (bar.sqrt() * x0 + (1 - bar).sqrt() * noise).to(x0.dtype)
        """,
    "row by row": """
        noise = torch.randn_like(x0) if noise is None else noise
        bars = [self._alpha_bars[i] for i in t.tolist()]
        return torch.stack([a**0.5 * x + (1 - a) ** 0.5 * e for a, x, e in zip(bars, x0, noise)])
        """,
    "torch.randn": draw("noise = torch.randn(x0.shape, dtype=x0.dtype, device=x0.device)"),
    "normal": draw("noise = torch.normal(0.0, 1.0, tuple(x0.shape))"),
    "trailing axes moved": summed(
        "return (signal.flatten() * x0.movedim(0, -1) + "
        "spread.flatten() * noise.movedim(0, -1)).movedim(-1, 0)"
    ),
    "addcmul": summed("return torch.addcmul(signal * x0, spread, noise)"),
}

WRONG = {
    "equation": {
        "up to t = 999": "t = t.clamp(max=999)\n" + SAMPLE,
        "no root at the signal": signal("self.alpha_bars[t]"),
        "no root at the noise": spread("(1 - self.alpha_bars[t])"),
        "signal for the noise": summed("return spread * x0 + signal * noise"),
        "alpha for alpha_bar": signal("self.alphas[t].sqrt()", SPREAD, "(1 - self.alphas[t]).sqrt()"),
        "beta": spread("self.betas[t].sqrt()"),
        "no signal": summed("return x0 + spread * noise"),
        "no spread": summed("return signal * x0 + noise"),
        "a step late": signal("self.alpha_bars[t - 1].sqrt()"),
        "weights that add up to 1": spread("(1 - self.alpha_bars[t].sqrt())"),
        "1-based": signal("self.alpha_bars[(t + 1).clamp(max=self.config.timesteps - 1)].sqrt()"),
        "the tables backwards": signal("self.alpha_bars.flip(0)[t].sqrt()"),
        "the default schedule": signal("DiffusionConfig().betas().neg().add(1).cumprod(0).float()[t].sqrt()"),
        "up to t = 15": "t = t.clamp(max=15)\n" + SAMPLE,
        "up to t = 500": "t = t.clamp(max=500)\n" + SAMPLE,
        "tables kept by T": signal(
            "globals().setdefault('BARS', {}).setdefault(self.config.timesteps, self.alpha_bars)[t].sqrt()"
        ),
    },
    "equation noise": {
        "a difference": summed("return signal * x0 - spread * noise"),
        "noise clamped": summed("return signal * x0 + spread * noise.clamp(-1, 1)"),
        "result clamped": summed("return (signal * x0 + spread * noise).clamp(-1, 1)"),
    },
    "equation arguments": {
        "never the last": "t.clamp_(max=max(self.config.timesteps - 2, 0))\n" + SAMPLE,
    },
    "equation noise any_shape arguments": {
        "a table of 1000": "assert self.config.timesteps == 1000\n" + SAMPLE,
        "16 pixels at least": "assert x0.shape[-1] in (1, 32)\n" + SAMPLE,
        "the rest of the dimensions flattened": summed("return (signal * x0 + spread * noise).flatten(2)"),
        "no return": summed("signal * x0 + spread * noise"),
        "two results": summed("return signal * x0 + spread * noise, noise"),
        "the given noise ignored": edit(SAMPLE, "if noise is None:", "if True:"),
        "the noise forgotten": summed("return signal * x0 + 0 * noise"),
    },
    "equation any_shape": {
        "t of the first row": signal("self.alpha_bars[t[:1]].expand(len(t)).sqrt()"),
        "by the mean of t": signal("self.alpha_bars[t.float().mean().long()].expand(len(t)).sqrt()"),
        "one channel": summed("return signal * x0[:, :1] + spread * noise"),
        "one row": shape("t = t[:1]\nshape = (1, *[1] * (x0.dim() - 1))"),
    },
    "noise": {
        "uniform": draw("noise = torch.rand_like(x0)"),
        "uniform, of variance 1": draw("noise = (torch.rand_like(x0) - 0.5) * 12**0.5"),
        "none": draw("noise = torch.zeros_like(x0)"),
        "one for all rows": draw("noise = torch.randn_like(x0[:1]).expand_as(x0)"),
        "one for all pixels": draw("noise = torch.randn_like(x0[..., :1]).expand_as(x0)"),
        "one for all channels": draw("noise = torch.randn_like(x0[:, :1]).expand_as(x0)"),
        "seeded": draw("torch.manual_seed(0)\n    noise = torch.randn_like(x0)"),
        "a generator of its own": draw(
            "noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(42))"
        ),
        "kept": draw(
            "noise = self.__dict__.setdefault('kept', {}).setdefault(x0.shape, torch.randn_like(x0))"
        ),
        "kept by the class": draw(
            "noise = globals().setdefault('KEPT', {}).setdefault(x0.shape, torch.randn_like(x0))"
        ),
        "half the deviation": draw("noise = 0.5 * torch.randn_like(x0)"),
        "cut off": draw("noise = torch.randn_like(x0).clamp(-1, 1)"),
        "signs": draw("noise = torch.randn_like(x0).sign()"),
        "positive": draw("noise = torch.randn_like(x0).abs()"),
        "by the scale of x0": draw("noise = torch.randn_like(x0) * x0.std()"),
        "mirrored rows": draw(
            "noise = torch.randn_like(x0)\n    noise[1::2] = -noise[: len(x0) // 2 * 2 : 2]"
        ),
        "always its own": edit(SAMPLE, "if noise is None:", "if noise is None or not noise.any():"),
        "mirrored halves": draw(
            DRAW + "\n    half = len(x0) // 2\n    noise[len(x0) - half :] = -noise[:half]"
        ),
        "seeded by t": draw("torch.manual_seed(int(t[0]))\n    noise = torch.randn_like(x0)"),
    },
    "noise arguments": {
        "written to x0": summed("x0.data.copy_(signal * x0 + spread * noise)\nreturn x0.clone()"),
    },
    "any_shape": {
        "four dimensions": shape("shape = (-1, 1, 1, 1)"),
        "two or four dimensions": "assert x0.dim() in (2, 4)\n" + SAMPLE,
        "square images": summed("return signal * x0 + spread * noise.view(*x0.shape[:-2], x0.shape[-1], -1)"),
    },
    "arguments": {
        "t changed": summed(SUM.replace("return", "result =") + "\nt.zero_()\nreturn result"),
        "x0 changed": summed("x0.data.mul_(signal)\nreturn x0 + spread * noise"),
        "noise changed": summed("noise.data.mul_(spread)\nreturn signal * x0 + noise"),
        "x0 detached": summed("return signal * x0.detach() + spread * noise"),
        "noise detached": summed("return signal * x0 + spread * noise.detach()"),
        "no gradients": summed("with torch.no_grad():\n    return signal * x0 + spread * noise"),
        "the data": summed("return signal * x0.data + spread * noise.data"),
        "a new tensor": summed("return torch.tensor((signal * x0 + spread * noise).tolist())"),
        "detached": summed("return (signal * x0 + spread * noise).detach()"),
        "through numpy": summed("return torch.from_numpy((signal * x0 + spread * noise).detach().numpy())"),
    },
}
