"""HW3/clip.py: unit vectors of images and labels, the temperature, prediction, and the contrastive loss."""

import math

import pytest
import torch

from tests.grading import papers
from tests.grading.checks import awaken, expect, expect_close, gradients

UNIT = "embedding = f(x) / |f(x)|, figure 3 of CLIP"
LOGITS = "logits = min(exp(logit_scale), 100) image_embs class_embs^T, figure 3 and section 2.5 of CLIP"
PREDICT = "label = argmax over the classes of forward_image(x) . forward_text(label)"
LOSS = "loss = (cross-entropy over the labels + cross-entropy over the images) / 2, figure 3 of CLIP"


def unit(rng, *shape):
    return torch.nn.functional.normalize(torch.randn(shape, generator=rng), dim=-1)


def expect_unit_vectors(forward, inputs, shape, module, what, rng):
    """Check shape, norm, independence of rows, and that the encoder learns."""
    vectors = forward(inputs)
    expect(vectors.shape == shape, f"The shape of {what}", tuple(vectors.shape), shape, UNIT)
    expect_close(vectors.double().norm(dim=1), torch.ones(len(vectors)), f"The norm of {what}", UNIT)
    distance = torch.pdist(vectors.detach().double()).min()
    expect(distance > 1e-4, f"{what} of different inputs", "equal", "different", UNIT)
    alone = torch.cat([forward(row[None]) for row in inputs])
    expect_close(vectors, alone, f"{what} of a batch, against each alone (in eval mode),", UNIT)

    # The derivative along a random direction of the encoder's weights, against a difference quotient.
    weights = list(module.parameters())
    directions = [0.01 * torch.randn(weight.shape, generator=rng) for weight in weights]
    slopes = gradients(vectors, weights)
    seen = sum((slope * direction).sum() for slope, direction in zip(slopes, directions, strict=True)).item()
    mix, ends = torch.linspace(1, 2, vectors.numel()).view_as(vectors), []
    with torch.no_grad():
        for step in (0.001, -0.002):
            for weight, direction in zip(weights, directions, strict=True):
                weight.add_(step * direction)
            ends.append((mix * forward(inputs)).double().sum().item())
    expected = (ends[0] - ends[1]) / 0.002
    right = seen != 0 and abs(seen - expected) <= 0.05 * abs(expected) + 0.005
    expect(
        right, f"The derivative of {what} by the encoder's weights", f"{seen:.4f}", f"{expected:.4f}", UNIT
    )


@pytest.mark.points(2)
def test_image_embeddings(clip, rng):
    """forward_image returns a unit vector per image"""
    for in_channels, embed_dim in ((1, 128), (3, 16)):
        model = awaken(clip.TinyCLIP(in_channels=in_channels, embed_dim=embed_dim), rng).eval()
        x = torch.rand(5, in_channels, 32, 32, generator=rng) * torch.linspace(0.2, 1, 5).view(-1, 1, 1, 1)
        expect_unit_vectors(
            model.forward_image, x, (5, embed_dim), model.image_encoder, "image embeddings", rng
        )


@pytest.mark.points(2)
def test_text_embeddings(clip, rng):
    """forward_text returns a unit vector per label"""
    for num_classes, embed_dim in ((10, 128), (4, 16)):
        model = awaken(clip.TinyCLIP(embed_dim=embed_dim, num_classes=num_classes), rng).eval()
        labels = torch.randperm(num_classes, generator=rng)
        shape = (num_classes, embed_dim)
        expect_unit_vectors(model.forward_text, labels, shape, model.text_encoder, "text embeddings", rng)


