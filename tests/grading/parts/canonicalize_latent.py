"""The sign of a latent, HW3/vae.py; with the decoder of `toys.decode`."""

import torch

from tests.grading import toys
from tests.grading.checks import as_tensor, during, expect, expect_close, expect_unchanged, normal


def flip(ask, rng):
    """Which latents are flipped, one at a time."""
    for dims in (7, 1, 100):
        for z in latents(rng, 12, dims, 0.05):
            compare(ask, z[None], {})
            compare(ask, z[None], {}, training=False)


def threshold(ask, rng):
    """Means close to the threshold and exactly on it, one latent at a time."""
    for options in ({}, {"threshold": 0.5}, {"threshold": 0.25}, {"threshold": 0.7}):
        edge = options.get("threshold", 0.5)
        for mean in edge + torch.linspace(-0.02, 0.02, 8):
            z = normal(rng, 1, 6)
            z[:, 0] = torch.logit(mean)
            compare(ask, z, options)
    compare(ask, -torch.ones(1, 6), {"threshold": 0.0})
    for first in (40.0, -40.0):  # all pixels are 0, 7/8 or 1, so the mean is exact however it is computed
        z = normal(rng, 1, 6)
        z[:, 0] = first
        compare(ask, z, {"threshold": toys.decode(z).mean().item()})


def rows(ask, rng):
    """Batches in which some are flipped and some are not, in both shapes, and single latents."""
    for count, shape in ((6, (9,)), (6, (9, 1, 1)), (1, (9,)), (1, (9, 1, 1)), (9, (9,))):
        z = latents(rng, count, shape[0], 0.5).view(count, *shape)
        compare(ask, z, {})
        compare(ask, z, {}, training=False)


def arguments(ask, rng):
    """z and the model after the call."""
    for training in (True, False):
        z = latents(rng, 8, 5, 0.5)
        reply = request(ask, z, {"training": training})
        expect_unchanged(reply["argument"], z, "z, the argument of canonicalize_latent")
        flipped = (as_tensor(reply["result"], z.shape, "The result") + z.double()).abs().amax(dim=1) < 1e-6
        expect(flipped.any() and not flipped.all(), "The signs of 8 latents", "all the same", "some flipped")
        modes = reply["training"]
        same = isinstance(modes, list) and all(mode is training for mode in modes)
        expect(same, "model.training, of all its layers, after the call", "changed", training)
        expect(reply["frozen"] is False, "The model's parameters after the call", "frozen", "as before")


def latents(rng, count, dims, away):
    """Return latents whose images have means on both sides of 0.5, so far away at least (as a logit)."""
    z = normal(rng, count, dims)
    sign = torch.where(torch.arange(count) % 3 == 0, 1.0, -1.0)
    z[:, 0] = sign * (away + torch.rand(count, generator=rng))
    return z


def request(ask, z, options):
    with during(f"canonicalize_latent for z of the shape {tuple(z.shape)}"):
        return ask("canonicalize_latent", z=z, **options)


def compare(ask, z, options, training=True):
    """Compare each latent with z or -z, by the mean of its toy image."""
    edge = options.get("threshold", 0.5)
    words = f"threshold = {edge}" if options else "the default threshold, 0.5"
    seen = as_tensor(
        request(ask, z, {**options, "training": training})["result"], z.shape, f"The result for {words}"
    )
    mode = "" if training else ", evaluation mode"
    brightness = toys.decode(z).double().mean(dim=(1, 2, 3))
    for row, mean in enumerate(brightness.tolist()):
        expected = -z[row] if mean > edge else z[row]
        state = "flipped" if (seen[row] + z[row]).abs().max() < 1e-6 else "not flipped"
        wanted = "flipped" if mean > edge else "not flipped"
        what = f"The latent of row {row}, whose image has the mean {mean:.4f}, for {words}{mode}"
        expect(state == wanted, what, state, wanted)
        expect_close(seen[row], expected, what)
