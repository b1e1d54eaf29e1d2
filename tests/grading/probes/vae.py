"""Probes of HW3/vae.py."""

import torch

from tests.grading import toys
from tests.grading.probes.common import copy, gradients_of, plain, seed_global


def reparameterize(mu, logvar, seed, repeat=1, training=True, grad=False):
    """Call ConvVAE.reparameterize, `repeat` times from one seed of the global generator."""
    from HW3.vae import ConvVAE

    model = ConvVAE(latent_dim=mu.shape[1]).train(training)
    mu, logvar = copy(mu, grad), copy(logvar, grad)
    seed_global(seed)
    with torch.set_grad_enabled(grad):
        results = [model.reparameterize(mu, logvar) for _ in range(repeat)]
    gradients = gradients_of(results[-1], mu, logvar)
    return {
        "results": plain(results),
        "gradients": gradients,
        "arguments": plain([mu, logvar]),
        "training": model.training,
    }


def kl_divergence(mu, logvar, grad=False):
    """Call kl_divergence."""
    from HW3.vae import kl_divergence

    mu, logvar = copy(mu, grad), copy(logvar, grad)
    result = kl_divergence(mu, logvar)
    return {"result": plain(result), "gradients": gradients_of(result, mu, logvar)}


def vae_loss(recon, x, mu, logvar, grad=False, **options):
    """Call vae_loss; a ValueError is returned as text."""
    from HW3.vae import vae_loss

    recon, mu, logvar = copy(recon, grad), copy(mu, grad), copy(logvar, grad)
    try:
        results = vae_loss(recon, x, mu, logvar, **options)
    except ValueError as error:  # which the task asks for
        return {"error": str(error)[:200]}
    total = results[0] if isinstance(results, (list, tuple)) and results else None
    return {"error": None, "results": plain(results), "gradients": gradients_of(total, recon, mu, logvar)}


def canonicalize_latent(z, training=True, **options):
    """Call ConvVAE.canonicalize_latent, with `toys.decode` as decoder."""
    from HW3.vae import ConvVAE

    model = ConvVAE(latent_dim=z.shape[1]).train(training)
    model.decode = toys.decode
    argument = z.clone()
    result = model.canonicalize_latent(argument, **options)
    return {
        "result": plain(result),
        "argument": plain(argument),
        "training": [module.training for module in model.modules()],
        "frozen": not all(parameter.requires_grad for parameter in model.parameters()),
    }
