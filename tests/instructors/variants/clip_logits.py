"""Variants of the logits of CLIP."""

from functools import partial

from tests.instructors.variants import edit

LOGITS = """
factor = self.logit_scale.exp().clamp(max=100)
similarity = image_embs @ class_embs.T
return factor * similarity
"""
FACTOR = "factor = self.logit_scale.exp().clamp(max=100)"
SIMILARITY = "similarity = image_embs @ class_embs.T"
RETURN = "return factor * similarity"

factor = partial(edit, LOGITS, FACTOR)
similarity = partial(edit, LOGITS, SIMILARITY)
returned = partial(edit, LOGITS, RETURN)

RIGHT = {
    "step by step": LOGITS,
    "the parameter limited in place, as in OpenAI's code": factor(
        "self.logit_scale.data.clamp_(max=MAX_LOGIT_SCALE)\nfactor = self.logit_scale.exp()"
    ),
    "the logarithm limited": factor("factor = torch.exp(self.logit_scale.clamp(max=MAX_LOGIT_SCALE))"),
    "the smaller of two": factor(
        "factor = torch.minimum(self.logit_scale, torch.tensor(MAX_LOGIT_SCALE)).exp()"
    ),
    "matmul": similarity("similarity = torch.matmul(image_embs, class_embs.transpose(-2, -1))"),
    "einsum": similarity('similarity = torch.einsum("bd,kd->bk", image_embs, class_embs)'),
    "linear": similarity("similarity = F.linear(image_embs, class_embs)"),
    "pairs": similarity("similarity = (image_embs[:, None] * class_embs[None]).sum(dim=2)"),
    "cosine similarity": similarity(
        "similarity = F.cosine_similarity(image_embs[:, None], class_embs[None], dim=2)"
    ),
    "limited where it is too large": factor(
        "factor = self.logit_scale.exp()\nif factor > 100:\n    factor = torch.full_like(factor, 100.0)"
    ),
}

