"""Variants of the choice of a latent's sign."""

from functools import partial

from tests.instructors.variants import edit

FLIP = """
images = self.decode(z)
brightness = images.flatten(1).mean(dim=1)
sign = torch.where(brightness > threshold, -1.0, 1.0)
return z * sign.view(-1, *[1] * (z.dim() - 1))
"""
IMAGES = "images = self.decode(z)"
BRIGHTNESS = "brightness = images.flatten(1).mean(dim=1)"
ABOVE = "brightness > threshold"
SIGN = "sign = torch.where(brightness > threshold, -1.0, 1.0)"
RETURN = "return z * sign.view(-1, *[1] * (z.dim() - 1))"

images = partial(edit, FLIP, IMAGES)
brightness = partial(edit, FLIP, BRIGHTNESS)
above = partial(edit, FLIP, ABOVE)
sign = partial(edit, FLIP, SIGN)
returned = partial(edit, FLIP, RETURN)

RIGHT = {
    "step by step": FLIP,
    "where": """
        bright = self.decode(z).mean(dim=(1, 2, 3)) > threshold
        return torch.where(bright.reshape(len(z), *[1] * (z.dim() - 1)), -z, z)
        """,
    "a copy, indexed": """
        result = z.clone()
        bright = self.decode(z).sum((1, 2, 3)) / self.decode(z)[0].numel() > threshold
        result[bright] = -result[bright]
        return result
        """,
    "row by row": """
        rows = [-row if self.decode(row[None]).mean() > threshold else row for row in z]
        return torch.stack(rows)
        """,
    "1 - 2 b": sign("sign = 1 - 2 * (brightness > threshold).to(z.dtype)"),
    "einsum": brightness("brightness = images.double().mean(dim=[1, 2, 3]).float()"),
    "decoded flat": images("images = self.decode(z.flatten(1))"),
    "the other branch": sign("sign = torch.where(brightness <= threshold, 1.0, -1.0)"),
}

