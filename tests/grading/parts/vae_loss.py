"""The loss of the VAE, HW3/vae.py."""

import torch

from tests.grading import papers
from tests.grading.ask import StudentError
from tests.grading.checks import (
    Wrong,
    as_list,
    as_tensor,
    describe,
    during,
    expect,
    expect_close,
    expect_gradients,
    normal,
)

NAMES = ("total", "rec", "kl")
SIZES = ((3, 20), (1, 7), (6, 100))  # images, latent dimensions
TERMS = {"mse": papers.squared_error, "bce": papers.binary_cross_entropy}


def mse(ask, rng):
    """rec for `mse`, by name and by default."""
    for size in SIZES:
        for options in ({}, {"loss_type": "mse"}):
            compare_rec(ask, rng, size, "mse", options)


def bce(ask, rng):
    """rec for `bce`, also for pixels that are 0 or 1."""
    for size in SIZES:
        compare_rec(ask, rng, size, "bce", {"loss_type": "bce"})


def compare_rec(ask, rng, size, loss_type, options):
    for extreme in (False, True):
        recon, x, mu, logvar = arguments(rng, *size, margin=0.001)
        x = x.round() if extreme else x
        seen = results(ask, recon, x, mu, logvar, options)["rec"]
        squares = TERMS[loss_type](recon, x)
        what = f"rec for {words(options)}, {size[0]} images"
        for name, other in (("mean", squares.mean()), ("mean over the images", squares.sum() / size[0])):
            if abs(seen - other) < 1e-4 * other and abs(other - squares.sum()) > 1e-3 * other:
                raise Wrong(what, f"{seen:.6g}, the {name}", f"{squares.sum():.6g}, the sum")
        expect_close(seen, squares.sum(), what)


def kl(ask, rng):
    """kl, which does not depend on loss_type or kl_weight."""
    for size in SIZES:
        for options in ({}, {"loss_type": "bce", "kl_weight": 0.3}, {"kl_weight": 0.0}, {"kl_weight": 2.5}):
            recon, x, mu, logvar = arguments(rng, *size)
            seen = results(ask, recon, x, mu, logvar, options)["kl"]
            expected = papers.kl_divergence(mu, logvar).sum()
            what = f"kl for {words(options)}, {size[0]} images, {size[1]} dimensions"
            expect_close(seen, expected, what)


def total(ask, rng):
    """total, compared with the rec and the kl that were returned along with it."""
    for size in SIZES:
        for loss_type in ("mse", "bce"):
            for weight in (None, 0.0, 0.25, 1.0, 4.0):
                options = {"loss_type": loss_type} | ({} if weight is None else {"kl_weight": weight})
                seen = results(ask, *arguments(rng, *size), options)
                for name in ("rec", "kl") if size[0] > 1 else ():
                    expect(seen[name] != 0, f"{name} for {words(options)}", "0", "what total is made of")
                expected = seen["rec"] + (1.0 if weight is None else weight) * seen["kl"]
                expect_close(
                    seen["total"], expected, f"total for {words(options)}, compared with its rec and kl,"
                )


def loss_type(ask, rng):
    """The two loss_types, which raise nothing, and others."""
    for name in ("mse", "bce"):
        error = request(ask, *arguments(rng, 2, 5), {"loss_type": name})["error"]
        expect(error is None, f"vae_loss with loss_type = {name!r}", f"ValueError: {error}", "no error")
    for name in ("l1", "", "MSE", "mse_loss", "bernoulli", "bce_loss", " mse", None):
        what = f"vae_loss with loss_type = {name!r}"
        try:
            reply = request(ask, *arguments(rng, 2, 5), {"loss_type": name})
        except StudentError as error:
            raise Wrong(what, f"{error.kind}: {error.message}"[:300], "a ValueError") from None
        seen = f"no error, but {describe(reply.get('results'))}"
        expect(reply["error"] is not None, what, seen, "a ValueError")


def gradients(ask, rng):
    """The gradients of total."""
    for name in ("mse", "bce"):
        for weight in (1.0, 0.25):
            recon, x, mu, logvar = arguments(rng, 3, 6)
            options = {"loss_type": name, "kl_weight": weight}

            def call(recon, mu, logvar, grad, x=x, options=options):
                reply = request(ask, recon, x.double(), mu, logvar, {**options, "grad": grad})
                expect(reply["error"] is None, f"vae_loss for {words(options)}", reply["error"], "no error")
                values = as_list(reply["results"], 3, "What vae_loss returns: total, rec, kl")
                return as_tensor(values[0], (), "total"), reply["gradients"]

            inputs = {"recon": recon, "mu": mu, "logvar": logvar}
            expect_gradients(call, inputs, rng, f"total for {words(options)}")


def arguments(rng, images, dims, margin=0.05):
    """Return recon and x in (margin, 1 - margin), mu and logvar of order one."""
    recon, x = (margin + (1 - 2 * margin) * torch.rand(images, 1, 32, 32, generator=rng) for _ in range(2))
    return recon, x, normal(rng, images, dims, scale=2), normal(rng, images, dims)


def words(options):
    return ", ".join(f"{name} = {value!r}" for name, value in options.items()) or "the defaults"


def request(ask, recon, x, mu, logvar, options):
    with during(f"vae_loss for {words({k: v for k, v in options.items() if k != 'grad'})}"):
        return ask("vae_loss", recon=recon, x=x, mu=mu, logvar=logvar, **options)


def results(ask, recon, x, mu, logvar, options):
    """Return total, rec and kl by name."""
    reply = request(ask, recon, x, mu, logvar, options)
    expect(
        reply["error"] is None, f"vae_loss for {words(options)}", f"ValueError: {reply['error']}", "no error"
    )
    values = as_list(reply["results"], 3, "What vae_loss returns: total, rec, kl")
    named = zip(NAMES, values, strict=True)
    return {name: as_tensor(value, (), f"{name}, a sum,") for name, value in named}
