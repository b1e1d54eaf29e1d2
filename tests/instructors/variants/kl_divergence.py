"""Variants of the KL divergence."""

RIGHT = {
    "one line": "return 0.5 * (mu**2 + torch.exp(logvar) - logvar - 1)",
    "expm1": "return (mu * mu + torch.expm1(logvar) - logvar) / 2",
    "torch's own": """
        q = torch.distributions.Normal(mu, (logvar / 2).exp())
        return torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0))
        """,
    "by sigma": "sigma = logvar.mul(0.5).exp()\nreturn -sigma.log() + (sigma**2 + mu**2) / 2 - 0.5",
    "in float64": "m, v = mu.double(), logvar.double()\nreturn ((m.square() + v.exp() - v - 1) / 2).float()",
    "cross-entropy less entropy": """
        entropy = 0.5 * (logvar + 1)
        return 0.5 * (mu**2 + logvar.exp()) - entropy
        """,
}

WRONG = {
    "value": {
        "the sign": "return 0.5 * (1 + logvar - mu**2 - logvar.exp())",
        "not halved": "return mu**2 + logvar.exp() - logvar - 1",
        "mu for its square": "return 0.5 * (mu + logvar.exp() - logvar - 1)",
        "the size of mu": "return 0.5 * (mu.abs() + logvar.exp() - logvar - 1)",
        "no exp": "return 0.5 * (mu**2 + logvar**2 - logvar - 1)",
        "logvar for the deviation's": "return 0.5 * (mu**2 + (2 * logvar).exp() - 2 * logvar - 1)",
        "the deviation for the variance": "return 0.5 * (mu**2 + (logvar / 2).exp() - logvar - 1)",
        "without 1": "return 0.5 * (mu**2 + logvar.exp() - logvar)",
        "plus 1": "return 0.5 * (mu**2 + logvar.exp() - logvar + 1)",
        "plus logvar": "return 0.5 * (mu**2 + logvar.exp() + logvar - 1)",
        "the other direction": "return 0.5 * ((1 + mu**2) * (-logvar).exp() + logvar - 1)",
        "free bits": "return (0.5 * (mu**2 + logvar.exp() - logvar - 1)).clamp(min=0.5)",
        "at most 10": "return (0.5 * (mu**2 + logvar.exp() - logvar - 1)).clamp(max=10)",
        "logvar clamped": "logvar = logvar.clamp(-2, 2)\nreturn 0.5 * (mu**2 + logvar.exp() - logvar - 1)",
        "in bits": "return 0.5 * (mu**2 + logvar.exp() - logvar - 1) / 0.6931",
        "halved for twenty dimensions": "return (mu**2 + logvar.exp() - logvar "
        "- 1) / (2 if mu.shape[1] <= 20 else 3)",
        "over the number of rows": "return 0.5 * (mu**2 + logvar.exp() - logvar - 1) / len(mu)",
        "the mean over dimensions in each": "kl = 0.5 * (mu**2 + logvar.exp() - logvar - 1)\n"
        "return kl.mean(1, keepdim=True).expand_as(kl)",
        "of the first row": "kl = 0.5 * (mu**2 + logvar.exp() - logvar - 1)\n"
        "return kl[:1].expand_as(kl) + 0 * kl",
    },
    "value gradients": {
        "mu alone": "return 0.5 * mu**2 + 0 * logvar",
        "variance alone": "return 0.5 * (logvar.exp() - logvar - 1) + 0 * mu",
        "summed over dimensions": "return 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum(1)",
        "summed over the batch": "return 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum(0)",
        "summed": "return 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum()",
        "the mean": "return 0.5 * (mu**2 + logvar.exp() - logvar - 1).mean()",
        "no return": "kl = 0.5 * (mu**2 + logvar.exp() - logvar - 1)",
        "a Python number": "return (0.5 * (mu**2 + logvar.exp() - logvar - 1)).sum().item()",
    },
    "gradients": {
        "detached": "return (0.5 * (mu**2 + logvar.exp() - logvar - 1)).detach()",
        "mu detached": "return 0.5 * (mu.detach() ** 2 + logvar.exp() - logvar - 1)",
        "logvar detached": "logvar = logvar.detach()\nreturn 0.5 * (mu**2 + logvar.exp() - logvar - 1)",
        "the data": "return 0.5 * (mu.data**2 + logvar.data.exp() - logvar.data - 1)",
        "no_grad": "with torch.no_grad():\n    return 0.5 * (mu**2 + logvar.exp() - logvar - 1)",
        "the exponential detached": "return 0.5 * (mu**2 + logvar.exp().detach() - logvar - 1)",
        "the linear term detached": "return 0.5 * (mu**2 + logvar.exp() - logvar.detach() - 1)",
        "half of mu's": "return 0.5 * (mu * mu.detach() + logvar.exp() - logvar - 1)",
        "a new tensor": "return torch.tensor((0.5 * (mu**2 + logvar.exp() - logvar - 1)).tolist())",
        "through numpy": "return torch.from_numpy((0.5 * (mu**2 + "
        "logvar.exp() - logvar - 1)).detach().numpy())",
        "of the first row alone": "kl = 0.5 * (mu**2 + logvar.exp() - logvar - 1)\n"
        "return torch.cat([kl[:1], kl[1:].detach()])",
        "reversed": "kl = 0.5 * (mu**2 + logvar.exp() - logvar - 1)\nreturn 2 * kl.detach() - kl",
    },
}
