"""The KL divergence, HW3/vae.py."""

import torch

from tests.grading import papers
from tests.grading.checks import as_tensor, during, expect_close, expect_gradients, normal

SHAPES = ((3, 20), (1, 7), (5, 1), (2, 100))


def value(ask, rng):
    """The divergence for particular and for random Gaussians."""
    for mu, logvar in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.0, -1.0), (-2.0, 0.5)):
        expected = papers.kl_divergence(torch.tensor([[mu]]), torch.tensor([[logvar]]))
        reply = request(ask, torch.tensor([[mu]]), torch.tensor([[logvar]]))
        expect_close(reply["result"], expected, f"The divergence for mu = {mu}, logvar = {logvar}")
    for shape in SHAPES:
        mu, logvar = normal(rng, *shape, scale=2), normal(rng, *shape)
        seen = request(ask, mu, logvar)["result"]
        expect_close(
            seen, papers.kl_divergence(mu, logvar), f"The divergence for mu and logvar of the shape {shape}"
        )


def gradients(ask, rng):
    """The gradients by both arguments."""

    def call(mu, logvar, grad):
        reply = request(ask, mu, logvar, grad=grad)
        return as_tensor(reply["result"], mu.shape, "The divergence"), reply["gradients"]

    arguments = {"mu": normal(rng, 3, 6), "logvar": normal(rng, 3, 6)}
    expect_gradients(call, arguments, rng, "the divergence")


def request(ask, mu, logvar, **options):
    with during(f"kl_divergence for mu and logvar of the shape {tuple(mu.shape)}"):
        return ask("kl_divergence", mu=mu, logvar=logvar, **options)
