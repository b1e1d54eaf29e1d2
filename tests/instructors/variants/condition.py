"""Variants of the conditional path of the noise predictor."""

from functools import partial

from tests.instructors.variants import edit

PATH = """
size = (len(t), self.cond_dim)
if cond is None:
    cond = torch.zeros(size, dtype=embedding.dtype, device=embedding.device)
if tuple(cond.shape) != size:
    raise ValueError(f"cond must be {size}, not {tuple(cond.shape)}")
cond = cond * self.cond_dim**0.5
return embedding + self.cond(cond)
"""
NONE = "cond = torch.zeros(size, dtype=embedding.dtype, device=embedding.device)"
WRONG_SIZE = "tuple(cond.shape) != size"
SCALE = "cond = cond * self.cond_dim**0.5"
SUM = "return embedding + self.cond(cond)"

none = partial(edit, PATH, NONE)
size = partial(edit, PATH, WRONG_SIZE)
scale = partial(edit, PATH, SCALE)
summed = partial(edit, PATH, SUM)

RIGHT = {
    "step by step": PATH,
    "zeros embedded on their own": """
        if cond is None:
            return embedding + self.cond(embedding.new_zeros(1, self.cond_dim))
        if cond.ndim != 2 or len(cond) != len(t) or cond.shape[1] != self.cond_dim:
            raise ValueError("cond")
        return torch.add(self.cond(math.sqrt(self.cond_dim) * cond), self.time(t))
        """,
    "the shape tried by unpacking": """
        if cond is None:
            cond = torch.zeros(t.shape[0], self.cond_dim)
        rows, width = cond.shape
        if (rows, width) != (t.shape[0], self.cond_dim):
            raise ValueError("wrong shape")
        return self.cond(cond / (1 / self.cond_dim) ** 0.5) + embedding
        """,
    "divided by the size of a component": scale("cond = cond / math.sqrt(1 / self.cond_dim)"),
    "a list of two": size("list(cond.shape) != [*size]"),
    "stacked and summed": summed("return torch.stack([embedding, self.cond(cond)]).sum(dim=0)"),
    "an early return": edit(
        PATH,
        SUM,
        "embedding = embedding.clone()\nembedding += self.cond(cond)\nreturn embedding",
    ),
    "in a function": "def widen(c):\n    return c * math.sqrt(c.shape[1])\n" + scale("cond = widen(cond)"),
}

