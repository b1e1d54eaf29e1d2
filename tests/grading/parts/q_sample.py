"""The forward process, HW3/diffusion.py."""

import torch

from tests.grading.checks import (
    as_list,
    as_tensor,
    describe,
    draw_seed,
    during,
    expect,
    expect_changes,
    expect_close,
    expect_gradients,
    expect_independent,
    expect_sum,
    expect_unchanged,
    expect_uncorrelated,
    normal,
)
from tests.grading.papers import DEFAULT, HARSH, LONG, OTHER, SHORT, STEEP

SHAPE = (16, 3, 16, 16)


def equation(ask, rng):
    """The factors of x0 and noise, for each row's t, on several schedules."""
    for schedule, times in (
        (HARSH, torch.randperm(16, generator=rng)),
        (OTHER, torch.randperm(16, generator=rng)),
        (DEFAULT, torch.tensor([999, 0, 1, 2, 500, 42, 998, 100])),
        (STEEP, torch.randperm(40, generator=rng)[:8]),
        (SHORT, torch.tensor([1, 0, 1])),
        (LONG, torch.tensor([1499, 0, 1000, 999, 1250])),
    ):
        x0, noise = (normal(rng, len(times), 2, 4, 4, scale=2) for _ in range(2))
        seen = x_t_of(ask, rng, schedule, x0, times, noise)[0]
        for row, t in enumerate(times.tolist()):
            factors = schedule.alpha_bar(t) ** 0.5, (1 - schedule.alpha_bar(t)) ** 0.5
            terms = {"x0": (x0[row], factors[0]), "noise": (noise[row], factors[1])}
            expect_sum(seen[row], terms, f"x_t at t = {t}, row {row} ({schedule})", 5e-4)


def noise(ask, rng):
    """What is added to zeros when no noise is given, and that x0 is treated as if it were."""
    zeros = torch.zeros(SHAPE)
    t = torch.full(SHAPE[:1], 9)
    first, second = x_t_of(ask, rng, HARSH, zeros, t, None, repeat=2)
    other = x_t_of(ask, rng, HARSH, zeros, t, None)[0]
    deviation = expect_independent(first, "The noise that q_sample adds when none is given")
    half = len(t) // 2
    expect_uncorrelated(first[:half], first[half:], "The correlation of the noise of two halves of rows")
    for name, one in (("a second call", second), ("a call after another seed", other)):
        expect_uncorrelated(one, first, f"The correlation of the noise with that of {name}")
    given = normal(rng, *SHAPE)
    factor = (x_t_of(ask, rng, HARSH, zeros, t, given)[0] / given).mean().item()
    what = "The deviation of the noise that q_sample adds when none is given, at t = 9"
    right = abs(deviation - factor) < 0.07 * abs(factor)
    expect(right, what, f"{deviation:.4f}", f"{factor:.4f}, the factor of noise that is given")
    seed, x0 = draw_seed(rng), normal(rng, *SHAPE)
    moved = x_t_of(ask, rng, HARSH, x0, t, None, seed)[0] - x_t_of(ask, rng, HARSH, zeros, t, None, seed)[0]
    wanted = x_t_of(ask, rng, HARSH, x0, t, torch.zeros(SHAPE))[0]
    expect_close(moved, wanted, "x_t without noise given, less its noise", 1e-3)


def any_shape(ask, rng):
    """Data of another shape give the same numbers; rows do not matter to one another."""
    for schedule in (HARSH, DEFAULT):
        for shape in ((5, 12), (5, 12, 1, 1), (5, 3, 2, 2), (5, 1, 3, 4), (5, 2, 3, 2, 1), (1, 3, 4, 1)):
            t = torch.randint(0, schedule.timesteps, shape[:1], generator=rng)
            x0, given = normal(rng, *shape), normal(rng, *shape)
            seen = x_t_of(ask, rng, schedule, x0, t, given)[0]
            for name, others in (("x0", (-x0, given)), ("noise", (x0, -given))):
                other = x_t_of(ask, rng, schedule, others[0], t, others[1])[0]
                expect_changes(seen, other, f"x_t for another {name}, of the shape {shape}")
            for row in range(len(t)):
                one = [value[row].reshape(1, 1, -1) for value in (x0, given)]
                alone = x_t_of(ask, rng, schedule, one[0], t[row : row + 1], one[1])[0]
                what = f"x_t for x0 of the shape {shape}, row {row}, compared with the row alone"
                expect_close(seen[row].flatten(), alone.flatten(), what)


def arguments(ask, rng):
    """Arguments after a call, the result's type, gradients."""
    x0, given, t = normal(rng, 3, 2, 4, 4), normal(rng, 3, 2, 4, 4), torch.tensor([3, 0, 15])
    for noise in (given, None):
        reply = request(ask, rng, HARSH, x0, t, noise)
        result = as_list(reply["results"], 1, "The results of q_sample")[0]
        expect(isinstance(result, torch.Tensor), "What q_sample returns", describe(result), "x_t")
        expect(result.dtype == x0.dtype, "The type of x_t", result.dtype, f"{x0.dtype}, as x0 has")
        after = as_list(reply["arguments"], 3, "The arguments of q_sample")
        for name, seen, before in zip(("x0", "t", "noise"), after, (x0, t, noise), strict=True):
            if before is not None:
                expect_unchanged(seen, before, f"{name}, an argument of q_sample")

    def call(x0, noise, grad):
        reply = request(ask, rng, HARSH, x0, t, noise, grad=grad)
        result = as_list(reply["results"], 1, "The results of q_sample")[0]
        return as_tensor(result, x0.shape, "x_t"), reply["gradients"]

    expect_gradients(call, {"x0": x0, "noise": given}, rng, "x_t")


def request(ask, rng, schedule, x0, t, noise, seed=None, **options):
    words = "noise" if noise is not None else "noise = None"
    with during(f"q_sample for x0 of the shape {tuple(x0.shape)} with {words} ({schedule})"):
        return ask(
            "q_sample",
            config=schedule.config((1, 1, 1, 1)),
            x0=x0,
            t=t,
            noise=noise,
            seed=draw_seed(rng) if seed is None else seed,
            **options,
        )


def x_t_of(ask, rng, schedule, x0, t, noise, seed=None, repeat=1):
    """Return x_t of each call."""
    reply = request(ask, rng, schedule, x0, t, noise, seed, repeat=repeat)
    results = as_list(reply["results"], repeat, "The results of q_sample")
    return [as_tensor(result, x0.shape, "x_t") for result in results]
