"""HW3/Unet.py: a noise predictor for images, and the condition, here and in HW3/mlp.py."""

import pytest
import torch

from tests.grading.checks import awaken
from tests.grading.predictors import expect_condition, expect_rows_apart, expect_shape, expect_time

SMALL = {"base_channels": 16, "channel_mults": (1, 2)}


@pytest.mark.points(2)
def test_shape(Unet, rng):
    """UNet predicts noise in the shape of its input"""
    for in_channels, size, options in ((1, 32, {}), (3, 16, SMALL), (2, 32, {**SMALL, "time_dim": 24})):
        model = awaken(Unet.UNet(in_channels=in_channels, **options), rng).eval()
        expect_shape(model, torch.randn(2, in_channels, size, size, generator=rng), rng)


@pytest.mark.points(2)
def test_time(Unet, rng):
    """UNet tells timesteps apart, row by row"""
    model = awaken(Unet.UNet(**SMALL), rng).eval()
    expect_time(model, torch.randn(1, 1, 32, 32, generator=rng))


@pytest.mark.points(2)
def test_rows(Unet, rng):
    """UNet sees all pixels of a row and no other row"""
    model = awaken(Unet.UNet(**SMALL), rng).eval()
    expect_rows_apart(model, torch.randn(3, 1, 32, 32, generator=rng))


@pytest.mark.points(6)
def test_condition(Unet, mlp, rng):
    """The conditional path of the noise predictor: UNet and EpsMLP"""
    cond = torch.nn.functional.normalize(torch.randn(4, 6, generator=rng), dim=1)
    unet = Unet.UNet(**SMALL, cond_dim=6)
    eps_mlp = mlp.EpsMLP(latent_dim=12, cond_dim=6)
    for model, shape in ((unet, (1, 32, 32)), (eps_mlp, (12,)), (eps_mlp, (12, 1, 1))):
        model = awaken(model, rng).eval()
        expect_condition(model, torch.randn(4, *shape, generator=rng), cond)
