"""The logits of CLIP, HW3/clip.py."""

import itertools
import math

import torch

from tests.grading.checks import as_tensor, during, expect, expect_close, expect_gradients, fit, normal

SIZES = ((7, 16, 5), (1, 8, 10), (4, 128, 4), (5, 3, 1))  # images, dimensions, classes


def similarity(ask, rng):
    """The logits for factors below the limit."""
    for rows, dims, classes in SIZES:
        for logit_scale in (-1.0, 0.0, math.log(1 / 0.07), math.log(99)):
            compare(ask, *unit(rng, rows, dims, classes), logit_scale, math.exp(logit_scale))


def limit(ask, rng):
    """The logits for a parameter at the limit and beyond, compared with those for a factor of 1."""
    for logit_scale, training in itertools.product((math.log(100), 4.7, 6.0, 20.0), (True, False)):
        images, classes = unit(rng, 6, 16, 5)
        one, limited = (
            as_tensor(request(ask, images, classes, scale, training=training)["result"], (6, 5), "The logits")
            for scale in (0.0, logit_scale)
        )
        seen = fit(limited, one)[0][0]
        what = f"The factor of the similarities for logit_scale = {logit_scale:.4f}"
        expect(abs(seen - 100) < 0.02, what, f"{seen:.5g}", "100")


def gradients(ask, rng):
    """The gradients by the parameter and by both sets of vectors."""

    def call(logit_scale, image_embs, class_embs, grad):
        reply = request(ask, image_embs, class_embs, logit_scale.item(), grad=grad)
        return as_tensor(reply["result"], (6, 5), "The logits"), reply["gradients"]

    images, classes = unit(rng, 6, 16, 5)
    inputs = {"logit_scale": torch.tensor(1.5), "image_embs": images, "class_embs": classes}
    expect_gradients(call, inputs, rng, "the logits")


def unit(rng, rows, dims, classes):
    return [torch.nn.functional.normalize(normal(rng, count, dims), dim=1) for count in (rows, classes)]


def request(ask, images, classes, logit_scale, **options):
    with during(
        f"compute_logits for {len(images)} images and {len(classes)} classes of dimension {images.shape[1]}"
    ):
        return ask(
            "compute_logits", logit_scale=logit_scale, image_embs=images, class_embs=classes, **options
        )


def compare(ask, images, classes, logit_scale, factor):
    similarities = images.double() @ classes.double().T
    seen = request(ask, images, classes, logit_scale)["result"]
    what = f"The logits for logit_scale = {logit_scale:.4f}"
    seen = as_tensor(seen, similarities.shape, what)
    (found,), rest = fit(seen, similarities)
    if rest.abs().max() < 1e-3 * seen.abs().max():
        right = abs(found / factor - 1) < 1e-3
        expect(
            right,
            f"The factor of the similarities for logit_scale = {logit_scale:.4f}",
            f"{found:.5g}",
            f"{factor:.5g}",
        )
    expect_close(seen, factor * similarities, f"{what}, which are not the similarities times a factor,")
