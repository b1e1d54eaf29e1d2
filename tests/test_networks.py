"""The networks: shapes, that every input matters, and that rows of a batch do not know one another."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from HW3.clip import TinyCLIP
from HW3.mlp import EpsMLP
from HW3.Unet import ResBlock, UNet, adaptive_group_norm
from HW3.vae import ConvVAE

SMALL = {"base_channels": 16, "channel_mults": (1, 2)}
TIMESTEPS = torch.tensor([0, 1, 2, 50, 500, 998, 999])


def awake(model):
    """Move all weights a little and return the model in evaluation mode: layers may start at zero."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


PREDICTORS = {
    "UNet": (lambda: UNet(**SMALL), (1, 32, 32)),
    "UNet of three channels": (lambda: UNet(in_channels=3, **SMALL, time_dim=24), (3, 16, 16)),
    "default UNet": (UNet, (1, 32, 32)),
    "EpsMLP": (lambda: EpsMLP(12), (12,)),
    "EpsMLP for maps": (lambda: EpsMLP(5, time_dim=32, hidden_dim=64), (5, 1, 1)),
}
CONDITIONAL = {
    "UNet": (lambda: UNet(**SMALL, cond_dim=6), (1, 32, 32)),
    "EpsMLP": (lambda: EpsMLP(12, cond_dim=6), (12,)),
}


@pytest.mark.parametrize("name", PREDICTORS)
def test_noise_predictor_sees_time_and_all_of_its_row(name):
    build, shape = PREDICTORS[name]
    model = awake(build())
    x = torch.randn(3, *shape, requires_grad=True)
    eps_pred = model(x, torch.tensor([7, 7, 7]))
    assert eps_pred.shape == x.shape
    slope = torch.autograd.grad(eps_pred[1].sum(), x)[0]
    assert slope[1].ne(0).float().mean() > 0.9 and not slope[[0, 2]].any()
    with torch.no_grad():
        same = x[:1].expand(len(TIMESTEPS), *shape)
        eps_pred = model(same, TIMESTEPS)
        assert torch.pdist(eps_pred.flatten(1)).min() > 1e-5
        alone = torch.cat([model(x[:1], t[None]) for t in TIMESTEPS])
        torch.testing.assert_close(eps_pred, alone, atol=3e-5, rtol=0)


@pytest.mark.parametrize("name", CONDITIONAL)
def test_noise_predictor_sees_all_of_its_condition(name):
    build, shape = CONDITIONAL[name]
    model = awake(build())
    x, t = torch.randn(4, *shape), torch.full((4,), 7)
    cond = F.normalize(torch.randn(4, 6), dim=1).requires_grad_()
    eps_pred = model(x, t, cond)
    slope = torch.autograd.grad(eps_pred[1].sum(), cond)[0]
    assert slope[1].ne(0).all() and not slope[[0, 2, 3]].any()
    with torch.no_grad():
        torch.testing.assert_close(model(x, t), model(x, t, torch.zeros(4, 6)))
        assert (model(x, t + 500, cond) - eps_pred).abs().max() > 1e-5
    with pytest.raises(ValueError, match="cond"):
        model(x, t, cond[:2])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.bfloat16, 0.04)])
@pytest.mark.parametrize("shape", [(3, 16, 8, 8), (2, 24, 5, 7), (1, 8, 1, 2)])
def test_adaptive_group_norm_is_a_norm_then_scaled_and_shifted(shape, dtype, tolerance):
    """Also its gradients, against the two steps done one after the other."""
    torch.manual_seed(0)
    norm = awake(nn.GroupNorm(8, shape[1]).double())
    h = (3 + 2 * torch.randn(shape)).to(dtype).double()  # numbers that bf16 can hold
    inputs = [h, torch.randn(shape[:2]).double(), torch.randn(shape[:2]).double()]
    direction = torch.randn(shape)

    def results(function, norm, *inputs):
        leaves = [*(value.detach().clone().requires_grad_() for value in inputs), *norm.parameters()]
        value = function(norm, *leaves[:3])
        return value, *torch.autograd.grad(value, leaves, direction.to(value.dtype))

    def steps(norm, h, scale, shift):
        return norm(h) * (1 + scale[:, :, None, None]) + shift[:, :, None, None]

    expected = results(steps, norm, *inputs)
    other = torch.float64 if dtype == torch.float64 else torch.float32
    norm = copy.deepcopy(norm).to(other)
    seen = results(adaptive_group_norm, norm, h.to(dtype), *(value.to(other) for value in inputs[1:]))
    for value, wanted in zip(seen, expected, strict=True):
        error = (value.double() - wanted).abs().max() / wanted.abs().max().clamp(min=1e-3)
        assert error < tolerance


