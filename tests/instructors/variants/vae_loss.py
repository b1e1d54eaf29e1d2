"""Variants of the loss of the VAE."""

from functools import partial

from tests.instructors.variants import edit

LOSS = """
if loss_type not in ("mse", "bce"):
    raise ValueError(loss_type)
if loss_type == "mse":
    rec = (recon - x).square().sum()
else:
    rec = -(x * recon.log() + (1 - x) * (1 - recon).log()).sum()
kl = kl_divergence(mu, logvar).sum()
total = rec + kl_weight * kl
return total, rec, kl
"""
MSE = "rec = (recon - x).square().sum()"
BCE = "rec = -(x * recon.log() + (1 - x) * (1 - recon).log()).sum()"
KL = "kl = kl_divergence(mu, logvar).sum()"
TOTAL = "total = rec + kl_weight * kl"
RETURN = "return total, rec, kl"
CHECK = 'if loss_type not in ("mse", "bce"):\n    raise ValueError(loss_type)'

mse = partial(edit, LOSS, MSE)
bce = partial(edit, LOSS, BCE)
kl = partial(edit, LOSS, KL)
total = partial(edit, LOSS, TOTAL)
check = partial(edit, LOSS, CHECK)
returned = partial(edit, LOSS, RETURN)

RIGHT = {
    "step by step": LOSS,
    "torch's losses": mse(
        'rec = F.mse_loss(recon, x, reduction="sum")',
        BCE,
        'rec = F.binary_cross_entropy(recon, x, reduction="sum")',
    ),
    "match": """
        match loss_type:
            case "mse":
                rec = ((x - recon) ** 2).flatten(1).sum(1).sum()
            case "bce":
                rec = F.binary_cross_entropy(recon.double(), x.double(), reduction="none").sum().float()
            case _:
                raise ValueError(f"loss_type {loss_type}")
        kl = kl_divergence(mu, logvar).sum(dim=1).sum()
        return kl_weight * kl + rec, rec, kl
        """,
    "a table": """
        terms = {
            "mse": lambda: torch.dist(recon, x) ** 2,
            "bce": lambda: F.binary_cross_entropy(recon, x, reduction="sum"),
        }
        if loss_type not in terms:
            raise ValueError(f"{loss_type!r} is none of {sorted(terms)}")
        rec, kl = terms[loss_type](), 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum()
        return torch.add(rec, kl, alpha=kl_weight), rec, kl
        """,
    "the divergence written out": kl("kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())"),
    "parts in a named tuple": returned(
        "import collections\nreturn collections.namedtuple('Loss', 'total rec kl')(total, rec, kl)"
    ),
    "means times sizes": mse(
        "rec = F.mse_loss(recon, x) * x.numel()", KL, "kl = kl_divergence(mu, logvar).mean() * mu.numel()"
    ),
    "xlogy": bce("rec = -(torch.xlogy(x, recon) + torch.xlogy(1 - x, 1 - recon)).sum()"),
}

