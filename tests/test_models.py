"""The parts around the equations: averages, learning rates, latent space, seeds, losses."""

import math

from HW3.support.process import RunError, UsageError

import pytest
import torch
from torch import nn

from HW3 import optim
from HW3.diffusion import DiffusionConfig, GaussianDiffusion
from HW3.ema import EMA
from HW3.optim import Muon, orthogonalize, width_scaled
from HW3.support import runtime
from HW3.support.restore import restore_space
from HW3.Unet import UNet
from HW3.vae import ConvVAE, LatentSpace
from tests.benchmarks.trials import CANDIDATES


def test_ema_follows_its_recursion():
    model = nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1))
    ema = EMA(model, decay=0.5)
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    for n in range(4):
        with torch.no_grad():
            model[0].weight += 1
            model[1].running_mean += 1
            model[1].num_batches_tracked += 1
        ema.update(model)
        d = min(0.5, (1 + n) / (10 + n))
        for name, value in model.state_dict().items():
            expected[name] = d * expected[name] + (1 - d) * value if value.is_floating_point() else value
    for name, value in ema.model.state_dict().items():
        torch.testing.assert_close(value, expected[name])
    assert not any(parameter.requires_grad for parameter in ema.model.parameters())
    with pytest.raises(ValueError, match="decay"):
        EMA(model, decay=1.0)


def test_learning_rates_follow_the_fan_in():
    model = nn.Sequential(nn.Conv2d(256, 4, 3), nn.Conv2d(64, 4, 3), nn.Conv2d(8, 4, 3), nn.Linear(512, 4))
    rates = {id(p): group["lr"] for group in width_scaled(model, 0.1) for p in group["params"]}
    assert len(rates) == len(list(model.parameters()))
    assert [rates[id(layer.weight)] for layer in model] == pytest.approx([0.2, 0.8, 1.0, 0.9])
    assert all(rates[id(layer.bias)] == pytest.approx(1.0) for layer in model)


def test_orthogonalize_keeps_the_directions_and_makes_them_equally_long():
    torch.manual_seed(0)
    shapes = [(3, 5, 40), (2, 40, 5), (1, 8, 8), (4, 1, 9), (2, 5, 7), (1, 5, 5)]
    bases = [torch.linalg.svd(torch.randn(shape), full_matrices=False) for shape in shapes]
    stacks = [u * torch.linspace(200, 1000, u.shape[2]) @ v for u, _, v in bases]
    for (u, _, v), matrices, result in zip(bases, stacks, orthogonalize(stacks), strict=True):
        assert result.shape == matrices.shape
        lengths = u.mT @ result @ v.mT  # diagonal, if the directions are the same
        diagonal = lengths.diagonal(dim1=1, dim2=2)
        torch.testing.assert_close(lengths, torch.diag_embed(diagonal), atol=1e-4, rtol=0)
        assert ((diagonal > 0.6) & (diagonal < 1.3)).all()
    for zeros in orthogonalize([torch.zeros_like(stack) for stack in stacks]):
        assert zeros.count_nonzero() == 0


def test_muon_steps_as_far_whatever_the_gradient_and_ever_less_far(monkeypatch):
    monkeypatch.setattr(optim, "STEADY_STEPS", 10)
    layer = nn.Conv2d(4, 2, 3)
    unused = nn.Parameter(torch.ones(3))
    optimizer = Muon([*layer.parameters(), unused], lr=1e-3)
    lengths = []
    for n in range(1, 41):
        scale = 10.0 ** (n % 5)
        before = layer.weight.detach().clone(), layer.bias.detach().clone()
        layer.weight.grad, layer.bias.grad = scale * torch.ones(2, 4, 3, 3), -scale * torch.ones(2)
        optimizer.step()
        weight_step, bias_step = layer.weight.detach() - before[0], layer.bias.detach() - before[1]
        assert (weight_step < 0).all() and (bias_step > 0).all()
        lengths.append((weight_step.norm(), bias_step.norm()))
    first, last = lengths[0], lengths[-1]
    assert all(0.06 < length < 0.13 for length in first)  # 100 lr, nearly; one direction only
    torch.testing.assert_close(last, tuple(length / 4 for length in first), rtol=0.05, atol=0)
    assert unused.equal(torch.ones(3))


def test_latents_are_centred_and_scaled_by_one_number_and_back():
    torch.manual_seed(0)
    space = LatentSpace(ConvVAE(latent_dim=5))
    x = torch.rand(64, 1, 32, 32)
    z = space.encode([(x[:40], None), (x[40:], None)], fit=True)
    assert z.shape == (64, 5, 1, 1) and space.std.shape == ()
    torch.testing.assert_close(z.mean(dim=0), torch.zeros(5, 1, 1))
    torch.testing.assert_close(z.square().mean(), torch.ones(()))
    mu, _ = space.vae.encode(x)
    torch.testing.assert_close(space.decode(z), space.vae.decode(mu))
    again = restore_space(space.state())
    torch.testing.assert_close(again.encode([(x[:9], None)], fit=False), z[:9])
    torch.testing.assert_close(again.decode(z), space.decode(z))


