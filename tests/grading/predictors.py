"""What every noise predictor must do, a UNet for images or an MLP for latents.

A predictor here is `model(x, t)` or `model(x, t, cond)` in eval mode, its weights moved by `awaken`, so that
zero-initialised last layers show.
"""

import torch

from tests.grading.checks import awaken, expect, expect_close, fail, gradients

TIMESTEPS = (0, 1, 2, 50, 500, 998, 999)
CHANGE = 1e-5  # more than rounding, less than any effect of an input


def expect_shape(model, x, rng):
    """Check that the prediction has x's shape and may have any sign and size, as noise has."""
    t = torch.arange(len(x))
    seen = model(x, t)
    shape, equation = tuple(x.shape), "eps_pred = model(x, t)"
    expect(seen.shape == shape, "The shape of the prediction", tuple(seen.shape), shape, equation)
    for _ in range(10):
        eps_pred = model(x, t)
        low, high = eps_pred.min().item(), eps_pred.max().item()
        if low < -1.5 and high > 1.5:
            return
        awaken(model, rng, scale=0.5)
    seen = f"{low:.3f} to {high:.3f}"
    fail("The range of the prediction with large weights", seen, "wider on both sides", equation)


def expect_time(model, x):
    """Check that the prediction depends on t, on each row's own."""
    x, t = x[:1].expand(len(TIMESTEPS), *x.shape[1:]), torch.tensor(TIMESTEPS)
    equation = "eps_pred = model(x, t)[i] depends on t[i]"
    eps_pred = model(x, t).detach()
    distance = torch.cdist(eps_pred.flatten(1), eps_pred.flatten(1)) + torch.eye(len(t))
    closest = divmod(distance.argmin().item(), len(t))
    what = f"Predictions for the same x at t = {t[closest[0]]} and t = {t[closest[1]]}"
    expect(distance.min() > CHANGE, what, "equal", "different", equation)
    alone = torch.cat([model(x[:1], t[i : i + 1]) for i in range(len(t))])
    expect_close(eps_pred, alone, "Rows of different t, against each alone,", equation)


def expect_rows_apart(model, x):
    """Check that the prediction depends on all of its own row of x and on no other."""
    equation = "eps_pred = model(x, t)[i] depends on x[i]"
    t = torch.full((len(x),), 7)
    x = x.clone().requires_grad_()
    slope = gradients(model(x, t)[1], [x])[0]
    share = slope[1].ne(0).float().mean().item()  # a ReLU may hide one or the other
    expect(share > 0.9, "The share of a row's x that its prediction depends on", share, "all of it", equation)
    others = slope[[0, *range(2, len(x))]].abs().max().item()
    expect(others == 0, "The slope of a row's prediction by other rows of x", others, 0, equation)


def expect_condition(model, x, cond):
    """Check that the prediction depends on all of its own row's condition and on no other row's."""
    equation = "eps_pred = model(x, t, cond)[i] depends on cond[i]"
    t = torch.full((len(x),), 7)
    cond = cond.clone().requires_grad_()
    eps_pred = model(x, t, cond)
    shape = tuple(x.shape)
    expect(eps_pred.shape == shape, "The shape of the prediction", tuple(eps_pred.shape), shape, equation)
    expect_close(model(x, t, cond=cond), eps_pred, "The prediction with cond by keyword", equation)

    changed = cond.detach().clone()
    changed[1] = -changed[1]
    change = (model(x, t, changed) - eps_pred).flatten(1).abs().amax(dim=1)
    expect(change[1] > CHANGE, "How a row changes with its condition", change[1].item(), "> 0", equation)
    others = change[[0, *range(2, len(x))]].max().item()
    expect(others < CHANGE, "How rows change with another row's condition", others, 0, equation)

    slope = gradients(eps_pred[1], [cond])[0][1]
    expect(slope.ne(0).all(), "Slopes by the components of cond", slope.tolist(), "none is zero", equation)

    later = (model(x, t + 500, cond) - eps_pred).abs().max().item()
    expect(later > CHANGE, "How a conditional prediction changes with t", later, "> 0", equation)
    swapped = (model(x.flip(0), t, cond) - eps_pred).abs().max().item()
    expect(swapped > CHANGE, "How a conditional prediction changes with x", swapped, "> 0", equation)
