"""HW3/mlp.py: a noise predictor for latent vectors; its condition is graded with the UNet's in test_unet."""

import pytest
import torch

from tests.grading.checks import awaken, expect_close
from tests.grading.predictors import expect_rows_apart, expect_shape, expect_time


@pytest.mark.points(3)
def test_shape(mlp, rng):
    """EpsMLP predicts noise in the shape of its input, (B, D) or (B, D, 1, 1)"""
    for latent_dim, options in ((5, {"time_dim": 32, "hidden_dim": 64}), (100, {})):
        model = awaken(mlp.EpsMLP(latent_dim, **options), rng).eval()
        x, t = torch.randn(3, latent_dim, generator=rng), torch.tensor([0, 999, 3])
        both = model(x[:, :, None, None], t).flatten(1), model(x, t)
        expect_close(*both, "The prediction for (B, D, 1, 1), against (B, D),", "eps_pred = model(x, t)")
        expect_shape(model, x, rng)
        expect_shape(model, x[:, :, None, None], rng)


@pytest.mark.points(3)
def test_time(mlp, rng):
    """EpsMLP tells timesteps apart and sees its own row"""
    model = awaken(mlp.EpsMLP(latent_dim=12), rng).eval()
    x = torch.randn(3, 12, generator=rng)
    expect_time(model, x)
    expect_rows_apart(model, x)