WRONG = {
    "added": {
        "the time twice": summed("return 2 * embedding + self.cond(cond)"),
        "a difference": summed("return embedding - self.cond(cond)"),
        "the other difference": summed("return self.cond(cond) - embedding"),
        "the time twice in evaluation": summed(
            "return embedding * (1 if self.training else 2) + self.cond(cond)"
        ),
        "what comes out is scaled": edit(
            PATH, SCALE, "", SUM, "return embedding + self.cond(cond) * self.cond_dim**0.5"
        ),
        "the sum is scaled": edit(
            PATH, SCALE, "", SUM, "return (embedding + self.cond(cond)) * self.cond_dim**0.5"
        ),
    },
    "added none shape scaling rows gradients": {
        "a name that is not there": summed("return emb + self.cond(cond)"),
    },
    "added none scaling rows": {
        "concatenated": summed("return torch.cat([embedding, self.cond(cond)], dim=1)"),
        "a number": summed("return (embedding + self.cond(cond)).sum()"),
    },
    "added none scaling rows gradients": {
        "no return": summed("embedding + self.cond(cond)"),
    },
    "added scaling": {
        "the mean of both": summed("return (embedding + self.cond(cond)) / 2"),
        "the condition halved": summed("return embedding + 0.5 * self.cond(cond)"),
        "the condition twice": summed("return embedding + 2 * self.cond(cond)"),
        "weighted": summed("return 0.9 * embedding + 0.1 * self.cond(cond)"),
        "sum over its root of 2": summed("return (embedding + self.cond(cond)) / 2**0.5"),
    },
    "added scaling rows": {
        "a product": summed("return embedding * self.cond(cond)"),
        "a scale": summed("return embedding * (1 + self.cond(cond))"),
        "a function of the sum": summed("return torch.tanh(embedding + self.cond(cond))"),
        "normalized": summed("return torch.nn.functional.normalize(embedding + self.cond(cond), dim=1)"),
    },
    "added gradients": {
        "without the time": summed("return self.cond(cond) + 0 * embedding"),
    },
    "none": {
        "ones": none("cond = embedding.new_ones(size)"),
        "a unit vector": none("cond = embedding.new_ones(size) / self.cond_dim**0.5"),
        "noise": none("cond = torch.randn(size)"),
        "the first axis": none("cond = torch.eye(*size)"),
        "uninitialized": none("cond = embedding.new_empty(size).fill_(0.5)"),
        "less than 0": none("cond = embedding.new_full(size, -1.0)"),
        "the time alone": none("return embedding"),
        "nothing": none("return None"),
        "an error": none("raise ValueError('cond is missing')"),
        "no case for it": edit(PATH, "if cond is None:", "if False:"),
        "as many as dimensions": none("cond = embedding.new_zeros(self.cond_dim, self.cond_dim)"),
        "zeros after the network": "if cond is None:\n    return embedding + torch.zeros_like(embedding)\n"
        + PATH,
        "the time's embedding in its place": none("cond = embedding[:, : self.cond_dim]"),
    },
    "none shape": {
        "the time alone, if all is 0": "if cond is not None and not cond.any():\n    return embedding\n"
        + PATH,
        "the error also for None": PATH.replace(
            "if cond is None", "if cond is None:\n    raise ValueError\nif cond is None"
        ).replace(WRONG_SIZE, "False"),
    },
    "shape": {
        "no check": size("False"),
        "the width alone": size("cond.shape[-1] != self.cond_dim"),
        "the rows alone": size("len(cond) != len(t)"),
        "the rank alone": size("cond.dim() != 2"),
        "the number of numbers": size("cond.numel() != len(t) * self.cond_dim"),
        "one row for all": size("tuple(cond.shape) not in (size, (1, self.cond_dim))"),
        "one number for all": size("tuple(cond.shape) not in (size, (len(t), 1))"),
        "another error": edit(PATH, "raise ValueError", "raise RuntimeError"),
        "an assertion": edit(PATH, "if tuple", "assert tuple", "!= size:", "== size\nif False:"),
        "a type error": edit(PATH, "raise ValueError", "raise TypeError"),
        "not implemented": edit(PATH, "raise ValueError", "raise NotImplementedError"),
        "an index error": edit(PATH, "raise ValueError", "raise IndexError"),
        "no error, but None": edit(PATH, "raise ValueError", "return None, "),
        "no error, but a warning": edit(PATH, "raise ValueError(", "print("),
        "the last two dimensions": size("tuple(cond.shape[-2:]) != size"),
        "flattened first": size("tuple(cond.flatten(1).shape) != size"),
        "at least so wide": size("cond.dim() != 2 or len(cond) != len(t) or cond.shape[1] < self.cond_dim"),
        "at least so many rows": size(
            "cond.dim() != 2 or len(cond) < len(t) or cond.shape[1] != self.cond_dim"
        ),
        "a vector for all rows": size("tuple(cond.shape) not in (size, (self.cond_dim,))"),
        "in any order": size("sorted(cond.shape) != sorted(size)"),
        "reshaped": size("False", SCALE, f"cond = cond.reshape(size)\n{SCALE}"),
        "in training alone": size(f"self.training and {WRONG_SIZE}"),
    },
    "scaling": {
        "none": scale("pass"),
        "the inverse": scale("cond = cond / self.cond_dim**0.5"),
        "no root": scale("cond = cond * self.cond_dim"),
        "a fixed number": scale("cond = cond * 128**0.5"),
        "the time's width": scale("cond = cond * embedding.shape[1] ** 0.5"),
        "the rows": scale("cond = cond * len(cond) ** 0.5"),
        "twice": scale("cond = cond * 2 * self.cond_dim**0.5"),
        "rounded": scale("cond = cond * int(self.cond_dim**0.5)"),
        "third root": scale("cond = cond * self.cond_dim ** (1 / 3)"),
        "up to 64 dimensions": scale("cond = cond * min(self.cond_dim, 64) ** 0.5"),
        "in training alone": scale("cond = cond * (self.cond_dim**0.5 if self.training else 1)"),
    },
    "scaling rows": {
        "minus 1": scale("cond = cond * (self.cond_dim - 1) ** 0.5"),
        "logarithm": scale("cond = cond * math.log(self.cond_dim)"),
        "each row to the mean square 1": scale(
            "cond = cond / cond.square().mean(1, keepdim=True).sqrt().clamp(min=1e-9)"
        ),
        "layer norm": scale("cond = torch.nn.functional.layer_norm(cond, cond.shape[1:])"),
        "normalized": scale("cond = torch.nn.functional.normalize(cond, dim=1) * self.cond_dim**0.5"),
        "by the deviation over the batch": scale("cond = cond / (cond.std() + 1e-6)"),
        "by the largest": scale("cond = cond / cond.abs().max().clamp(min=1e-9)"),
        "scaled by its size": scale("cond = cond * cond.norm() * self.cond_dim**0.5"),
        "components backwards": scale("cond = cond.flip(1) * self.cond_dim**0.5"),
        "less the mean": scale("cond = (cond - cond.mean(0) / 2) * self.cond_dim**0.5"),
        "the size of each component": scale("cond = cond.abs() * self.cond_dim**0.5"),
        "the first half of the components": scale(
            "cond = cond * (torch.arange(self.cond_dim) <= self.cond_dim // 2) * self.cond_dim**0.5"
        ),
        "sorted": scale("cond = cond.sort(1).values * self.cond_dim**0.5"),
        "at most 0.3": scale("cond = cond.clamp(-0.3, 0.3) * self.cond_dim**0.5"),
        "rows beyond the fourth are empty": scale(
            "cond = cond * (torch.arange(len(t)) < 4)[:, None] * self.cond_dim**0.5"
        ),
        "the greatest": scale(
            "cond = torch.nn.functional.one_hot(cond.argmax(1), self.cond_dim) * cond * self.cond_dim**0.5"
        ),
        "the last one again": scale("cond = self.__dict__.setdefault('kept', cond) * self.cond_dim**0.5"),
    },
    "scaling rows gradients": {
        "not used": scale("cond = 0 * cond"),
    },
    "rows": {
        "the mean of the batch": scale("cond = cond.mean(0, keepdim=True).expand(size) * self.cond_dim**0.5"),
        "the first row for all": scale("cond = cond[:1].expand(size) * self.cond_dim**0.5"),
        "the next row": scale("cond = cond.roll(1, 0) * self.cond_dim**0.5"),
        "backwards": scale("cond = cond.flip(0) * self.cond_dim**0.5"),
        "changed in place": scale("cond.data.mul_(self.cond_dim**0.5)"),
    },
    "gradients": {
        "cond detached": scale(
            f"{SCALE}.detach()".replace("cond * self.cond_dim**0.5", "(cond * self.cond_dim**0.5)")
        ),
        "cond's data": scale("cond = cond.data * self.cond_dim**0.5"),
        "the time detached": summed("return embedding.detach() + self.cond(cond)"),
        "self.cond's result detached": summed("return embedding + self.cond(cond).detach()"),
        "no_grad for the condition": summed(
            "with torch.no_grad():\n    extra = self.cond(cond)\nreturn embedding + extra"
        ),
        "no_grad": summed("with torch.no_grad():\n    return embedding + self.cond(cond)"),
        "all detached": summed("return (embedding + self.cond(cond)).detach()"),
        "a new tensor": scale("cond = torch.tensor(cond.tolist()) * self.cond_dim**0.5"),
        "through numpy": scale("cond = torch.from_numpy(cond.detach().numpy()) * self.cond_dim**0.5"),
        "the layer's weights detached": summed(
            "with torch.no_grad():\n    fixed = [p.clone() for p in self.cond[-1].parameters()]\n"
            "return embedding + torch.nn.functional.linear(cond, *fixed)"
        ),
        "frozen": summed("return embedding + self.cond.requires_grad_(False)(cond)"),
    },
}
