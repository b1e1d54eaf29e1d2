"""The contrastive loss of CLIP, HW3/clip.py.

The entropy of a label's images may be subtracted or not; both values are accepted.
"""

import torch

from tests.grading import papers
from tests.grading.checks import (
    as_tensor,
    during,
    expect,
    expect_close,
    expect_gradients,
    expect_unchanged,
    normal,
)


def once(ask, rng):
    """Each label once: the papers' value, whatever the order."""
    for count in (6, 2, 10):
        for scale in (1, 5, 40):  # logits are up to 100
            labels = torch.randperm(count, generator=rng)
            logits = normal(rng, count, count, scale=scale)
            expected = papers.clip_figure_3(logits, labels)
            expect_close(loss(ask, logits, labels), expected, f"The loss of {count} images, each label once,")


def repeated(ask, rng):
    """All labels, some of them more than once."""
    for labels, count in (
        ([0, 1, 0, 2, 2, 0, 1], 3),
        ([1, 1, 1, 0], 2),
        ([0, 0, 0, 0], 1),
        ([3, 2, 1, 0, 3, 3, 3, 3, 2, 1, 0, 0], 4),
    ):
        compare(ask, rng, torch.tensor(labels), count, "labels repeat")


def absent(ask, rng):
    """Some labels without an image; the others have one, for `repeated` judges what several are."""
    for labels, count in (
        ([4, 1, 2], 6),
        ([0], 10),
        ([11, 0, 5], 12),
        ([5, 7, 1, 0, 9, 3, 2, 8], 10),
    ):
        compare(ask, rng, torch.tensor(labels), count, "not all labels are there")
        reply = request(ask, normal(rng, len(labels), count), torch.tensor(labels), grad=True)
        gradient = reply["gradients"][0] if isinstance(reply["gradients"], list) else None
        if isinstance(gradient, torch.Tensor):  # `gradients` judges the rest
            what = "The gradient of the loss where not all labels are there"
            expect(gradient.isfinite().all(), what, "nan or inf", "finite numbers")


def gradients(ask, rng):
    """The gradient by the logits; and the argument after the call."""
    labels = torch.tensor([0, 1, 0, 2])
    logits = normal(rng, 4, 3)
    expect_unchanged(request(ask, logits, labels)["argument"], logits, "logits, the argument of clip_loss")

    def call(logits, grad):
        reply = request(ask, logits, labels, grad=grad)
        return as_tensor(reply["result"], (), "The loss"), reply["gradients"]

    expect_gradients(call, {"logits": logits}, rng, "the loss")


def request(ask, logits, labels, **options):
    with during(f"clip_loss for logits of the shape {tuple(logits.shape)} and the labels {labels.tolist()}"):
        return ask("clip_loss", logits=logits, labels=labels, **options)


def loss(ask, logits, labels):
    return as_tensor(request(ask, logits, labels)["result"], (), "The loss")


def compare(ask, rng, labels, count, words):
    for scale in (1, 5):
        logits = normal(rng, len(labels), count, scale=scale)
        image_loss, label_loss, entropy = papers.clip_losses(logits, labels)
        seen = loss(ask, logits, labels)
        values = [(image_loss + label_loss - less) / 2 for less in (entropy, 0)]
        nearest = min(values, key=lambda value: abs(value - seen))  # noqa: B023
        what = f"The loss where {words}, K = {count}, labels {labels.tolist()},"
        expect_close(
            seen, nearest, f"{what} from {image_loss:.4g} for images and {label_loss:.4g} for labels,"
        )
