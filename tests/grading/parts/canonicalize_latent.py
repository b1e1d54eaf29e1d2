"""The sign of a latent, HW3/vae.py; with the decoder of `toys.decode`."""

import torch

from tests.grading import toys
from tests.grading.checks import as_tensor, during, expect, expect_close, expect_unchanged, normal


def flip(ask, rng):
    """Which latents are flipped, for the default threshold and others that are passed."""
    for dims, options in ((7, {}), (1, {}), (100, {"threshold": 0.3}), (5, {"threshold": 0.8})):
        z = latents(rng, 60, dims, options.get("threshold", 0.5))
        compare(ask, z, options)


def threshold(ask, rng):
    """Means close to the threshold and exactly on it."""
    for options in ({}, {"threshold": 0.5}, {"threshold": 0.25}, {"threshold": 0.7}):
        edge = options.get("threshold", 0.5)
        z = normal(rng, 8, 6)
        z[:, 0] = torch.logit(edge + torch.linspace(-0.02, 0.02, 8))
        compare(ask, z, options)
    z = normal(rng, 4, 6)
    brightness = toys.decode(z).mean(dim=(1, 2, 3))
    for row in range(4):  # its mean in float32 is the threshold: not above
        edge = brightness[row].item()
        seen = as_tensor(request(ask, z[row : row + 1], {"threshold": edge})["result"], (1, 6), "z")
        what = "A latent whose image has a mean that equals the threshold"
        flipped = (seen + z[row : row + 1].double()).abs().max() < 1e-6
        expect(not flipped, what, "flipped", "left as it is")


def rows(ask, rng):
    """Batches in which some are flipped and some are not, in both shapes, and single latents."""
    for count, shape in ((6, (9,)), (6, (9, 1, 1)), (1, (9,)), (1, (9, 1, 1)), (9, (9,))):
        z = latents(rng, count, shape[0], 0.5).view(count, *shape)
        compare(ask, z, {})


def arguments(ask, rng):
    """z and the mode after the call."""
    for training in (True, False):
        z = latents(rng, 8, 5, 0.5)
        reply = request(ask, z, {"training": training})
        expect_unchanged(reply["argument"], z, "z, the argument of canonicalize_latent")
        expect(reply["training"] is training, "model.training after the call", reply["training"], training)


def latents(rng, count, dims, edge):
    """Return latents whose images have means on both sides of the threshold, not too near."""
    z = normal(rng, count, dims)
    away = 0.05 + torch.rand(count, generator=rng)
    sign = torch.where(torch.arange(count) % 3 == 0, 1.0, -1.0)
    z[:, 0] = torch.logit(torch.tensor(edge)) + sign * away
    return z


def request(ask, z, options):
    with during(f"canonicalize_latent for z of the shape {tuple(z.shape)}"):
        return ask("canonicalize_latent", z=z, **options)


def compare(ask, z, options):
    """Compare each latent with z or -z, by the mean of its toy image."""
    edge = options.get("threshold", 0.5)
    words = f"threshold = {edge}" if options else "the default threshold, 0.5"
    seen = as_tensor(request(ask, z, options)["result"], z.shape, f"The result for {words}")
    brightness = toys.decode(z).double().mean(dim=(1, 2, 3))
    for row, mean in enumerate(brightness.tolist()):
        expected = -z[row] if mean > edge else z[row]
        state = "flipped" if (seen[row] + z[row]).abs().max() < 1e-6 else "not flipped"
        wanted = "flipped" if mean > edge else "not flipped"
        what = f"The latent of row {row}, whose image has the mean {mean:.4f}, for {words}"
        expect(state == wanted, what, state, wanted)
        expect_close(seen[row], expected, what)