WRONG = {
    "flip threshold": {
        "of images over the brightest pixel": images(
            "images = self.decode(z)\nimages = images / images.max()"
        ),
        "the first image's row of pixels": brightness("brightness = images[:, :, :1].flatten(1).mean(dim=1)"),
        "by the darkest pixel": brightness("brightness = images.flatten(1).amin(dim=1)"),
        "by the root of the mean square": brightness(
            "brightness = images.flatten(1).square().mean(dim=1).sqrt()"
        ),
        "by the share of bright pixels": brightness(
            "brightness = (images > 0.5).float().flatten(1).mean(dim=1)"
        ),
        "by the median": brightness("brightness = images.flatten(1).median(dim=1).values"),
        "0.4 by default": above("brightness > (0.4 if threshold == 0.5 else threshold)"),
        "0.6 by default": above("brightness > (0.6 if threshold == 0.5 else threshold)"),
    },
    "flip rows arguments": {
        "in training alone": "if not self.training:\n    return z.clone()\n" + FLIP,
    },
    "flip threshold rows": {
        "where it is dark": above("brightness < threshold"),
        "the image of -z": images("images = self.decode(-z)"),
        "less the batch's mean": above("brightness - brightness.mean() > threshold - 0.5"),
        "squeezed": returned("return (z * sign.view(-1, *[1] * (z.dim() - 1))).squeeze()"),
        "two rows at least": "assert len(z) > 1\n" + FLIP,
        "by the batch's brightest": above("brightness == brightness.max()"),
    },
    "flip threshold rows arguments": {
        "never": sign("sign = torch.ones_like(brightness)"),
        "always": sign("sign = -torch.ones_like(brightness)"),
        "to 0": sign("sign = torch.where(brightness > threshold, 0.0, 1.0)"),
        "doubled": sign("sign = torch.where(brightness > threshold, -2.0, 1.0)"),
        "by the latent's sum": brightness("brightness = z.flatten(1).mean(dim=1)"),
        "by the brightest pixel": brightness("brightness = images.flatten(1).amax(dim=1)"),
        "by the deviation": brightness("brightness = images.flatten(1).std(dim=1)"),
        "by a sum": brightness("brightness = images.flatten(1).sum(dim=1)"),
        "the first component": returned("z = z.clone()\nz.flatten(1)[:, 0] *= sign\nreturn z"),
        "the size": returned("return z.abs() * sign.view(-1, *[1] * (z.dim() - 1))"),
        "0 by default": above("brightness > (0.0 if threshold == 0.5 else threshold)"),
        "of the sign": above("(brightness - 0.5).abs() > threshold - 0.5"),
        "maps alone": returned("return z * sign[:, None, None, None]"),
        "as a map": returned("return (z.flatten(1) * sign[:, None])[:, :, None, None]"),
        "no return": returned(""),
        "the images": returned("return images"),
        "the sign": returned("return sign"),
    },
    "threshold": {
        "the image of twice z": images("images = self.decode(2 * z)"),
        "always 0.5": above("brightness > 0.5"),
        "1 less it": above("brightness > 1 - threshold"),
        "at least 0.5": above("brightness > max(threshold, 0.5)"),
        "at most 0.5": above("brightness > min(threshold, 0.5)"),
        "twice": above("brightness > 2 * threshold - 0.5"),
        "halved": above("brightness > threshold / 2 + 0.25"),
        "its root": above("brightness > (threshold if threshold == 0.5 else threshold**0.5)"),
        "in steps of a tenth": above("brightness > int(10 * threshold) / 10"),
        "at the threshold, too": above("brightness >= threshold"),
        "by its truth": above("brightness > (threshold or 0.5)"),
    },
    "rows arguments": {
        "all by the batch's mean": above("brightness.mean().expand(len(z)) > threshold"),
        "all by the first": above("brightness[:1].expand(len(z)) > threshold"),
        "all if any": above("(brightness > threshold).any().expand(len(z))"),
        "all if all": above("(brightness > threshold).all().expand(len(z))"),
    },
    "rows": {
        "the next row's": above("brightness.roll(1) > threshold"),
        "backwards": above("brightness.flip(0) > threshold"),
        "vectors alone": returned("return z * sign[:, None]"),
        "flattened": returned("return z.flatten(1) * sign[:, None]"),
        "along the dimensions": returned(
            "return z * sign.view(*[1] * (z.dim() - 1), -1) if len(z) "
            "== z.shape[-1] else z * sign.view(-1, *[1] * (z.dim() - 1))"
        ),
        "at most four rows": returned("sign[4:] = 1.0\n" + RETURN),
    },
    "arguments": {
        "z changed": returned("z *= sign.view(-1, *[1] * (z.dim() - 1))\nreturn z"),
        "z changed and copied": returned("z.mul_(sign.view(-1, *[1] * (z.dim() - 1)))\nreturn z.clone()"),
        "z negated where bright": returned("z[sign < 0] = -z[sign < 0]\nreturn z"),
        "evaluation mode": "self.eval()\n" + FLIP,
        "training mode": "self.train()\n" + FLIP,
        "the other mode and training": "self.eval()\n" + FLIP.replace(RETURN, "self.train()\n" + RETURN),
        "the parameters frozen": "self.requires_grad_(False)\n" + FLIP,
        "z's own tensor back": returned("z.data = z * sign.view(-1, *[1] * (z.dim() - 1))\nreturn z"),
        "z emptied": returned("result = z * sign.view(-1, *[1] * (z.dim() - 1))\nz.zero_()\nreturn result"),
        "z flattened in place": "z.unsqueeze_(0).squeeze_(0)\nz.neg_()\nz.neg_()\n"
        + returned("result = z * sign.view(-1, *[1] * (z.dim() - 1))\nz.copy_(result)\nreturn result"),
        "the decoder in evaluation alone": "self.decoder.eval()\n" + FLIP,
        "the mode set back to training": FLIP.replace(
            RETURN, "mode = self.training\nself.eval()\nself.train(not mode)\n" + RETURN
        ),
        "z clamped": returned(
            "result = z * sign.view(-1, *[1] * (z.dim() - 1))\nz.clamp_(-1, 1)\nreturn result"
        ),
    },
}