def test_latents_are_flipped_where_they_decode_to_bright_images():
    torch.manual_seed(0)
    space = LatentSpace(ConvVAE(latent_dim=5), canonicalize=True)
    x = torch.rand(64, 1, 32, 32)
    mu, _ = space.vae.encode(x)
    flipped = space.vae.canonicalize_latent(mu)
    assert not torch.equal(flipped, mu)
    z = space.encode([(x, None)], fit=True)
    torch.testing.assert_close(z.flatten(1) * space.std + space.mean, flipped)
    torch.testing.assert_close(space.decode(z), space.vae.decode(space.vae.canonicalize_latent(flipped)))


def test_samplers_repeat_with_a_generator():
    torch.manual_seed(0)
    model = UNet(base_channels=8, channel_mults=(1, 2)).eval()
    diffusion = GaussianDiffusion(model, DiffusionConfig.scaled(5, image_size=8))
    for draw in (diffusion.sample_ddpm, lambda *a, **k: diffusion.sample_ddim(*a, steps=3, eta=0.5, **k)):
        first, second, other = (
            draw(2, "cpu", generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
        )
        assert torch.equal(first, second) and not torch.equal(first, other)


@pytest.mark.parametrize("timesteps", [2, 10, 100, 1000, 4000])
def test_scaled_schedule_ends_in_noise(timesteps):
    alpha_bars = GaussianDiffusion(None, DiffusionConfig.scaled(timesteps)).alpha_bars
    assert alpha_bars[-1] < 1e-3


def test_seeds_are_well_mixed():
    seeds = {runtime.derive_seed(seed, epoch, use) for seed in range(9) for epoch in range(9) for use in "ab"}
    assert len(seeds) == 162 and all(0 <= seed < 2**63 for seed in seeds)
    assert runtime.derive_seed(1, 2, "a") == runtime.derive_seed(1, 2, "a")


def test_losses_are_means_over_images(tmp_path):
    losses = runtime.Losses(3, 5, tmp_path / "x.pt", "loss", "rec")
    losses.add(3, torch.tensor(1.0), torch.tensor(10.0))
    losses.add(1, torch.tensor(5.0), torch.tensor(30.0))
    assert losses.means() == {"loss": 2.0, "rec": 15.0}
    with pytest.raises(RunError, match="epoch 3, step 3: loss inf, rec 1; nothing was saved"):
        losses.add(1, torch.tensor(float("inf")), torch.tensor(1.0))


def test_a_torchvision_that_does_not_fit_is_explained(monkeypatch):
    def fail(module):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(runtime.importlib, "import_module", fail)
    with pytest.raises(UsageError, match="pip install -r requirements.txt"):
        runtime.import_torchvision("torchvision.utils")


def test_rounding_takes_no_step_below_zero():
    betas = {
        "beta_start": 0.002557596838626165,
        "beta_end": 0.11707660286421312,
    }  # what is left is -1e-16 here
    config = DiffusionConfig(image_size=2, timesteps=1000, **betas)
    diffusion = GaussianDiffusion(lambda x, t: x, config)
    assert diffusion.sample_ddim(2, "cpu", steps=2, eta=1.0).shape == (2, 1, 2, 2)


def test_constant_betas_are_a_schedule():
    assert DiffusionConfig(timesteps=10, beta_start=0.1, beta_end=0.1).betas().unique().numel() == 1


def test_clipped_ddim_step_follows_the_noise_of_the_clipped_prediction():
    diffusion = GaussianDiffusion(None, DiffusionConfig(clip_x0=True))
    x_t, eps, t, t_prev = torch.full((1, 1, 1, 1), 3.0), torch.zeros(1, 1, 1, 1), 500, 400
    x0_pred = diffusion.predict_x0(x_t, torch.tensor([t]), eps)
    assert x0_pred.item() == 1
    alpha_bar, alpha_bar_prev = diffusion.alpha_bars[[t, t_prev]].double()
    agreeing = (3 - alpha_bar.sqrt()) / (1 - alpha_bar).sqrt()
    expected = alpha_bar_prev.sqrt() + (1 - alpha_bar_prev).sqrt() * agreeing
    seen = diffusion.ddim_step(x_t, eps, x0_pred, t, t_prev, eta=0.0)
    assert seen.item() == pytest.approx(expected.item(), rel=1e-5)


def test_unet_turns_from_its_output_to_x_by_the_angle():
    unet, x, t = UNet(), torch.randn(2, 1, 32, 32), torch.tensor([3, 700])
    embedding = torch.nn.functional.silu(unet.embedding(t)).detach()
    with torch.no_grad():
        network = 2**0.5 * unet(x, t) - x  # an untrained one is at pi / 4
        # phi = pi / 2 at the first t, 0 at the second
        unet.angle.copy_(torch.linalg.pinv(embedding) @ torch.tensor([math.pi / 4, -math.pi / 4]))
        torch.testing.assert_close(unet(x, t), torch.stack([x[0], network[1]]), atol=1e-4, rtol=0)


def test_trials_and_package_mean_the_same_network():
    """The last candidate of tests/benchmarks/trials.py is the UNet that is used."""
    last = list(CANDIDATES.values())[-1]
    unet, trial = UNet(), last.network(**last.options)
    shapes, trial_shapes = (sorted(map(tuple, (p.shape for p in m.parameters()))) for m in (unet, trial))
    assert shapes == trial_shapes
