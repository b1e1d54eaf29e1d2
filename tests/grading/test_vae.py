"""HW3/vae.py: the encoder's Gaussian, sampling from it, the decoder, and the loss."""

import pytest
import torch

from tests.grading import papers
from tests.grading.checks import awaken, expect, expect_close, expect_noise, gradients

REPARAMETERIZE = "z = mu + exp(logvar / 2) eps, eps ~ N(0, I), section 2.4 of Kingma and Welling"
FORWARD = "recon = decode(reparameterize(mu, logvar)), mu, logvar = encode(x)"
MSE = "rec = sum (recon - x)^2"
BCE = "rec = sum -[x log(recon) + (1 - x) log(1 - recon)]"
KL = "kl = -1/2 sum (1 + logvar - mu^2 - exp(logvar)), appendix B of Kingma and Welling"
TOTAL = "total = rec + kl_weight * kl"
CANONICAL = "-z where mean(decode(z)) > threshold, otherwise z"


@pytest.fixture
def images(rng):
    return torch.rand(6, 1, 32, 32, generator=rng)


@pytest.mark.points(2)
def test_encode(vae, images, rng):
    """encode returns mu and logvar of each image"""
    for latent_dim in (7, 100):
        model = awaken(vae.ConvVAE(latent_dim=latent_dim), rng).eval()
        outputs = model.encode(images)
        expect(len(outputs) == 2, "What encode returns", f"{len(outputs)} values", "mu, logvar", FORWARD)
        alone = zip(*(model.encode(image[None]) for image in images), strict=True)
        for name, output, rows in zip(("mu", "logvar"), outputs, alone, strict=True):
            shape = (len(images), latent_dim)
            expect(output.flatten(1).shape == shape, f"{name}'s shape", tuple(output.shape), shape, FORWARD)
            expect(output.std(dim=0).min() > 0, f"{name} of different images", "equal", "different", FORWARD)
            expect_close(
                output,
                torch.cat(rows),
                f"{name} of a batch, against each image alone (in eval mode),",
                FORWARD,
            )
        expect(not torch.equal(*outputs), "mu and logvar", "the same values", "two outputs", FORWARD)
    expect(
        vae.ConvVAE().encode(images)[0].flatten(1).shape == (6, 100), "latent_dim", "not 100", 100, FORWARD
    )


@pytest.mark.points(2)
def test_decode(vae, images, rng):
    """decode returns images in [0, 1]"""
    model = awaken(vae.ConvVAE(latent_dim=7), rng).eval()
    z = torch.randn(model.encode(images)[0].shape, generator=rng)
    for scale in (1, 100):
        recon = model.decode(scale * z)
        shape = tuple(images.shape)
        expect(recon.shape == shape, "The shape of decoded images", tuple(recon.shape), shape, FORWARD)
        seen = f"{recon.min():.4f} to {recon.max():.4f}"
        expect(0 <= recon.min() and recon.max() <= 1, "The range of decoded images", seen, "[0, 1]", FORWARD)
        expect(recon.std(dim=0).max() > 0, "Images of different latents", "equal", "different", FORWARD)
        alone = torch.cat([model.decode(scale * row[None]) for row in z])
        expect_close(recon, alone, "A batch of images, against each decoded alone (in eval mode),", FORWARD)


@pytest.mark.points(5)
def test_reparameterize(vae, rng):
    """reparameterize draws z from N(mu, exp(logvar)), differentiably"""
    model = vae.ConvVAE(latent_dim=100).train()
    mu, logvar = (torch.randn(200, 100, generator=rng) * scale for scale in (3, 2))
    mu.requires_grad_(), logvar.requires_grad_()
    z = model.reparameterize(mu, logvar)
    expect(z.shape == mu.shape, "The shape of z", tuple(z.shape), tuple(mu.shape), REPARAMETERIZE)
    eps = (z.double() - mu.double()) / (logvar.double() / 2).exp()
    expect_noise(eps[:8], "z", REPARAMETERIZE)  # rows against each other
    expect_noise(eps.reshape(8, -1), "z", REPARAMETERIZE, mu=mu.reshape(8, -1), logvar=logvar.reshape(8, -1))
    again = (model.reparameterize(mu, logvar).double() - mu.double()) / (logvar.double() / 2).exp()
    expect_noise(again[:8], "z, drawn again,", REPARAMETERIZE, the_first_draw=eps[:8].detach())

    by_mu, by_logvar = gradients(z.sum(), (mu, logvar))
    expect_close(by_mu, torch.ones_like(mu), "The derivative of z by mu", "dz / dmu = 1")
    slope = eps * (logvar.double() / 2).exp() / 2
    expect_close(by_logvar, slope, "The derivative of z by logvar", "dz / dlogvar = exp(logvar / 2) eps / 2")