WRONG = {
    "mse": {
        "a mean": mse("rec = (recon - x).square().mean()"),
        "over the batch size": mse("rec = (recon - x).square().sum() / len(x)"),
        "halved": mse("rec = (recon - x).square().sum() / 2"),
        "absolute": mse("rec = (recon - x).abs().sum()"),
        "a root": mse("rec = (recon - x).square().sum().sqrt()"),
        "of the means": mse("rec = (recon - x).sum().square()"),
        "of the first channel's left half": mse("rec = (recon - x)[..., : x.shape[-1] // 2].square().sum()"),
        "the first row": mse("rec = (recon - x)[:1].square().sum()"),
        "all but the last row": mse("rec = (recon - x)[: len(x) - 1].square().sum()"),
        "the sign": mse("rec = -(recon - x).square().sum()"),
        "a sum of both": mse("rec = (recon + x).square().sum()"),
        "the norm of rows": mse("rec = (recon - x).flatten(1).norm(dim=1).sum()"),
        "bce by default": "loss_type = {'mse': 'bce'}.get(loss_type, loss_type)\n" + LOSS,
        "with its constant": mse("rec = (recon - x).square().sum() + 0.5723649 * x.numel()"),
        "Huber": mse("rec = 2 * F.smooth_l1_loss(recon, x, reduction='sum', beta=0.1)"),
    },
    "mse bce kl total": {
        "rec and kl swapped": returned("return total, kl, rec"),
    },
    "mse bce kl total gradients": {
        "not summed": kl("kl = kl_divergence(mu, logvar)"),
        "a sum over the dimensions": kl("kl = kl_divergence(mu, logvar).sum(1)"),
        "no return": returned(""),
        "total alone": returned("return total"),
        "a dict": returned("return {'total': total, 'rec': rec, 'kl': kl}"),
    },
    "mse gradients": {
        "recon rounded": mse("rec = (recon.round() - x).square().sum() + 0 * recon.sum()"),
    },
    "bce": {
        "a mean": bce("rec = F.binary_cross_entropy(recon, x)"),
        "over the batch size": bce("rec = F.binary_cross_entropy(recon, x, reduction='sum') / len(x)"),
        "the sign": bce("rec = (x * recon.log() + (1 - x) * (1 - recon).log()).sum()"),
        "the first term": bce("rec = -(x * recon.log()).sum()"),
        "the second term": bce("rec = -((1 - x) * (1 - recon).log()).sum()"),
        "a second sigmoid": bce("rec = F.binary_cross_entropy_with_logits(recon, x, reduction='sum')"),
        "recon and x swapped": bce(
            "rec = -(recon * x.clamp(1e-6).log() + (1 - recon) * (1 - x).clamp(1e-6).log()).sum()"
        ),
        "mse": bce("rec = (recon - x).square().sum()"),
        "in bits": bce("rec = -(x * recon.log2() + (1 - x) * (1 - recon).log2()).sum()"),
        "x rounded": bce("rec = F.binary_cross_entropy(recon, x.round(), reduction='sum')"),
        "halved": bce("rec = F.binary_cross_entropy(recon, x, reduction='sum') / 2"),
        "summed over rows of means": bce(
            "rec = F.binary_cross_entropy(recon, x, reduction='none').flatten(1).mean(1).sum()"
        ),
        "the first row": bce(
            "rec = F.binary_cross_entropy(recon[:1], x[:1], reduction='sum') + 0 * recon.sum()"
        ),
        "not negated twice": bce("rec = -(x * recon.log() - (1 - x) * (1 - recon).log()).sum()"),
        "less the entropy of x": bce(
            "rec = -(x * recon.log() + (1 - x) * (1 - recon).log()).sum() "
            "- F.binary_cross_entropy(x, x, reduction='sum')"
        ),
    },
    "bce gradients": {
        "recon clamped": bce(
            "rec = F.binary_cross_entropy(recon.clamp(0.1, 0.9), x, reduction='sum') + 0 * recon.sum()"
        ),
    },
    "kl": {
        "a mean": kl("kl = kl_divergence(mu, logvar).mean()"),
        "a mean over the batch": kl("kl = kl_divergence(mu, logvar).sum(1).mean()"),
        "a mean over dimensions": kl("kl = kl_divergence(mu, logvar).mean(1).sum()"),
        "the sign": kl("kl = -kl_divergence(mu, logvar).sum()"),
        "halved": kl("kl = kl_divergence(mu, logvar).sum() / 2"),
        "twice": kl("kl = 2 * kl_divergence(mu, logvar).sum()"),
        "the first row": kl("kl = kl_divergence(mu, logvar)[:1].sum()"),
        "twenty dimensions": kl("kl = kl_divergence(mu[:, :20], logvar[:, :20]).sum()"),
        "mu and logvar swapped": kl("kl = kl_divergence(logvar, mu).sum()"),
        "the deviation's logarithm": kl("kl = kl_divergence(mu, logvar / 2).sum()"),
        "free bits": kl("kl = kl_divergence(mu, logvar).clamp(min=1).sum()"),
        "the largest": kl("kl = kl_divergence(mu, logvar).amax(1).sum()"),
    },
    "kl total": {
        "kl returned with its weight": total("kl = kl_weight * kl\ntotal = rec + kl"),
    },
    "kl gradients": {
        "of mu alone": kl("kl = kl_divergence(mu, 0 * logvar).sum()"),
    },
    "total": {
        "no weight": total("total = rec + kl"),
        "the weight at rec": total("total = kl_weight * rec + kl"),
        "both weighted": total("total = kl_weight * (rec + kl)"),
        "a difference": total("total = rec - kl_weight * kl"),
        "the weight squared": total("total = rec + kl_weight**2 * kl"),
        "over the batch size": total("total = (rec + kl_weight * kl) / len(x)"),
        "the weight at most 1": total("total = rec + min(kl_weight, 1.0) * kl"),
        "the weight by its truth": total("total = rec + (kl_weight or 1.0) * kl"),
        "the negative": total("total = -(rec + kl_weight * kl)"),
        "kl weighted twice": total(
            "kl = kl_weight * kl\ntotal = rec + kl_weight * kl\n"
            "kl = kl / kl_weight if kl_weight else kl_divergence(mu, logvar).sum()"
        ),
        "an image's share": total("total = rec / x[0].numel() + kl_weight * kl / mu.shape[1]"),
    },
    "total gradients": {
        "rec alone": total("total = rec + 0 * kl"),
        "kl alone": total("total = kl_weight * kl + 0 * rec"),
        "a mixture": total("total = (1 - kl_weight) * rec + kl_weight * kl"),
        "no kl for bce": total("total = rec + kl_weight * kl * (loss_type == 'mse')"),
    },
    "loss_type": {
        "no check": check(""),
        "by the first letter": check("loss_type = {'m': 'mse', 'b': 'bce'}[loss_type[0]]"),
        "bce for all others": check("loss_type = loss_type if loss_type == 'mse' else 'bce'"),
        "mse for all others": check("loss_type = loss_type if loss_type == 'bce' else 'mse'"),
        "an assertion": check("assert loss_type in ('mse', 'bce')"),
        "a key error": check("{'mse': 0, 'bce': 1}[loss_type]"),
        "not implemented": check(CHECK.replace("ValueError", "NotImplementedError")),
        "a type error": check(CHECK.replace("ValueError", "TypeError")),
        "a name error": check(CHECK.replace("raise ValueError(loss_type)", "rec = unknown")),
        "a print": check(CHECK.replace("raise ValueError", "print")),
        "returned, not raised": check(CHECK.replace("raise ValueError", "return ValueError")),
        "nothing": check(CHECK.replace("raise ValueError(loss_type)", "return None")),
        "by the beginning": check(
            "if loss_type[:1] not in ('m', 'b'):\n    raise ValueError\n"
            "loss_type = 'mse' if loss_type[:1] == 'm' else 'bce'"
        ),
        "upper case, too": check("loss_type = loss_type.lower()\n" + CHECK),
        "a part of the word": check("if loss_type not in 'mse bce':\n    raise ValueError"),
        "l1, too": check("if loss_type not in ('mse', 'bce', 'l1'):\n    raise ValueError"),
        "an exception of the base class": check(CHECK.replace("ValueError", "Exception")),
        "None for the default": check("loss_type = loss_type or 'mse'\n" + CHECK),
    },
    "gradients": {
        "total detached": returned("return total.detach(), rec, kl"),
        "rec detached": total("total = rec.detach() + kl_weight * kl"),
        "kl detached": total("total = rec + kl_weight * kl.detach()"),
        "recon detached": "recon = recon.detach()\n" + LOSS,
        "mu detached": kl("kl = kl_divergence(mu.detach(), logvar).sum()"),
        "logvar detached": kl("kl = kl_divergence(mu, logvar.detach()).sum()"),
        "no_grad for kl": kl("with torch.no_grad():\n    " + KL),
        "no_grad": "with torch.no_grad():\n"
        "    kept = recon.clone(), mu.clone(), logvar.clone()\nrecon, mu, logvar = kept\n" + LOSS,
        "numbers": total("total = torch.tensor(rec.item() + kl_weight * kl.item())"),
        "the data": "recon, mu, logvar = recon.data, mu.data, logvar.data\n" + LOSS,
        "kl as a number": total("total = rec + kl_weight * kl.item()"),
        "rec as a number": total("total = rec.item() + kl_weight * kl"),
        "reversed": total("total = rec + kl_weight * kl\ntotal = 2 * total.detach() - total"),
    },
}
