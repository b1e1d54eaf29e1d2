"""The reparameterization trick, HW3/vae.py."""

import torch

from tests.grading.checks import (
    SIGMAS,
    as_list,
    as_tensor,
    describe,
    draw_seed,
    during,
    expect,
    expect_close,
    expect_gradients,
    expect_independent,
    expect_unchanged,
    expect_uncorrelated,
    normal,
)


def distribution(ask, rng):
    """Mean and deviation of z, dimension by dimension of several rows, from many equal rows."""
    for rows, dims in ((4000, 3), (2000, 1)):
        for mean, logvar in ((0.0, 0.0), (3.0, -2.0), (-1.5, 3.0), (0.5, 1.0)):
            mu = torch.full((rows, dims), mean)
            z = sample(ask, rng, mu, torch.full((rows, dims), logvar))
            deviation, size = torch.tensor(logvar / 2).exp().item(), z.numel()
            where = f"for mu = {mean}, logvar = {logvar}"
            bound = SIGMAS * deviation / size**0.5
            seen, right = z.mean().item(), abs(z.mean().item() - mean) <= bound
            expect(right, f"The mean of z {where}", f"{seen:.4f}", f"{mean} +- {bound:.4f}")
            seen, bound = z.std().item() / deviation, SIGMAS / (2 * size) ** 0.5
            expected = f"{deviation:.4f} +- {deviation * bound:.4f}, exp(logvar / 2)"
            expect(abs(seen - 1) <= bound, f"The deviation of z {where}", f"{seen * deviation:.4f}", expected)
    # With one seed, what changes z is exactly mu; logvar scales what is left of it.
    for rows, dims in ((1, 7), (5, 20), (3, 100)):
        mu, logvar, seed = normal(rng, rows, dims, scale=3), normal(rng, rows, dims, scale=2), draw_seed(rng)
        zeros = torch.zeros(rows, dims)
        eps = sample(ask, rng, zeros, zeros, seed)
        z = sample(ask, rng, mu, logvar, seed)
        what = f"z of the shape {(rows, dims)}, compared with that for zeros from the same seed,"
        expect_close(z, mu.double() + (logvar.double() / 2).exp() * eps, what, 1e-3)


def noise(ask, rng):
    """The noise, for mu and logvar of zeros."""
    zeros = torch.zeros(40, 500)
    first, second = samples(ask, rng, zeros, zeros, repeat=2)
    (other,) = samples(ask, rng, zeros, zeros)
    expect_independent(first, "z for mu = 0 and logvar = 0")
    expect_uncorrelated(second, first, "The correlation of z in two calls")
    expect_uncorrelated(other, first, "The correlation of z after two seeds")
    many = sample(ask, rng, torch.zeros(500, 4), torch.zeros(500, 4))
    expect_independent(many.T.contiguous(), "z for mu = 0 and logvar = 0, its dimensions as rows,")


def gradients(ask, rng):
    """The derivatives of z by mu and logvar, for one noise; and the arguments after the call."""
    mu, logvar, seed = normal(rng, 4, 6), normal(rng, 4, 6), draw_seed(rng)
    after = as_list(request(ask, rng, mu, logvar)["arguments"], 2, "The arguments")
    for name, seen, before in zip(("mu", "logvar"), after, (mu, logvar), strict=True):
        expect_unchanged(seen, before, f"{name}, an argument of reparameterize")

    def call(mu, logvar, grad):
        reply = request(ask, rng, mu, logvar, seed, grad=grad)
        z = as_list(reply["results"], 1, "The results of reparameterize")[0]
        return as_tensor(z, mu.shape, "z"), reply["gradients"]

    expect_gradients(call, {"mu": mu, "logvar": logvar}, rng, "z")


def modes(ask, rng):
    """Evaluation mode."""
    zeros = torch.zeros(4, 50)
    z = sample(ask, rng, zeros, zeros, training=False)
    expect(z.abs().max() > 0, "z in evaluation mode", "mu itself, without noise", "a sample, as in training")
    seed = draw_seed(rng)
    mu, logvar = normal(rng, 4, 50), normal(rng, 4, 50)
    modes = [sample(ask, rng, mu, logvar, seed, training=training) for training in (False, True)]
    expect_close(*modes, "z in evaluation mode, compared with that in training from the same seed,")
    for training in (False, True):
        after = request(ask, rng, mu, logvar, training=training)["training"]
        expect(after is training, "model.training after the call", after, training)


def request(ask, rng, mu, logvar, seed=None, **options):
    with during(f"reparameterize for mu and logvar of the shape {tuple(mu.shape)}"):
        seed = draw_seed(rng) if seed is None else seed
        return ask("reparameterize", mu=mu, logvar=logvar, seed=seed, **options)


def samples(ask, rng, mu, logvar, seed=None, *, repeat=1, **options):
    results = as_list(
        request(ask, rng, mu, logvar, seed, repeat=repeat, **options)["results"], repeat, "The results"
    )
    for z in results:
        expect(isinstance(z, torch.Tensor), "What reparameterize returns", describe(z), "z")
    return [as_tensor(z, mu.shape, "z") for z in results]


def sample(ask, rng, mu, logvar, seed=None, **options):
    return samples(ask, rng, mu, logvar, seed, **options)[0]