@pytest.mark.points(4)
def test_logits(clip, rng):
    """compute_logits scales similarities by exp(logit_scale), at most 100"""
    model = clip.TinyCLIP(embed_dim=16)
    images, classes = unit(rng, 7, 16).requires_grad_(), unit(rng, 5, 16).requires_grad_()
    for logit_scale in (-1.0, 0.0, math.log(1 / 0.07), math.log(99), math.log(100), 6.0):
        model.logit_scale.data.fill_(logit_scale)
        logits = model.compute_logits(images, classes)
        scale = min(math.exp(logit_scale), 100)
        expected = scale * images.detach().double() @ classes.detach().double().T
        expect_close(logits, expected, f"The logits with logit_scale = {logit_scale:.4f}", LOGITS)

    model.logit_scale.data.fill_(1.5)
    inputs = {"logit_scale": model.logit_scale, "image_embs": images, "class_embs": classes}
    logits = model.logit_scale.double().exp() * images.double() @ classes.double().T
    seen = gradients(model.compute_logits(images, classes), list(inputs.values()))
    expected = gradients(logits, list(inputs.values()))
    for (name, value), slope, wanted in zip(inputs.items(), seen, expected, strict=True):
        if name != "logit_scale":  # along the vector itself, what normalises it once more has no slope
            slope, wanted = (g - (g * value).sum(dim=1, keepdim=True) * value for g in (slope, wanted))
        expect_close(slope, wanted, f"The gradient of the logits by {name}", LOGITS, 1e-4)


@pytest.mark.points(2)
def test_predict(clip, rng):
    """predict returns the nearest label of each image"""
    for num_classes in (10, 4):
        model = awaken(clip.TinyCLIP(embed_dim=16, num_classes=num_classes), rng).eval()
        x = torch.rand(64, 1, 32, 32, generator=rng) * torch.rand(64, 1, 1, 1, generator=rng)
        x = x * (torch.rand(64, 1, 8, 8, generator=rng) > 0.5).repeat_interleave(4, 2).repeat_interleave(4, 3)
        with torch.no_grad():
            similarity = (
                model.forward_image(x).double() @ model.forward_text(torch.arange(num_classes)).double().T
            )
        first, second = similarity.topk(2, dim=1).values.T
        clear = first - second > 1e-5
        expected = similarity.argmax(dim=1)
        seen = model.predict(x)
        shown = f"{seen.dtype} {tuple(seen.shape)}"
        is_labels = seen.shape == (64,) and not seen.is_floating_point()
        expect(is_labels, "What predict returns", shown, "int64 (64,)", PREDICT)
        expect_close(seen[clear], expected[clear], f"A label out of {num_classes}", PREDICT, 0)


@pytest.mark.points(2)
def test_clip_loss(clip, rng):
    """clip_loss pulls images to their own label and away from the others"""
    labels = torch.randperm(6, generator=rng)
    logits = (3 * torch.randn(6, 6, generator=rng)).requires_grad_()
    expected = papers.clip_figure_3(logits, labels)
    loss = clip.clip_loss(logits, labels)
    expect_close(loss, expected, "The loss of a batch with each label once", LOSS)
    seen, wanted = gradients(loss, [logits])[0], gradients(expected, [logits])[0]
    expect_close(seen, wanted, "Its gradient by the logits", LOSS)

    # Several images of a label: one that is perfectly sorted has nothing more to learn.
    labels = torch.tensor([0, 1, 0, 2, 2, 0, 4])
    sorted_logits = torch.where(labels[:, None] == torch.arange(6), 20.0, -20.0).requires_grad_()
    slope = gradients(clip.clip_loss(sorted_logits, labels), [sorted_logits])[0]
    what = "The gradient where every image is near its own label alone, although labels repeat,"
    expect_close(slope, torch.zeros_like(slope), what, LOSS)
    wrong = torch.randn(7, 6, generator=rng).requires_grad_()
    slope = gradients(clip.clip_loss(wrong, labels), [wrong])[0]
    own, others = slope[torch.arange(7), labels], slope[labels[:, None] != torch.arange(6)]
    what = "The slopes of the loss by the logits of images and their own labels"
    expect((own < 0).all(), what, own.tolist(), "negative (more similar is better)", LOSS)
    expect((others >= 0).all(), "The slopes by the others", others.min().item(), "not negative", LOSS)
