"""The loop of DDPM, HW3/diffusion.py.

The toy predictor remembers its calls, so each transition of a run is known.
"""

import itertools

import torch

from tests.grading import toys
from tests.grading.checks import (
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

SHAPE = (16, 3, 16, 16)
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
        calls = calls_of(reply, schedule)
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
    shape = (2, 3, 32, 32)  # that the rows share their noise must not matter here
    for schedule, options in (
        (HARSH, {}),
        (SHORT, {}),
        (SHORT, {"cond": normal(rng, shape[0], 4)}),
        (SHORT, {"clip": True, "training": False}),
    ):
        for t, rest, x_t, eps in residuals(ask, rng, schedule, shape, **options):
            deviation, wanted = rest.square().mean().sqrt().item(), schedule.posterior_variance(t) ** 0.5
            what = f"x_prev less the mean, of the step from t = {t} ({words(schedule, **options)})"
            if wanted:
                expect(deviation > 1e-5, what, "no noise: it is 0", f"noise of the deviation {wanted:.5g}")
                for name, other in (("x_t", x_t), ("the predicted noise", eps)):
                    expect_uncorrelated(rest, other.double(), f"The correlation with {name} of {what}")
                right = abs(deviation / wanted - 1) < 0.07
                expect(right, f"The deviation of {what}", f"{deviation:.5g}", f"{wanted:.5g}")


def noise(ask, rng):
    """What a step adds to the mean: independent noise from the generator alone."""
    half = SHAPE[0] // 2
    for options in ({}, {"cond": normal(rng, SHAPE[0], 4), "training": False}):
        run = list(residuals(ask, rng, HARSH, SHAPE, **options))[:-1]
        for (t, rest, *_), following in zip(run, run[1:], strict=False):
            what = f"he noise of the step from t = {t}"
            expect(rest.abs().max() > 1e-5, f"T{what}", "no noise: it is 0", "noise")
            expect_independent(rest, f"T{what}")
            expect_uncorrelated(
                rest[:half], rest[half:], f"The correlation of two halves of the rows of t{what}"
            )
            expect_uncorrelated(rest, following[1], f"The correlation of t{what} with that of the next step")
        compare_generators(ask, rng, **options)


def compare_generators(ask, rng, **options):
    """Compare runs that differ in their generator alone."""
    start, seed, global_seed = normal(rng, *SHAPE), draw_seed(rng), draw_seed(rng)

    def samples(seed, **others):
        reply = request(ask, rng, HARSH, SHAPE, noise=start, seed=seed, **options, **others)
        return as_tensor(reply["samples"], SHAPE, "The samples"), reply["next_global"]

    first, following = samples(seed, global_seed=global_seed)
    expect_global_untouched(following, global_seed, "A run with a generator")
    same = (samples(seed)[0] - first).abs().max() < 1e-4
    expect(same, "Two runs, each with a new generator of the same seed,", "different", "the same samples")
    # The other run of different seeds is the second one of its sampler: it may keep nothing of the first.
    for what, one, other in (
        ("with generators of different seeds", first, samples(seed + 1, seed_before=seed)[0]),
        (
            "with a new generator, and one of its seed from which numbers were drawn,",
            first,
            samples(seed, used=True)[0],
        ),
        ("without a generator", samples(None)[0], samples(None)[0]),
    ):
        expect((other - one).abs().max() > 1e-3, f"Two runs {what}", "equal", "different")


def last_step(ask, rng):
    """The last step lands on its mean."""
    given = normal(rng, 3, 4)
    for schedule, cond in ((HARSH, None), (SHORT, None), (ONE_STEP, None), (HARSH, given)):
        *_, (t, rest, _, _) = residuals(ask, rng, schedule, (3, 2, 4, 4), cond=cond)
        expect_close(
            rest,
            torch.zeros_like(rest),
            f"x_0 less the mean of the last step, from t = {t} ({schedule})",
            1e-3,
        )


def inputs(ask, rng):
    """The condition in each call; the start."""
    given = normal(rng, 3, 4)
    for schedule, clip, cond, training in (
        *itertools.product((HARSH,), (False, True), (None, given, -given, 0 * given), (True, False)),
        (DEFAULT, False, given, True),
    ):
        start = normal(rng, 3, 2, 4, 4)
        reply = request(ask, rng, schedule, start.shape, noise=start, cond=cond, clip=clip, training=training)
        calls = calls_of(reply, schedule)
        for number, call in enumerate(calls, 1):
            what = f"The condition that call {number} of the model gets"
            expect_condition(call["cond"], cond, what)
        expect_close(calls[0]["x_t"], start, "x_t of the first call, which is the start,", 0)
        expect_unchanged(reply["noise"], start, "noise, an argument of sample_ddpm")
        if cond is not None:
            expect_unchanged(reply["cond"], cond, "cond, an argument of sample_ddpm")


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
    global_seed=None,
    **options,
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
            global_seed=draw_seed(rng) if global_seed is None else global_seed,
            **options,
        )


def calls_of(reply, schedule):
    """Return the calls of the model, as many as there are timesteps."""
    calls, what = reply["calls"], f"Calls of the model, T = {schedule.timesteps}"
    times = [call["t"].flatten()[:1].tolist() for call in calls if isinstance(call["t"], torch.Tensor)]
    left_out = [t for t in range(schedule.timesteps) if [t] not in times]
    named = ", ".join(map(str, left_out[:5])) + (", ..." if len(left_out) > 5 else "")
    seen = f"{len(calls)} calls" + (f", none for t = {named}" if left_out else "")
    expect(len(calls) == schedule.timesteps, what, seen, f"{schedule.timesteps} calls")
    return calls


def words(schedule, cond=None, clip=False, training=True):
    """Describe a run."""
    given = "" if cond is None else ", with a condition"
    return f"{schedule}{given}{', clip_x0' if clip else ''}{'' if training else ', evaluation mode'}"


def residuals(ask, rng, schedule, shape, **options):
    """Yield t, x_prev less the mean, x_t, and the predicted noise, of each step of a run."""
    reply = request(ask, rng, schedule, shape, noise=normal(rng, *shape), seed=draw_seed(rng), **options)
    calls = calls_of(reply, schedule)
    conds = [call["cond"] for call in calls]  # `inputs` judges them
    conds = [c if isinstance(c, torch.Tensor) and c.shape == (shape[0], 4) else None for c in conds]
    x = [as_tensor(call["x_t"], shape, "x_t that the model gets").float() for call in calls]
    x.append(as_tensor(reply["samples"], shape, "The samples"))
    for i, t in enumerate(reversed(range(schedule.timesteps))):
        eps = toys.predict(x[i], torch.full(shape[:1], t), conds[i])
        yield t, x[i + 1] - schedule.posterior_mean(x[i], eps, t), x[i], eps