WRONG = {
    "similarity": {
        "the distance": similarity("similarity = -torch.cdist(image_embs, class_embs)"),
        "the size": similarity("similarity = (image_embs @ class_embs.T).abs()"),
        "the sign": returned("return -factor * similarity"),
        "half of the dimensions": similarity(
            "d = image_embs.shape[1] // 2\nsimilarity = image_embs[:, :d] @ class_embs[:, :d].T"
        ),
        "less the mean": similarity(
            "similarity = image_embs @ class_embs.T\n"
            "similarity = similarity - similarity.mean(1, keepdim=True)"
        ),
        "over the root of D": returned("return factor * similarity / image_embs.shape[1] ** 0.5"),
        "classes of the next row": similarity("similarity = image_embs @ class_embs.roll(1, 0).T"),
        "images less their mean": similarity("similarity = (image_embs - image_embs.mean(0)) @ class_embs.T"),
        "normalized over the batch": similarity("similarity = F.normalize(image_embs, dim=0) @ class_embs.T"),
    },
    "similarity limit": {
        "divided": returned("return similarity / factor"),
        "no exp": factor("factor = self.logit_scale.clamp(max=MAX_LOGIT_SCALE)"),
        "squared": returned("return factor**2 * similarity"),
        "a power of 2": factor("factor = (2**self.logit_scale).clamp(max=100)"),
        "a sum": returned("return factor + similarity"),
        "softmax": returned("return (factor * similarity).softmax(dim=1)"),
        "softmax over the batch": returned("return (factor * similarity).log_softmax(dim=0)"),
        "the softplus": factor("factor = F.softplus(self.logit_scale).clamp(max=100)"),
        "at 10": factor(
            "factor = self.logit_scale.exp() if self.logit_scale "
            "< 4 else self.logit_scale.exp().clamp(max=10)"
        ),
        "at 5": factor("factor = self.logit_scale.exp().clamp(max=5)"),
    },
    "similarity limit gradients": {
        "no temperature": returned("return similarity + 0 * factor"),
        "the fixed temperature": factor("factor = 1 / INITIAL_TEMPERATURE + 0 * self.logit_scale"),
        "transposed": returned("return factor * similarity.T"),
        "images with images": similarity("similarity = image_embs @ image_embs.T"),
        "no return": returned("factor * similarity"),
        "pairs alone": similarity("similarity = (image_embs * class_embs[: len(image_embs)]).sum(1)"),
        "below 1, too": factor("factor = self.logit_scale.exp().clamp(min=100)"),
    },
    "similarity gradients": {
        "to bfloat16": similarity("similarity = (image_embs.bfloat16() @ class_embs.T.bfloat16()).float()"),
    },
    "limit": {
        "none": factor("factor = self.logit_scale.exp()"),
        "the logarithm at 100": factor("factor = self.logit_scale.clamp(max=100).exp()"),
        "at least 100": factor(
            "factor = torch.where(self.logit_scale > 10, "
            "self.logit_scale.exp(), self.logit_scale.exp().clamp(max=100))"
        ),
        "at 99": factor("factor = self.logit_scale.exp().clamp(max=99)"),
        "at 1000": factor("factor = self.logit_scale.exp().clamp(max=1000)"),
        "at 0.07": factor(
            "factor = self.logit_scale.exp()\nif factor > 100:\n"
            "    factor = factor * 0 + 1 / INITIAL_TEMPERATURE"
        ),
        "of the logits": returned("return (factor * similarity).clamp(-100, 100)").replace(
            ".clamp(max=100)", ""
        ),
        "of the logits from above": returned("return (factor * similarity).clamp(max=100)").replace(
            ".clamp(max=100)\nsim", "\nsim"
        ),
        "an error": factor(
            "factor = self.logit_scale.exp()\nif factor > 100:\n    raise ValueError('too large')"
        ),
        "at twice": factor("factor = self.logit_scale.exp().clamp(max=200)"),
        "at exp(5)": factor("factor = self.logit_scale.clamp(max=5).exp()"),
        "in training alone": factor(
            "factor = self.logit_scale.exp().clamp(max=100 if self.training else 1e9)"
        ),
        "at ln 100 after exp": factor(
            "factor = self.logit_scale.exp()\nif factor > 100:\n"
            "    factor = factor.clamp(max=MAX_LOGIT_SCALE)"
        ),
        "0 beyond": factor("factor = self.logit_scale.exp()\nfactor = factor * (factor <= 100)"),
        "the result of clamp forgotten": factor("factor = self.logit_scale.exp()\nfactor.clamp(max=100)"),
    },
    "gradients": {
        "the scale detached": factor("factor = self.logit_scale.detach().exp().clamp(max=100)"),
        "the scale's data": factor("factor = self.logit_scale.data.exp().clamp(max=100)"),
        "a number": factor("factor = min(100.0, math.exp(self.logit_scale.item()))"),
        "images detached": similarity("similarity = image_embs.detach() @ class_embs.T"),
        "classes detached": similarity("similarity = image_embs @ class_embs.detach().T"),
        "similarity detached": similarity(SIMILARITY + "\nsimilarity = similarity.detach()"),
        "all detached": returned("return (factor * similarity).detach()"),
        "no_grad": "with torch.no_grad():\n"
        "    return self.logit_scale.exp().clamp(max=100) * image_embs @ class_embs.T",
        "through numpy": similarity(
            "similarity = torch.from_numpy(image_embs.detach().numpy() @ class_embs.detach().numpy().T)"
        ),
        "a new tensor": similarity("similarity = torch.tensor((image_embs @ class_embs.T).tolist())"),
        "half of the scale's": factor(
            "factor = (self.logit_scale.exp().clamp(max=100) + "
            "self.logit_scale.detach().exp().clamp(max=100)) / 2"
        ),
        "half of the images'": similarity(
            "similarity = (image_embs + image_embs.detach()) @ class_embs.T / 2"
        ),
        "reversed": returned("logits = factor * similarity\nreturn 2 * logits.detach() - logits"),
        "of the first image alone": similarity(
            "similarity = torch.cat([image_embs[:1], image_embs[1:].detach()]) @ class_embs.T"
        ),
    },
}
