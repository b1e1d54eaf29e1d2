"""The loop of DDPM, HW3/diffusion.py.

The toy predictor remembers its calls, so each transition of a run is known.
"""

import itertools

import torch

from tests.grading import toys
from tests.grading.checks import (
    as_list,
    as_tensor,
    describe,
    draw_seed,
    during,
    expect,
    expect_close,
    expect_condition,
    expect_global_untouched,
    expect_independent,
    expect_unchanged,
    expect_uncorrelated,
    normal,
)
from tests.grading.papers import DEFAULT, HARSH, LONG, SHORT, Schedule

SHAPE = (8, 3, 16, 16)
ONE_STEP = Schedule(timesteps=1, beta_start=0.3, beta_end=0.3)


def timesteps(ask, rng):
    """The timesteps at which the model is called."""
    for schedule, shape in (
        (HARSH, (3, 2, 4, 4)),
        (SHORT, (1, 1, 2, 2)),
        (ONE_STEP, (2, 1, 2, 2)),
        (LONG, (2, 20, 1, 1)),
    ):
        reply = request(ask, rng, schedule, shape)
        calls = as_list(reply["calls"], schedule.timesteps, f"Calls of the model, T = {schedule.timesteps}")
        for call, t in zip(calls, reversed(range(schedule.timesteps)), strict=True):
            seen, what = (
                call["t"],
                f"t of call {schedule.timesteps - t} of the model, T = {schedule.timesteps}",
            )
            right = isinstance(seen, torch.Tensor) and seen.shape == shape[:1] and seen.dtype == torch.int64
            shown = f"{seen.dtype} {tuple(seen.shape)}" if isinstance(seen, torch.Tensor) else describe(seen)
            expect(right, what, shown, f"torch.int64 {shape[:1]}")
            expect((seen == t).all(), what, seen.tolist()[:8], t)
        as_tensor(reply["samples"], shape, "The samples")


def step(ask, rng):
    """What a step adds to the mean: its deviation, and that it is free of x_t and of the prediction."""
    for schedule, shape in ((HARSH, SHAPE), (SHORT, SHAPE)):
        for t, rest, x_t, eps in residuals(ask, rng, schedule, shape):
            deviation, wanted = rest.square().mean().sqrt().item(), schedule.posterior_variance(t) ** 0.5
            what = f"x_prev less the mean, of the step from t = {t} ({schedule})"
            if wanted:
                for name, other in (("x_t", x_t), ("the predicted noise", eps)):
                    expect_uncorrelated(rest, other.double(), f"The correlation with {name} of {what}")
                right = abs(deviation / wanted - 1) < 0.07
                expect(right, f"The deviation of {what}", f"{deviation:.5g}", f"{wanted:.5g}")


def noise(ask, rng):
    """What a step adds to the mean: independent noise from the generator alone."""
    run = list(residuals(ask, rng, HARSH, SHAPE))[:-1]
    for (t, rest, *_), following in zip(run, run[1:], strict=False):
        expect_independent(rest, f"The noise of the step from t = {t}")
        expect_uncorrelated(
            rest, following[1], f"The correlation of the noise at t = {t} with that of the next step"
        )
    start, seed, global_seed = normal(rng, *SHAPE), draw_seed(rng), draw_seed(rng)
    first = request(ask, rng, HARSH, SHAPE, noise=start, seed=seed, global_seed=global_seed)
    expect_global_untouched(first["next_global"], global_seed, "A run with a generator")
    again = request(ask, rng, HARSH, SHAPE, noise=start, seed=seed)
    # The other runs are the second ones of their sampler: it may keep nothing of the first.
    other = request(ask, rng, HARSH, SHAPE, noise=start, seed=seed + 1, seed_before=seed)
    first, again, other = (
        as_tensor(reply["samples"], SHAPE, "The samples") for reply in (first, again, other)
    )
    same = (again - first).abs().max() < 1e-4
    expect(same, "Two runs, each with a new generator of the same seed,", "different", "the same samples")
    expect(
        (other - first).abs().max() > 1e-3,
        "Two runs with generators of different seeds",
        "equal",
        "different",
    )
    free = [
        as_tensor(request(ask, rng, HARSH, SHAPE, noise=start, seed=None)["samples"], SHAPE, "The samples")
        for _ in range(2)
    ]
    expect((free[1] - free[0]).abs().max() > 1e-3, "Two runs without a generator", "equal", "different")


def last_step(ask, rng):
    """The last step lands on its mean."""
    for schedule in (HARSH, SHORT, ONE_STEP):
        *_, (t, rest, _, _) = residuals(ask, rng, schedule, (3, 2, 4, 4))
        expect_close(
            rest,
            torch.zeros_like(rest),
            f"x_0 less the mean of the last step, from t = {t} ({schedule})",
            1e-3,
        )


def inputs(ask, rng):
    """The condition in each call; the start."""
    given = normal(rng, 3, 4)
    for schedule, clip, cond in (
        *itertools.product((HARSH,), (False, True), (None, given, -given, 0 * given)),
        (DEFAULT, False, given),
    ):
        start = normal(rng, 3, 2, 4, 4)
        reply = request(ask, rng, schedule, start.shape, noise=start, cond=cond, clip=clip)
        calls = as_list(reply["calls"], schedule.timesteps, "Calls of the model")
        for number, call in enumerate(calls, 1):
            what = f"The condition that call {number} of the model gets"
            expect_condition(call["cond"], cond, what)
        expect_close(calls[0]["x_t"], start, "x_t of the first call, which is the start,", 0)
        expect_unchanged(reply["noise"], start, "noise, an argument of sample_ddpm")


def request(
    ask,
    rng,
    schedule,
    shape,
    *,
    noise=None,
    cond=None,
    clip=False,
    seed=0,
    seed_before=None,
    global_seed=None,
):
    with during(f"sample_ddpm, {shape[0]} samples of the shape {tuple(shape[1:])} ({schedule})"):
        return ask(
            "sample_ddpm",
            config=schedule.config(shape, clip),
            tables=schedule.reverse_tables(),
            batch_size=shape[0],
            noise=noise,
            cond=cond,
            seed=seed,
            seed_before=seed_before,
            global_seed=draw_seed(rng) if global_seed is None else global_seed,
        )


def residuals(ask, rng, schedule, shape):
    """Yield t, x_prev less the mean, x_t, and the predicted noise, of each step of a run."""
    reply = request(ask, rng, schedule, shape, noise=normal(rng, *shape), seed=draw_seed(rng))
    calls = as_list(reply["calls"], schedule.timesteps, f"Calls of the model, T = {schedule.timesteps}")
    x = [as_tensor(call["x_t"], shape, "x_t that the model gets").float() for call in calls]
    x.append(as_tensor(reply["samples"], shape, "The samples"))
    for i, t in enumerate(reversed(range(schedule.timesteps))):
        eps = toys.predict(x[i], torch.full(shape[:1], t))
        yield t, x[i + 1] - schedule.posterior_mean(x[i], eps, t), x[i], eps
