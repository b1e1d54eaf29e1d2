"""Mean and variance of the reverse process, HW3/diffusion.py."""

import itertools

import torch

from tests.grading import toys
from tests.grading.checks import (
    as_list,
    as_tensor,
    during,
    expect,
    expect_changes,
    expect_close,
    expect_condition,
    expect_sum,
    fit,
    normal,
)
from tests.grading.papers import DEFAULT, HARSH, LONG, OTHER, SHORT, STEEP

NAMES = ("mean", "variance", "x0_pred")


def cases(rng):
    """Yield schedules with timesteps for the rows of a batch."""
    yield HARSH, torch.randperm(16, generator=rng)
    yield OTHER, torch.randperm(16, generator=rng)
    yield DEFAULT, torch.tensor([999, 0, 1, 2, 500, 42])
    yield STEEP, torch.tensor([39, 0, 20, 7])
    yield SHORT, torch.tensor([1, 0])
    yield LONG, torch.tensor([1499, 0, 1000, 999, 1250])


def modes(schedule, rng, rows):
    """Yield conditions and modes of the module to look at: training with and without a condition, evaluation.

    One is enough on most schedules.
    """
    yield None, True
    if schedule is HARSH:
        cond = normal(rng, rows, 4)
        yield from ((cond, True), (cond, False))


def mean(ask, rng):
    """The factors of x0_pred and x_t."""
    for schedule, times in cases(rng):
        for cond, training in modes(schedule, rng, len(times)):
            compare_mean(ask, rng, schedule, times, cond, training)


def compare_mean(ask, rng, schedule, times, cond, training):
    x_t = normal(rng, len(times), 3, 4, 4, scale=2)
    reply = request(ask, schedule, x_t, times, cond, training=training)
    seen = results_of(reply, x_t)["mean"]
    conds = [call["cond"] for call in reply["calls"]]  # `inputs` judges what the model gets
    given = conds and all(isinstance(c, torch.Tensor) and c.dim() == 2 for c in conds)
    cond = torch.cat(conds)[: len(x_t)] if given else None
    for row, t in enumerate(times.tolist()):
        x0 = schedule.x0_pred(x_t[row], predicted(x_t, times, cond)[row], t)
        scale = x0.abs().max()  # on the default schedule x0 is large for a toy's prediction at large t
        for_x0, for_x_t = schedule.posterior_factors(t)
        terms = {"x0_pred": (x0 / scale, for_x0 * scale), "x_t": (x_t[row], for_x_t)}
        what = f"The mean at t = {t}, row {row} ({schedule})"
        if schedule in (DEFAULT, LONG):
            expected = for_x0 * x0 + for_x_t * x_t[row].double()
            expect_close(seen[row], expected, what, 2e-3)
        else:
            expect_sum(seen[row], terms, what, 5e-4)


def variance(ask, rng):
    """The variance; compared are deviations, which are large enough for an absolute tolerance."""
    for schedule, times in cases(rng):
        for cond, training in modes(schedule, rng, len(times)):
            compare_variance(ask, rng, schedule, times, cond, training)


def compare_variance(ask, rng, schedule, times, cond, training):
    x_t = normal(rng, len(times), 3, 4, 4)
    seen = call(ask, schedule, x_t, times, cond, training=training)["variance"]
    for row, t in enumerate(times.tolist()):
        expected = schedule.posterior_variance(t)
        lowest, highest = seen[row].min().item(), seen[row].max().item()
        what = f"The variance at t = {t}, row {row} ({schedule})"
        expect(lowest >= 0, what, f"{lowest:.6g}", f"{expected:.6g}")
        value = lowest if abs(lowest - expected) > abs(highest - expected) else highest
        right = abs(value**0.5 - expected**0.5) <= 2e-4 * max(expected**0.5, 1e-4**0.5)
        expect(right, what, f"{value:.6g}", f"{expected:.6g}")


