"""Comparisons that explain themselves. They trust no shape, type or number that comes from a submission."""

import itertools
import math
from contextlib import contextmanager

import torch

from tests.grading.ask import StudentError
from tests.grading.toys import mix

# Standard errors that a statistic of correct noise may be off: by chance less often than once in 10^9 runs.
SIGMAS = 7.5
TOLERANCE = 1e-4
NOTHING = "nothing (None); is a `return` missing?"


class Wrong(Exception):
    """A requirement that is not met, in words for the student.

    Args:
        what: the quantity, and where it was looked at.
        seen, expected: what it is and what it should be.
    """

    def __init__(self, what: str, seen: object, expected: object):
        super().__init__(what, seen, expected)
        self.what, self.seen, self.expected = what, seen, expected


def expect(condition, what, seen, expected):
    if not condition:
        raise Wrong(what, seen, expected)


@contextmanager
def during(what: str, expected: str | None = None):
    """Say in a StudentError what was asked, and, if it helps, what should have come out."""
    try:
        yield
    except StudentError as error:
        error.context, error.expected = what, expected
        raise


def as_tensor(value, shape, what):
    """Return a value of a reply as float64 tensor of that shape, all numbers finite."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = torch.tensor(float(value))
    if value is None or not isinstance(value, torch.Tensor):
        raise Wrong(what, describe(value), f"a tensor of the shape {tuple(shape)}" if shape else "a number")
    shapes = tuple(value.shape), tuple(shape)
    expect(shapes[0] == shapes[1], f"The shape of {what}", *shapes)
    value = value.detach().double()
    bad = (~value.isfinite()).sum().item()
    seen = f"{bad} of {value.numel()} numbers are nan or inf"
    expect(not bad, what, seen, "finite numbers")
    return value


def describe(value):
    """Return what a value is, in a few words."""
    if value is None:
        return NOTHING
    if isinstance(value, torch.Tensor):
        return f"a tensor of the shape {tuple(value.shape)}"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return f"{len(value)} values"
    if isinstance(value, list):
        return f"{len(value)} values: {', '.join(describe(item) for item in value[:4])}"
    return str(value)[:200]


def as_list(value, length, what):
    """Return a value of a reply as a list of that length."""
    expect(isinstance(value, list) and len(value) == length, what, describe(value), f"{length} values")
    return value


def expect_close(seen, expected, what, tolerance=TOLERANCE):
    """Compare a value of a reply; the tolerance is relative to the largest expected number, or to 1."""
    expected = torch.as_tensor(expected).detach().double()
    seen = as_tensor(seen, expected.shape, what)
    if not expected.numel():
        return
    error = (seen - expected).abs() / expected.abs().max().clamp(min=1)
    if (error <= tolerance).all():
        return
    worst = tuple(map(int, torch.unravel_index(error.argmax(), error.shape)))
    where = f" at index {worst}" if worst else ""
    raise Wrong(f"{what}{where}", f"{seen[worst]:.6g}", f"{expected[worst]:.6g}")


def expect_condition(seen, cond, what):
    """Check that a model got the condition, or none where there is none."""
    if cond is None:
        expect(seen is None, what, describe(seen), "none: the model is called without one")
        return
    same = isinstance(seen, torch.Tensor) and seen.shape == cond.shape and seen.equal(cond)
    shown = "none: the model is called without one" if seen is None else f"{describe(seen)}, other values"
    expect(same, what, shown, "cond as it was passed, (B, D)")


def expect_changes(seen, other, what):
    """Check that another argument gives another result."""
    expect((seen - other).abs().max() > 1e-4, what, "the same: it does not depend on it", "another one")


def expect_unchanged(seen, expected, what):
    """Check that an argument is as it was before the call."""
    same = isinstance(seen, torch.Tensor) and seen.shape == expected.shape and seen.equal(expected)
    expect(same, f"{what}, after the call", "it was changed in place", "left as it is")


def fit(y, *terms):
    """Return the factors that make the sum of terms closest to y, and what is left of y."""
    columns = torch.stack([term.double().flatten() for term in terms], dim=1)
    factors = torch.linalg.lstsq(columns, y.double().flatten()[:, None]).solution
    return factors.flatten().tolist(), y.double() - (columns @ factors).view_as(y)


def expect_sum(seen, terms, what, tolerance=TOLERANCE):
    """Compare a weighted sum term by term, to say which factor is wrong.

    Args:
        seen: the sum in a reply.
        terms: by name, tensors of its shape and the factors that they should have.
        what: for the message.
    """
    tensors, expected = [term for term, _ in terms.values()], [factor for _, factor in terms.values()]
    total = sum(factor * term.double() for term, factor in terms.values())
    seen = as_tensor(seen, total.shape, what)
    factors, rest = fit(seen, *tensors)
    if rest.abs().max() <= 10 * tolerance * seen.abs().max().clamp(min=1):
        for name, factor, wanted in zip(terms, factors, expected, strict=True):
            right = abs(factor - wanted) <= tolerance * max(1, abs(wanted))
            expect(right, f"{what}: the factor of {name}", f"{factor:.6g}", f"{wanted:.6g}")
    expect_close(seen, total, f"{what} is not the right sum of {' and '.join(terms)}; it", tolerance)


def expect_normal(z, what):
    """Check that z (B, ...), B at least 2, are independent draws of N(0, 1)."""
    deviation = expect_independent(z, what)
    bound = SIGMAS / math.sqrt(2 * z.numel())
    seen, expected = f"{deviation:.4f}", f"1 +- {bound:.4f}"
    expect(
        abs(deviation - 1) <= bound,
        f"{what}: its deviation, over the one that it should have,",
        seen,
        expected,
    )


def expect_independent(z, what, **others):
    """Check that z are independent draws of one normal distribution of the mean 0; return its deviation.

    Args:
        z: noise (B, ...), B at least 2.
        what: for the message.
        others: tensors of z's shape, by name, that z must be independent of.
    """
    z = z.double()
    deviation = z.square().mean().sqrt().item()
    expect(deviation > 1e-12, what, "no noise: it is 0 everywhere", "noise")
    z = z / deviation
    size = z.numel()
    for name, seen, expected, variance in (
        ("mean", z.mean().item(), 0, 1),
        ("fourth moment", z.pow(4).mean().item(), 3, 24),  # after dividing by the deviation that was seen
    ):
        bound = SIGMAS * math.sqrt(variance / size) * (1 + (variance > 1))  # the fourth power has long tails
        right = abs(seen - expected) <= bound
        expect(right, f"{what}: its {name}, over its deviation,", f"{seen:.4f}", f"{expected} +- {bound:.4f}")
    rows = z.flatten(1)
    bound = SIGMAS / math.sqrt(2 * rows.shape[1])
    for i, ratio in enumerate(rows.square().mean(dim=1).sqrt().tolist()):
        expect(
            abs(ratio - 1) <= bound,
            f"{what}: the deviation of row {i}, over that of all rows,",
            f"{ratio:.4f}",
            f"1 +- {bound:.4f}",
        )
    pairs = {
        f"that of row {j}, of row {i}": (rows[i], rows[j])
        for i, j in itertools.combinations(range(len(z)), 2)
    }
    pairs |= {
        f"its neighbor's (dim {dim})": (z, z.roll(1, dim)) for dim in range(1, z.dim()) if z.shape[dim] > 2
    }
    pairs |= {name.replace("_", " "): (z, other.double()) for name, other in others.items()}
    for name, (a, b) in pairs.items():
        expect_uncorrelated(a, b, f"{what}: its correlation with {name}")
    return deviation


def expect_uncorrelated(a, b, what):
    """Check that two equally large tensors, of which a is noise, have nothing to do with one another."""
    scale = (a.square().sum() * b.square().sum()).sqrt()
    seen = (a * b).sum().item() / max(scale.item(), 1e-300)
    bound = SIGMAS / math.sqrt(a.numel())
    expect(abs(seen) <= bound, what, f"{seen:.4f}", f"0 +- {bound:.4f}")


def expect_gradients(call, inputs, rng, what):
    """Compare gradients with difference quotients of the submission's own results.

    Args:
        call: function of the inputs, float64, by name, and of `grad`; returns the result and, with grad, the
            gradient by each input of the sum that `toys.mix` weighs.
        inputs: tensors by name.
        what: the result, for the message.
    """
    inputs = {name: value.double() for name, value in inputs.items()}
    _, gradients = call(**inputs, grad=True)
    for name, gradient in zip(inputs, as_list(gradients, len(inputs), "The gradients"), strict=True):
        missing = not isinstance(gradient, torch.Tensor) or not gradient.any()
        expect(not missing, f"The gradient of {what} by {name}", "none, or 0: it is detached", "not 0")
        gradient = as_tensor(gradient, inputs[name].shape, f"The gradient of {what} by {name}")
        direction = torch.randn(gradient.shape, generator=rng, dtype=torch.float64)
        ends = []
        for step in (1e-4, -1e-4):
            result, _ = call(**{**inputs, name: inputs[name] + step * direction}, grad=False)
            ends.append((as_tensor(result, result.shape, what) * mix(result.shape)).sum())
        quotient = ((ends[0] - ends[1]) / 2e-4).item()
        slope = (gradient * direction).sum().item()
        right = abs(slope - quotient) <= 0.01 * abs(quotient) + 0.01 * gradient.norm()
        seen = f"{slope:.5g} along a direction: a part of it is detached"
        expect(right, f"The gradient of {what} by {name}", seen, f"{quotient:.5g}, by differences")


def next_global(seed):
    """Return the numbers that torch's global generator gives first after it was seeded with `seed`."""
    return torch.rand(4, generator=torch.Generator().manual_seed(seed))


def expect_global_untouched(seen, seed, what):
    """Check that the global generator was neither used nor seeded anew; `seen` are its next numbers."""
    same = isinstance(seen, torch.Tensor) and seen.shape == (4,) and seen.equal(next_global(seed))
    expect(
        same,
        what,
        "numbers of torch's global generator were used, or it was seeded anew",
        "only `generator` is used",
    )


def normal(rng, *shape, scale=1.0):
    return scale * torch.randn(shape, generator=rng)


def draw_seed(rng):
    return int(torch.randint(1, 2**31 - 1, (), generator=rng))