@pytest.mark.points(2)
def test_forward(vae, images, rng, seed):
    """forward returns the decoded sample, mu and logvar"""
    model = awaken(vae.ConvVAE(latent_dim=7), rng).train()
    outputs = model(images)
    expect(len(outputs) == 3, "What forward returns", f"{len(outputs)} values", "recon, mu, logvar", FORWARD)
    torch.manual_seed(seed)
    outputs = model(images)
    torch.manual_seed(seed)
    mu, logvar = model.encode(images)
    expected = model.decode(model.reparameterize(mu, logvar)), mu, logvar
    for name, seen, value in zip(("recon", "mu", "logvar"), outputs, expected, strict=True):
        expect_close(seen, value, f"forward's {name}, with the same random numbers,", FORWARD)
    slope = gradients(model(images.requires_grad_())[0], [images])[0].abs().amax(dim=(1, 2, 3))
    expect(slope.min() > 0, "The slope of recon by the images", slope.tolist(), "none is zero", FORWARD)


@pytest.fixture
def loss_arguments(rng):
    """recon and x in (0, 1); mu and logvar of order one."""
    recon, x = (0.05 + 0.9 * torch.rand(3, 1, 32, 32, generator=rng) for _ in range(2))
    mu, logvar = torch.randn(3, 20, generator=rng) * 2, torch.randn(3, 20, generator=rng)
    return [tensor.requires_grad_() for tensor in (recon, x, mu, logvar)]


@pytest.mark.points(3)
def test_reconstruction_loss(vae, loss_arguments):
    """vae_loss: the reconstruction term, `mse` or `bce`, is a sum"""
    recon, x, *_ = loss_arguments
    for loss_type, formula, equation in (
        ("mse", papers.squared_error, MSE),
        ("bce", papers.binary_cross_entropy, BCE),
    ):
        _, rec, _ = vae.vae_loss(*loss_arguments, loss_type=loss_type)
        expect_close(rec, formula(recon, x), f"rec for loss_type={loss_type!r}", equation)
    _, rec, _ = vae.vae_loss(*loss_arguments)
    expect_close(rec, papers.squared_error(recon, x), "rec for the default loss_type", MSE)


@pytest.mark.points(4)
def test_kl_loss(vae, loss_arguments):
    """vae_loss: the KL term is a sum, and total weighs it"""
    recon, x, mu, logvar = loss_arguments
    kl_expected = papers.kl_divergence(mu, logvar)
    for weight, options in ((1.0, {}), (0.25, {"kl_weight": 0.25}), (0.0, {"kl_weight": 0.0})):
        for loss_type, formula in (("mse", papers.squared_error), ("bce", papers.binary_cross_entropy)):
            total, _, kl = vae.vae_loss(*loss_arguments, loss_type=loss_type, **options)
            expect_close(kl, kl_expected, f"kl with kl_weight = {weight}", KL)
            expected = formula(recon, x) + weight * kl_expected
            expect_close(total, expected, f"total with kl_weight = {weight}, {loss_type}", TOTAL)
            inputs = (recon, mu, logvar)
            slopes = zip(gradients(total, inputs), gradients(expected, inputs), strict=True)
            for name, (seen, wanted) in zip(("recon", "mu", "logvar"), slopes, strict=True):
                expect_close(seen, wanted, f"The gradient of total by {name}", f"{TOTAL}; {KL}", 1e-4)


@pytest.mark.points(2)
def test_canonicalize_latent(vae, images, rng):
    """canonicalize_latent flips latents of bright images"""
    for _ in range(6):  # models, because the images of one are all about as bright
        model = awaken(vae.ConvVAE(latent_dim=7), rng, scale=0.2).eval()
        z = torch.randn(64, *model.encode(images)[0].shape[1:], generator=rng)
        brightness = model.decode(z).mean(dim=(1, 2, 3))
        for threshold in (0.5, *brightness.quantile(torch.tensor([0.25, 0.75])).tolist()):
            options = {} if threshold == 0.5 else {"threshold": threshold}
            clear = (brightness - threshold).abs() > 1e-5
            sign = torch.where(brightness > threshold, -1, 1).view(-1, *[1] * (z.dim() - 1))
            seen, expected = model.canonicalize_latent(z.clone(), **options), sign * z
            shapes = tuple(seen.shape), tuple(z.shape)
            expect(shapes[0] == shapes[1], "The shape of the latents", *shapes, CANONICAL)
            what = f"A latent, with threshold {threshold:.4f},"
            expect_close(seen[clear], expected[clear], what, CANONICAL)
