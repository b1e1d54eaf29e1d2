"""Variants of classifier-free guidance."""

from functools import partial

from tests.instructors.variants import edit

GUIDED = """
w = self.guidance_scale
null = torch.zeros_like(cond)
with_cond = self.model(x_t, t, cond)
without = self.model(x_t, t, null)
return without + w * (with_cond - without)
"""
NULL = "null = torch.zeros_like(cond)"
WITH = "with_cond = self.model(x_t, t, cond)"
WITHOUT = "without = self.model(x_t, t, null)"
RETURN = "return without + w * (with_cond - without)"

null = partial(edit, GUIDED, NULL)
with_cond = partial(edit, GUIDED, WITH)
without = partial(edit, GUIDED, WITHOUT)
returned = partial(edit, GUIDED, RETURN)

RIGHT = {
    "step by step": GUIDED,
    "one call": """
        eps = self.model(torch.cat([x_t] * 2), t.repeat(2), torch.cat([torch.zeros_like(cond), cond]))
        eps_uncond, eps_cond = eps[: len(x_t)], eps[len(x_t) :]
        return torch.lerp(eps_uncond, eps_cond, self.guidance_scale)
        """,
    "the paper's w": returned("w = w - 1\nreturn (1 + w) * with_cond - w * without"),
    "early returns": "if self.guidance_scale == 0:\n    return self.model(x_t, t, cond * 0)\n" + GUIDED,
    "a mixture": returned("return w * with_cond + (1 - w) * without"),
    "new zeros": null("null = cond.new_zeros(cond.shape)"),
    "row by row": """
        rows = []
        for x, step, c in zip(x_t.split(1), t.split(1), cond.split(1)):
            bare = self.model(x, step, torch.zeros(1, c.shape[1]))
            rows.append(bare + self.guidance_scale * (self.model(x, step, c) - bare))
        return torch.cat(rows) if rows else x_t
        """,
    "two batches interleaved": """
        both = torch.stack([cond, torch.zeros_like(cond)], dim=1).flatten(0, 1)
        eps = self.model(x_t.repeat_interleave(2, 0), t.repeat_interleave(2), both)
        return self.guidance_scale * eps[::2] - (self.guidance_scale - 1) * eps[1::2]
        """,
}