def test_residual_block_is_what_its_docstring_says():
    """In double precision, which tells scale from shift, as no test that trains does."""
    block = awake(ResBlock(16, 24, 12)).double()
    x, embedding = torch.randn(3, 16, 6, 4).double(), torch.randn(3, 12).double()
    scale, shift = block.scale_shift(F.silu(embedding))[:, :, None, None].chunk(2, dim=1)
    h = block.norm2(block.conv1(F.silu(block.norm1(x)))) * (1 + scale) + shift
    expected = block.skip(x) + block.conv2(F.silu(h))
    torch.testing.assert_close(block(x, embedding), expected, rtol=1e-12, atol=1e-12)


def test_mlp_takes_vectors_and_maps():
    model, z, t = awake(EpsMLP(100)), torch.randn(3, 100), torch.tensor([0, 999, 3])
    torch.testing.assert_close(model(z[:, :, None, None], t).flatten(1), model(z, t))


def test_vae_encodes_and_decodes_row_by_row():
    model, x = awake(ConvVAE(latent_dim=7)), torch.rand(6, 1, 32, 32)
    mu, logvar = model.encode(x)
    assert mu.shape == logvar.shape == (6, 7) and not torch.equal(mu, logvar)
    assert mu.std(dim=0).min() > 0 and logvar.std(dim=0).min() > 0
    torch.testing.assert_close(torch.cat([model.encode(row[None])[0] for row in x]), mu)
    for scale in (1, 100):
        z = scale * torch.randn(6, 7)
        recon = model.decode(z)
        assert recon.shape == x.shape and 0 <= recon.min() and recon.max() <= 1
        assert recon.std(dim=0).max() > 0
        torch.testing.assert_close(torch.cat([model.decode(row[None]) for row in z]), recon)


def test_vae_forward_is_made_of_its_parts():
    model, x = awake(ConvVAE(latent_dim=7)).train(), torch.rand(6, 1, 32, 32)
    torch.manual_seed(1)
    seen = model(x)
    torch.manual_seed(1)
    mu, logvar = model.encode(x)
    torch.testing.assert_close(seen, (model.decode(model.reparameterize(mu, logvar)), mu, logvar))


@pytest.mark.parametrize(("options", "channels", "dim"), [({}, 1, 128), ({"embed_dim": 16}, 3, 16)])
def test_clip_embeds_as_unit_vectors(options, channels, dim):
    model = awake(TinyCLIP(in_channels=channels, **options))
    x = torch.rand(5, channels, 32, 32) * torch.linspace(0.2, 1, 5).view(-1, 1, 1, 1)
    images, labels = model.forward_image(x), model.class_embeddings()
    assert images.shape == (5, dim) and labels.shape == (10, dim)
    for vectors in (images, labels):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(vectors)))
        assert torch.pdist(vectors).min() > 1e-4
    torch.testing.assert_close(torch.cat([model.forward_image(row[None]) for row in x]), images)
    assert torch.equal(model.predict(x), (images @ labels.T).argmax(dim=1))


def test_clip_pools_as_if_after_the_relu():
    """The order that saves time changes no number; checkpoints of the other order stay what they were."""
    model, x = awake(TinyCLIP()), torch.rand(4, 1, 32, 32)
    layers = list(model.image_encoder.layers)
    places = [i for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    assert len(places) == 3
    for place in places:
        layers[place : place + 2] = reversed(layers[place : place + 2])
    assert torch.equal(nn.Sequential(*layers)(x), model.image_encoder(x))
