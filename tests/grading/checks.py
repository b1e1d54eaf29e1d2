"""Comparisons that explain themselves: what was seen, what was expected, and the equation."""

import itertools
import math

import pytest
import torch

SIGMAS = 5  # standard errors that a statistic of the right noise may be off


def fail(what, seen, expected, equation):
    """End the test with a message for the student."""
    pytest.fail(
        f"{what}\n    seen:     {seen}\n    expected: {expected}\n    equation: {equation}", pytrace=False
    )


def expect(condition, what, seen, expected, equation):
    if not condition:
        fail(what, seen, expected, equation)


def expect_close(seen, expected, what, equation, tolerance=3e-5):
    """Compare numbers or tensors; the tolerance is relative to the largest expected value, or to 1."""
    seen, expected = torch.as_tensor(seen).detach().double(), torch.as_tensor(expected).detach().double()
    shapes = tuple(seen.shape), tuple(expected.shape)
    expect(shapes[0] == shapes[1], f"{what}: wrong shape", *shapes, equation)
    error = (seen - expected).abs() / expected.abs().max().clamp(min=1)
    if (error <= tolerance).all():  # nan is not
        return
    worst = tuple(map(int, torch.unravel_index(error.nan_to_num(math.inf).argmax(), error.shape)))
    where = f" at index {worst}" if worst else ""
    fail(f"{what} is wrong{where}", f"{seen[worst]:.7g}", f"{expected[worst]:.7g}", equation)


def expect_noise(z, what, equation, **others):
    """Check that standardised residuals are independent draws of N(0, 1).

    Args:
        z: residuals (B, ...), B at least 2; a row for each row of the batch.
        what, equation: for the message.
        others: tensors of z's shape, by name, that z must be independent of.
    """
    z = z.detach().double()
    for power, name, expected, variance in (
        (1, "mean", 0, 1),
        (2, "variance", 1, 2),
        (4, "fourth moment", 3, 96),
    ):
        bound = SIGMAS * math.sqrt(variance / z.numel())
        seen = z.pow(power).mean().item()
        expect(
            abs(seen - expected) <= bound,
            f"{what}: its noise, divided by the standard deviation it must have, has a wrong {name}",
            f"{seen:.4f}",
            f"{expected} +- {bound:.4f}, as z ~ N(0, 1) has",
            equation,
        )
    rows, dims = z.flatten(1), range(1, z.dim())
    pairs = {f"row {j}'s noise": (rows[i], rows[j]) for i, j in itertools.combinations(range(len(z)), 2)}
    pairs |= {f"its neighbour's (dim {dim})": (z, z.roll(1, dim)) for dim in dims if z.shape[dim] > 2}
    pairs |= {name: (z, other.double()) for name, other in others.items()}
    for name, (a, b) in pairs.items():
        seen = ((a * b).sum() / (b.square().sum() * a.numel()).sqrt()).item()
        bound = SIGMAS / math.sqrt(a.numel())
        expect(
            abs(seen) <= bound,
            f"{what}: what must be noise depends on {name}; a part of the equation differs",
            f"correlation {seen:.4f}",
            f"0 +- {bound:.4f}",
            equation,
        )


def awaken(model, generator, scale=0.05):
    """Move all weights a little and return the model: layers may start at zero, and would show nothing."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return model


def gradients(output, inputs):
    """Return the gradients of a weighted sum of output by each input: zeros where it has none."""
    if not output.requires_grad:
        return [torch.zeros_like(value) for value in inputs]
    weights = torch.linspace(1, 2, output.numel(), dtype=output.dtype).view_as(output)
    return torch.autograd.grad(
        output, inputs, weights, retain_graph=True, allow_unused=True, materialize_grads=True
    )