WRONG = {
    "combination": {
        "at most 10": returned("return without + min(w, 10.0) * (with_cond - without)"),
        "a square": returned("return without + w**2 * (with_cond - without)"),
        "at most 3": returned("return without + min(w, 3.0) * (with_cond - without)"),
        "rounded": returned("return without + round(w) * (with_cond - without)"),
        "twice beyond 1": returned("return without + (w if w <= 1 else 2 * w) * (with_cond - without)"),
        "rescaled, row by row": returned(
            "eps = without + w * (with_cond - without)\n"
            "deviation = eps.flatten(1).std(1).view(-1, *[1] * (eps.dim() - 1))\n"
            "return eps / deviation * with_cond.flatten(1).std(1).view(-1, "
            "*[1] * (eps.dim() - 1)) if w > 1 else eps"
        ),
        "clamped": returned(
            "eps = without + w * (with_cond - without)\nreturn eps.clamp(-1, 1) if w > 1 else eps"
        ),
        "plain between 0 and 1": returned(
            "return with_cond if 0 < w < 1 else without + w * (with_cond - without)"
        ),
        "a root": returned("return without + w**0.5 * (with_cond - without)"),
        "the mean of both": returned(
            "return without + w * (with_cond - without) if w in (0, 1) else (with_cond + without) / 2"
        ),
        "whole numbers": returned("return without + int(w) * (with_cond - without)"),
        "w less than 2 alone": returned("return without + (w if w < 2 else 2.0) * (with_cond - without)"),
        "the first channel": returned(
            "eps = without + w * (with_cond - without)\n"
            "return eps if w in (0, 1) else torch.cat([eps[:, :1], with_cond[:, 1:]], 1)"
        ),
    },
    "combination zeros scales": {
        "zeros for x_t": without("without = self.model(0 * x_t, t, cond)"),
        "0 is refused": "if self.guidance_scale <= 0:\n    raise ValueError(self.guidance_scale)\n" + GUIDED,
    },
    "combination zeros scales rows": {
        "the mean": null("null = cond.mean(0, keepdim=True).expand_as(cond)"),
        "less the mean condition": with_cond("with_cond = self.model(x_t, t, cond - cond.mean(0) / 2)"),
        "normalized over the batch": with_cond("with_cond = self.model(x_t, t, cond / cond.norm())"),
    },
    "combination zeros scales rows arguments": {
        "an even number": "assert len(x_t) % 2 == 0\n" + GUIDED,
    },
    "combination scales": {
        "none in evaluation": "if not self.training:\n    return self.model(x_t, t, cond)\n" + GUIDED,
        "the paper's w without the shift": returned(
            "return with_cond + w * (with_cond - without) * (w not in (0, 1))"
        ),
        "the paper's w": returned("return (1 + w) * with_cond - w * without"),
        "from the conditional one": returned("return with_cond + w * (with_cond - without)"),
        "the sign": returned("return without - w * (with_cond - without)"),
        "a sum": returned("return without + w * with_cond"),
        "without the difference": returned("return w * with_cond"),
        "always 2": returned("return without + 2.0 * (with_cond - without)"),
        "w halved": returned("return without + w / 2 * (with_cond - without)"),
        "at most 1 plain": returned("return with_cond if w <= 0 else without + w * (with_cond - without)"),
    },
    "combination scales rows": {
        "two rows at least": "assert len(x_t) > 1\n" + GUIDED,
        "squeezed": returned("return (without + w * (with_cond - without)).squeeze(0)"),
    },
    "combination scales rows arguments": {
        "no return": returned(""),
        "both": returned("return with_cond, without"),
        "the mean of the result": returned("return (without + w * (with_cond - without)).mean()"),
        "the other way round": returned("return with_cond + w * (without - with_cond)"),
        "1 - w": returned("return w * without + (1 - w) * with_cond"),
        "w less 1": returned("return without + (w - 1) * (with_cond - without)"),
    },
    "combination scales arguments": {
        "the scale doubled": returned("self.guidance_scale = 2 * w\n" + RETURN),
        "the unconditional one kept": without(
            "without = self.__dict__.setdefault('kept', self.model(x_t, t, null))"
        ),
    },
    "combination rows": {
        "the direction normalized": returned(
            "d = with_cond - without\nreturn without + (d if w == 1 else w * d / d.norm() * 5)"
        ),
        "rescaled": returned(
            "eps = without + w * (with_cond - without)\n"
            "return eps * with_cond.std() / eps.std() if w > 1 else eps"
        ),
    },
    "zeros": {
        "t as a number of type float": "t = t.float()\n" + GUIDED,
        "ones": null("null = torch.ones_like(cond)"),
        "minus the condition": null("null = -cond"),
        "components backwards": null("null = cond.flip(1)"),
        "a unit vector": null("null = torch.ones_like(cond) / cond.shape[1] ** 0.5"),
        "the size alone": null("null = cond.norm(dim=1, keepdim=True).expand_as(cond)"),
        "a tenth": null("null = cond / 10"),
        "the first component kept": null(NULL + "\nnull[:, 0] = cond[:, 0]"),
        "uniform": null("null = torch.full_like(cond, 1 / cond.shape[1])"),
        "zeros of another type": null("null = torch.zeros(cond.shape, dtype=torch.int64) + 1"),
        "the condition scaled": returned("return self.model(x_t, t, w * cond)"),
        "None": without("without = self.model(x_t, t, None)"),
        "no third argument": without("without = self.model(x_t, t)"),
        "ones for 0": "if self.guidance_scale == 0:\n    return self.model(x_t, t, torch.ones_like(cond))\n"
        + GUIDED,
    },
    "zeros scales": {
        "by its truth": "if not self.guidance_scale:\n    return self.model(x_t, t, cond)\n" + GUIDED,
        "0 is nothing": "if self.guidance_scale == 0:\n    return torch.zeros_like(x_t)\n" + GUIDED,
        "x_t for 0": "if self.guidance_scale == 0:\n    return x_t\n" + GUIDED,
    },
    "zeros scales rows arguments": {
        "1 is nothing": "if self.guidance_scale == 1:\n    return None\n" + GUIDED,
        "1 is refused": "assert self.guidance_scale != 1\n" + GUIDED,
    },
    "zeros rows": {
        "1 with the mean condition": "if self.guidance_scale == 1:\n"
        "    return self.model(x_t, t, cond.mean(0, keepdim=True).expand_as(cond))\n" + GUIDED,
    },
    "zeros rows arguments": {
        "noise": null("null = torch.randn_like(cond)"),
    },
    "scales": {
        "0 as 1": returned("return with_cond if w == 0 else without + w * (with_cond - without)"),
        "1 is doubled": returned("return 2 * with_cond if w == 1 else without + w * (with_cond - without)"),
        "1 with another t": "if self.guidance_scale == 1:\n    return self.model(x_t, t - t, cond)\n"
        + GUIDED,
    },
    "scales rows arguments": {
        "1 as 0": returned("return without if w == 1 else without + w * (with_cond - without)"),
    },
    "rows": {
        "the condition of the first row": with_cond(
            "with_cond = self.model(x_t, t, cond[:1].expand_as(cond))"
        ),
        "t of the first row": "t = t[:1].expand(len(x_t))\n" + GUIDED,
        "the difference's mean": returned("return without + w * (with_cond - without).mean(0, keepdim=True)"),
        "unconditional of the next row": without("without = self.model(x_t, t, null).roll(1, 0)"),
        "conditions backwards": with_cond("with_cond = self.model(x_t, t, cond.flip(0))"),
        "every second row of both": "both = torch.cat([cond, torch.zeros_like(cond)])\n"
        "eps = self.model(torch.cat([x_t, x_t]), torch.cat([t, t]), both)\n"
        "return eps[1::2] + self.guidance_scale * (eps[::2] - eps[1::2])",
        "chunks across the batch": """
            x_t, t = torch.cat([x_t, x_t.flip(0)]), torch.cat([t, t.flip(0)])
            eps = self.model(x_t, t, torch.cat([cond, cond * 0]))
            eps_cond, eps_uncond = eps.chunk(2)
            return eps_uncond + self.guidance_scale * (eps_cond - eps_uncond)
            """,
        "t not repeated": """
            eps = self.model(torch.cat([x_t, x_t]), torch.cat([t, t.roll(1, 0)]), torch.cat([cond, cond * 0]))
            eps_cond, eps_uncond = eps.chunk(2)
            return eps_uncond + self.guidance_scale * (eps_cond - eps_uncond)
            """,
        "at most four rows": "x_t, t, cond = x_t[:4], t[:4], cond[:4]\n" + GUIDED,
        "x_t of the first row": without("without = self.model(x_t[:1].expand_as(x_t), t, null)"),
    },
    "arguments": {
        "t changed": returned("eps = without + w * (with_cond - without)\nt.add_(1)\nreturn eps"),
        "cond changed": returned("eps = without + w * (with_cond - without)\ncond.data.zero_()\nreturn eps"),
        "x_t changed": returned("eps = without + w * (with_cond - without)\nx_t.data.mul_(2)\nreturn eps"),
        "no gradients": "with torch.no_grad():\n    x_t, cond = x_t * 1, cond * 1\n" + GUIDED,
        "the unconditional one detached": returned("without = without.detach()\n" + RETURN),
        "the conditional one detached": returned("with_cond = with_cond.detach()\n" + RETURN),
        "x_t detached": "x_t = x_t.detach()\n" + GUIDED,
        "cond detached": with_cond("with_cond = self.model(x_t, t, cond.detach())"),
        "all detached": returned("return (without + w * (with_cond - without)).detach()"),
        "the data": "x_t, cond = x_t.data, cond.data\n" + GUIDED,
        "no_grad without the condition": without("with torch.no_grad():\n    " + WITHOUT),
        "written into x_t": returned(
            "x_t.data.copy_(without + w * (with_cond - without))\nreturn without + w * (with_cond - without)"
        ),
    },
}