def x0(ask, rng):
    """x0_pred, which is clipped where the config says so; and the mean for it."""
    for schedule, times in cases(rng):
        x_t = normal(rng, len(times), 3, 4, 4, scale=2)
        eps = predicted(x_t, times)
        free, clipped = (call(ask, schedule, x_t, times, clip=clip) for clip in (False, True))
        for row, t in enumerate(times.tolist()):
            unclipped = schedule.x0_pred(x_t[row], eps[row], t)
            for result, clip in ((free, False), (clipped, True)):
                what = f"x0_pred at t = {t}, row {row}, clip_x0 = {clip} ({schedule})"
                expect_close(
                    result["x0_pred"][row], unclipped.clamp(-1, 1) if clip else unclipped, what, 2e-3
                )
            # The mean is linear in x0_pred, with factors as without clipping, which `mean` judges.
            (for_x0, for_x_t), rest = fit(free["mean"][row], unclipped, x_t[row])
            if rest.abs().max() < 1e-3 and schedule not in (DEFAULT, LONG):
                wanted = for_x0 * unclipped.clamp(-1, 1) + for_x_t * x_t[row].double()
                what = f"The mean at t = {t}, row {row}, x0_pred clipped ({schedule})"
                expect_close(clipped["mean"][row], wanted, what, 2e-3)


def inputs(ask, rng):
    """The one call of the model."""
    times, given = torch.tensor([15, 0, 7]), normal(rng, 3, 4)
    for schedule, clip, cond in itertools.product(
        (HARSH, DEFAULT), (False, True), (None, given, -given, 0 * given)
    ):
        compare_inputs(ask, rng, schedule, times, cond, clip, True)
        compare_inputs(ask, rng, schedule, times, cond, clip, False)


def compare_inputs(ask, rng, schedule, times, cond, clip, training):
    x_t = normal(rng, 3, 2, 4, 4)
    reply = request(ask, schedule, x_t, times, cond, clip, training)
    calls = as_list(reply["calls"], 1, "Calls of the model in p_mean_variance")
    where = f"clip_x0 = {clip}, {'training' if training else 'evaluation'} mode ({schedule})"
    for name, expected in (("x_t", x_t), ("t", times)):
        seen, what = calls[0][name], f"{name} that the model gets, {where}"
        expect_close(seen, expected, what, 0)
        expect(seen.dtype == expected.dtype, f"The type of {what}", seen.dtype, expected.dtype)
    expect_condition(calls[0]["cond"], cond, f"The condition that the model gets, {where}")


def any_shape(ask, rng):
    """Data of another shape give the same numbers; rows do not matter to one another."""
    for shape in ((5, 12), (5, 3, 4), (5, 12, 1, 1), (5, 1, 3, 4), (1, 3, 2, 2), (2, 1, 3, 2, 2)):
        for schedule in (HARSH, DEFAULT):
            x_t, times = normal(rng, *shape), torch.randint(0, schedule.timesteps, shape[:1], generator=rng)
            seen = call(ask, schedule, x_t, times)
            if schedule is HARSH:
                times_too = (times + 5) % schedule.timesteps
                other = call(ask, schedule, x_t, times_too)
                expect_changes(seen["mean"], other["mean"], f"The mean for another t, shape {shape}")
            for row in range(len(times)):
                alone = call(ask, schedule, x_t[row].reshape(1, 1, 1, -1), times[row : row + 1])
                for name in NAMES:
                    what = f"{name} for x_t of the shape {shape}, row {row}, compared with the row alone"
                    expect_close(seen[name][row].flatten(), alone[name].flatten(), what, 1e-3)


def predicted(x_t, times, cond=None):
    return toys.predict(x_t, times, cond)


def request(ask, schedule, x_t, times, cond=None, clip=False, training=True):
    with during(f"p_mean_variance for x_t of the shape {tuple(x_t.shape)}, clip_x0 = {clip} ({schedule})"):
        config = schedule.config((1, 1, 1, 1), clip)
        return ask("p_mean_variance", config=config, x_t=x_t, t=times, cond=cond, training=training)


def call(ask, schedule, x_t, times, cond=None, clip=False, training=True):
    """Return mean, variance and x0_pred by name, each as large as x_t."""
    return results_of(request(ask, schedule, x_t, times, cond, clip, training), x_t)


def results_of(reply, x_t):
    results = as_list(reply["results"], 3, "What p_mean_variance returns: mean, variance, x0_pred")
    values = dict(zip(NAMES, results, strict=True))
    spread = values["variance"]
    if isinstance(spread, torch.Tensor):
        shape = (len(x_t), *[1] * (x_t.dim() - 1))
        right = spread.shape in (shape, x_t.shape)
        expect(right, "The shape of the variance", tuple(spread.shape), f"{shape}, or that of x_t")
        values["variance"] = spread.expand_as(x_t)
    return {name: as_tensor(value, x_t.shape, name) for name, value in values.items()}
