"""Variants of the reparameterization trick."""

from functools import partial

from tests.instructors.variants import edit

TRICK = """
std = (logvar / 2).exp()
eps = torch.randn_like(mu)
z = mu + std * eps
return z
"""
STD = "std = (logvar / 2).exp()"
EPS = "eps = torch.randn_like(mu)"
SUM = "z = mu + std * eps"

std = partial(edit, TRICK, STD)
eps = partial(edit, TRICK, EPS)
summed = partial(edit, TRICK, SUM)

RIGHT = {
    "step by step": TRICK,
    "rsample": "return torch.distributions.Normal(mu, logvar.mul(0.5).exp()).rsample()",
    "the root of the variance": std("std = logvar.exp().sqrt()"),
    "eps in float64": eps("eps = torch.randn(mu.shape, dtype=torch.float64).to(mu)"),
    "normal_": eps("eps = torch.empty_like(logvar).normal_()"),
    "addcmul": summed("z = torch.addcmul(mu, std, eps)"),
    "a power of e": std("std = torch.pow(torch.e, 0.5 * logvar)"),
    "a generator seeded anew by the global one": eps(
        "generator = torch.Generator().manual_seed(int(torch.randint(2**31, ())))\n"
        "eps = torch.randn(mu.shape, generator=generator)"
    ),
    "minus the noise": summed("z = mu - std * eps"),
}

WRONG = {
    "distribution": {
        "the variance for the deviation": std("std = logvar.exp()"),
        "doubled, not halved": std("std = (2 * logvar).exp()"),
        "the sign of logvar": std("std = (-logvar / 2).exp()"),
        "one deviation for all": std("std = (logvar.mean() / 2).exp() + 0 * logvar"),
        "one deviation for a row": std("std = (logvar.mean(1, keepdim=True) / 2).exp() + 0 * logvar"),
        "at most 1": std("std = (logvar / 2).exp().clamp(max=1)"),
        "at least 0.1": std("std = (logvar / 2).exp() + 0.1"),
        "minus mu": summed("z = std * eps - mu"),
        "mu twice": summed("z = 2 * mu + std * eps"),
        "half of the noise": summed("z = mu + 0.5 * std * eps"),
        "mu scaled, too": summed("z = (mu + eps) * std"),
        "softplus": std("std = torch.nn.functional.softplus(logvar)"),
        "mu and logvar swapped": "mu, logvar = logvar, mu\n" + TRICK,
        "clamped logvar": "logvar = logvar.clamp(-1, 1) + 0 * logvar\n" + TRICK,
    },
    "distribution noise": {
        "tanh": summed("z = (mu + std * eps).tanh()"),
        "one for all rows": eps("eps = torch.randn_like(mu[:1])"),
        "without its mean": eps("eps = torch.randn_like(mu)\neps = eps - eps.mean(1, keepdim=True)"),
        "uniform": eps("eps = torch.rand_like(mu)"),
        "absolute": eps("eps = torch.randn_like(mu).abs()"),
    },
    "distribution noise gradients modes": {
        "no noise": summed("z = mu + 0 * std"),
        "mu in training": "if self.training:\n    return mu\n" + TRICK,
        "mu with its gradient off": "if not torch.is_grad_enabled():\n    return mu\n" + TRICK,
        "no return": edit(TRICK, "return z", ""),
        "three results": edit(TRICK, "return z", "return z, mu, logvar"),
        "the sum": edit(TRICK, "return z", "return z.sum(1)"),
    },
    "distribution noise modes": {
        "logvar for the deviation": std("std = logvar.abs()"),
    },
    "distribution gradients": {
        "without mu": summed("z = std * eps + 0 * mu"),
        "the noise of variance 1": summed("z = mu + eps + 0 * std"),
    },
    "noise": {
        "for twenty dimensions": summed("z = mu + std * eps * (torch.arange(mu.shape[1]) < 20)"),
        "uniform, of variance 1": eps("eps = (torch.rand_like(mu) - 0.5) * 12**0.5"),
        "signs": eps("eps = torch.randn_like(mu).sign()"),
        "none in the first row": eps("eps = torch.randn_like(mu)\neps[0] *= len(mu) < 5"),
        "one for all dimensions": eps("eps = torch.randn_like(mu[:, :1])"),
        "seeded": eps("torch.manual_seed(0)\neps = torch.randn_like(mu)"),
        "a generator of its own": eps(
            "eps = torch.randn(mu.shape, generator=torch.Generator().manual_seed(42))"
        ),
        "kept": eps("eps = self.__dict__.setdefault('eps', {}).setdefault(mu.shape, torch.randn_like(mu))"),
        "kept by the class": eps(
            "eps = globals().setdefault('KEPT', {}).setdefault(mu.shape, torch.randn_like(mu))"
        ),
        "cut off": eps("eps = torch.randn_like(mu).clamp(-1.5, 1.5) / 0.88"),
        "mirrored rows": eps(EPS + "\neps[1::2] = -eps[: len(eps) // 2 * 2 : 2]"),
        "mirrored dimensions": eps(EPS + "\neps[:, 1::2] = -eps[:, : eps.shape[1] // 2 * 2 : 2]"),
        "sorted": eps("eps = torch.randn_like(mu).sort(dim=1).values"),
        "exponential": eps("eps = torch.empty_like(mu).exponential_() - 1"),
    },
    "gradients": {
        "sample": "return torch.distributions.Normal(mu, (logvar / 2).exp()).sample()",
        "the deviation detached": summed("z = mu + std.detach() * eps"),
        "mu detached": summed("z = mu.detach() + std * eps"),
        "both detached": summed("z = (mu + std * eps).detach()"),
        "no_grad": "with torch.no_grad():\n    return mu + (logvar / 2).exp() * torch.randn_like(mu)",
        "the data of logvar": std("std = (logvar.data / 2).exp()"),
        "torch.normal": "return torch.normal(mu.detach(), (logvar / 2).exp().detach())",
        "through numpy": std("std = torch.from_numpy((logvar.detach() / 2).exp().numpy())"),
        "a new tensor": std("std = torch.tensor((logvar / 2).exp().tolist())"),
        "mu straight through": summed("z = mu + (std * eps).detach()"),
        "the size without a gradient": summed("z = mu * 2 - mu.detach() + std * eps"),
        "half of the deviation detached": summed("z = mu + (std + std.detach()) / 2 * eps"),
        "the gradient of one row": summed(
            "z = torch.cat([(mu + std * eps)[:1], (mu + std * eps)[1:].detach()])"
        ),
    },
    "modes": {
        "mu in evaluation": "if not self.training:\n    return mu\n" + TRICK,
        "no noise in evaluation": summed("z = mu + std * eps * self.training"),
        "the noise seeded in evaluation": eps(
            "eps = torch.randn(mu.shape, generator=None if "
            "self.training else torch.Generator().manual_seed(0))"
        ),
        "half of the noise in evaluation": summed("z = mu + std * eps * (1 if self.training else 0.5)"),
        "0 in evaluation": "if not self.training:\n    return torch.zeros_like(mu)\n" + TRICK,
        "an error in evaluation": "assert self.training\n" + TRICK,
        "nothing in evaluation": "if not self.training:\n    return None\n" + TRICK,
        "one noise in evaluation": eps("eps = torch.randn_like(mu if self.training else mu[:1])"),
        "the variance in evaluation": std("std = (logvar / 2).exp() if self.training else logvar.exp()"),
        "without mu in evaluation": summed("z = mu * self.training + std * eps"),
        "training switched on": "self.train()\n" + TRICK,
        "evaluation switched on": "self.eval()\n" + TRICK,
    },
}
