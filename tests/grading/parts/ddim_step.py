"""The DDIM update, HW3/diffusion.py.

The step is linear in x0_pred, eps_pred and the noise. Two calls with the same seed, one with zeros for all
tensors, differ by what is not noise, exactly; the one with zeros is nothing but noise. x_t agrees with both
predictions, so a step may also compute one of them from the other.
"""

import torch

from tests.grading import toys
from tests.grading.checks import (
    Wrong,
    as_list,
    as_tensor,
    describe,
    draw_seed,
    during,
    expect,
    expect_close,
    expect_global_untouched,
    expect_independent,
    expect_normal,
    expect_sum,
    expect_unchanged,
    expect_uncorrelated,
    fit,
    normal,
)
from tests.grading.papers import DEFAULT, HARSH, OTHER, SHORT, STEEP, Schedule

SHAPE = (8, 3, 16, 16)
# schedule and steps (t, t_prev) that do not end at x0
STEPS = (
    (HARSH, ((15, 14), (15, 7), (9, 2), (4, 3), (1, 0))),
    (DEFAULT, ((999, 979), (999, 0), (500, 499), (700, 100), (40, 20))),
    (SHORT, ((1, 0),)),
    (STEEP, ((39, 20), (12, 5))),
)


def direction(ask, rng):
    """x_prev = sqrt(alpha_bar_prev) x0_pred + sqrt(1 - alpha_bar_prev) eps_pred."""
    for schedule, pairs in STEPS:
        for shape in ((2, 3, 4, 5), (3, 7, 1, 1), (1, 1, 6, 6)):
            compare(ask, rng, schedule, shape, [(t, t_prev, 0.0) for t, t_prev in pairs])


def sigma(ask, rng):
    """sigma_t, by the noise that a step adds, and the weight of eps_pred that it leaves."""
    for schedule, pairs in STEPS:
        settings = [(t, t_prev, eta) for t, t_prev in pairs for eta in (0.3, 1.0)]
        left_by_sigma(ask, rng, schedule, settings)
        results = noise_alone(ask, rng, schedule, settings, SHAPE)
        for i, (t, t_prev, eta) in enumerate(settings):
            what, expected = name(schedule, t, t_prev, eta), schedule.ddim_sigma(t, t_prev, eta)
            seen = results[i].square().mean().sqrt().item()
            right = abs(seen / expected - 1) <= 0.07  # 7.5 standard errors and a little
            expect(right, f"The sigma_t that was used {what}", f"{seen:.5g}", f"{expected:.5g}")
        # The seed is the same, so the noise of two settings has exactly the ratio of their sigmas.
        expected = torch.tensor([schedule.ddim_sigma(*setting) for setting in settings])
        scales = (results.flatten(1) @ results[0].flatten()) / results[0].square().sum() * expected[0]
        for seen, wanted, setting in zip(scales.tolist(), expected.tolist(), settings, strict=True):
            what = f"The sigma_t that was used {name(schedule, *setting)}"
            expect(abs(seen / wanted - 1) <= 0.003, what, f"{seen:.5g}", f"{wanted:.5g}")


def noise(ask, rng):
    """Independent noise from the generator alone, new for each step."""
    settings = [(9, 2, 1.0), (9, 2, 0.3), (12, 11, 1.0)]
    for shape in (SHAPE, (40, 500, 1, 1)):
        seed = draw_seed(rng)
        first = noise_alone(ask, rng, HARSH, settings, shape, seed)
        what = f"The noise of a step, shape {shape},"
        expect_independent(first[0, :8], what)
        if shape != SHAPE:
            expect_independent(first[0].flatten()[:4000].view(2, -1), what)
        again = noise_alone(ask, rng, HARSH, settings, shape, seed)
        expect(
            (again - first).abs().max() < 1e-4,
            "The noise of two steps, each with a new generator of the same seed,",
            "different noise: it does not come from `generator`",
            "the same noise",
        )
        other = noise_alone(ask, rng, HARSH, settings, shape, draw_seed(rng))
        expect_uncorrelated(other[0], first[0], "The correlation of the noise from two generators")
        zeros, global_seed = torch.zeros(shape), draw_seed(rng)
        reply = request(
            ask, rng, HARSH, zeros, zeros, zeros, [(9, 2, 1.0)], seed=seed, global_seed=global_seed
        )
        expect_global_untouched(reply["next_global"], global_seed, "A step with a generator")
        for source in (seed, None):
            following = noise_alone(ask, rng, HARSH, [(9, 2, 1.0)] * 3, shape, source, shared=True)
            which = "from one generator" if source else "without a generator"
            for i, j in ((0, 1), (1, 2), (0, 2)):
                what = f"The correlation of the noise of two steps, {which},"
                expect_uncorrelated(following[i], following[j], what)


def last_step(ask, rng):
    """t_prev = -1: exactly x0_pred, whatever eta is."""
    for schedule, times in ((HARSH, (0, 5, 15)), (DEFAULT, (0, 19, 999)), (SHORT, (0, 1))):
        for clip in (False, True):
            settings = [(t, -1, eta) for t in times for eta in (0.0, 0.5, 1.0)]
            for setting in settings:
                x_t, eps, x0 = agreeing(rng, schedule, setting[0], (2, 3, 4, 5), clip)
                what = f"x_prev {name(schedule, *setting)}, clip_x0 = {clip}"
                expected = "x0_pred: alpha_bar of step -1, before the first, is exactly 1"
                with during(what, expected):
                    reply = request(ask, rng, schedule, x_t, eps, x0, [setting], clip=clip)
                result = only(reply)
                if isinstance(result, torch.Tensor) and not result.isfinite().all():
                    raise Wrong(what, "nan or inf", expected)
                expect_close(result, x0, f"{what}, which should be x0_pred,")


def clipping(ask, rng):
    """With clip_x0, a step does what one without it does for the noise that leads from x0_pred to x_t."""
    expect_dependence(ask, rng)
    for schedule, pairs in STEPS[:2]:
        settings = [(t, t_prev, eta) for t, t_prev in pairs for eta in (0.0, 0.5, 1.0)]
        global_seed = draw_seed(rng)
        for setting in settings:
            x_t, eps, x0 = agreeing(rng, schedule, setting[0], (2, 3, 4, 5), True)
            what = f"x_prev {name(schedule, *setting)}, with x0_pred clipped,"
            adjusted = schedule.noise_in(x_t, x0, setting[0]).float()
            ends = []
            for noise, clip in ((eps, True), (adjusted, False), (eps, False)):
                with during(what):
                    reply = request(
                        ask, rng, schedule, x_t, noise, x0, [setting], clip=clip, global_seed=global_seed
                    )
                ends.append(as_tensor(only(reply), x_t.shape, what))
            seen, wanted, as_given = ends
            apart = (wanted - as_given).abs().max()
            ignored = apart > 1e-3 and (seen - as_given).abs().max() < 1e-4 * apart
            expected = "with the noise that leads from the clipped x0_pred to x_t"
            expect(not ignored, what, "made with eps_pred as the model gave it", expected)
            expect_close(seen, wanted, what, 5e-4)


def expect_dependence(ask, rng):
    """Check that x_prev changes with x0_pred where x_t stays, and with eps_pred where x0_pred stays."""
    (x_t, eps, x0), (_, other, _) = (agreeing(rng, HARSH, 9, (2, 3, 4, 5)) for _ in range(2))
    moved = HARSH.x0_pred(x_t, other, 9).float()
    noisier = HARSH.q_sample(x0, other, 9).float()
    calls = ((x_t, eps, x0), (x_t, other, moved), (noisier, other, x0))
    results = [without_noise(ask, rng, HARSH, tensors, [(9, 2, 0.0)])[0] for tensors in calls]
    for name_of, result in zip(("x0_pred", "eps_pred"), results[1:], strict=True):
        changed = (result - results[0]).abs().max() > 1e-3
        expect(changed, f"x_prev for another {name_of}", "the same: it does not depend on it", "another one")


def rounding(ask, rng):
    """Schedules and steps where what is left of the variance is 0 but for rounding."""
    eps, x0 = normal(rng, 1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    for arguments in NEGATIVE:
        schedule = Schedule(*arguments)
        last = schedule.timesteps - 1
        x_t = schedule.q_sample(x0, eps, last).float()
        steps = range(last // 40, last, max(1, last // 40))
        settings = [(last, t_prev, eta) for t_prev in steps for eta in (1.0, 0.9999, 0.0)]
        what = f"ddim_step, eta = 1, from t = {last}, {schedule}, where rounding makes a root's argument < 0,"
        expected = "0 in place of the argument below 0"
        ends, global_seed = [], draw_seed(rng)
        for tensors in ((x_t, eps, x0), [torch.zeros_like(x_t)] * 3):
            with during(what, expected):
                reply = request(ask, rng, schedule, *tensors, settings, global_seed=global_seed)
            results = as_list(reply["results"], len(settings), what)
            if any(isinstance(result, torch.Tensor) and result.isnan().any() for result in results):
                raise Wrong(what, "nan", expected)
            ends.append([as_tensor(result, x_t.shape, what) for result in results])
        factors = [fit(one - noise, eps)[0][0] for one, noise in zip(*ends, strict=True)]
        # `sigma` judges the factors; here they must not jump where rounding matters.
        for t_prev, factor, near, most in zip(steps, factors[::3], factors[1::3], factors[2::3], strict=True):
            seen = f"the factor of eps_pred is {factor:.4g}, but {near:.4g} for eta = 0.9999"
            expect(abs(factor - near) < 0.05, f"{what} t_prev = {t_prev},", seen, expected)
            seen = f"the factor of eps_pred is {factor:.4g}, but {most:.4g} for eta = 0"
            expect(
                abs(most) > abs(factor) + 0.01, f"{what} t_prev = {t_prev},", seen, "less than for eta = 0"
            )


NEGATIVE = (
    (1000, 0.002557596838626165, 0.11707660286421312),
    (200, 0.02, 0.6),
    (1000, 0.01, 0.1),
    (60, 0.1, 0.9),
)


def whole_runs(ask, rng):
    """Runs of sample_ddim with a toy predictor, each step compared; and the arguments after a step."""
    x_t, eps, x0 = (normal(rng, 2, 3, 4, 5) for _ in range(3))
    for clip, eta in ((False, 0.5), (True, 0.0), (False, 0.0)):
        reply = request(ask, rng, HARSH, x_t, eps, x0.clamp(-1, 1), [(9, 2, eta)], clip=clip)
        result = only(reply)
        expect(isinstance(result, torch.Tensor), "What ddim_step returns", describe(result), "x_prev")
        expect(result.dtype == x_t.dtype, "The type of x_prev", result.dtype, f"{x_t.dtype}, as x_t has")
        arguments = as_list(reply["arguments"], 3, "The arguments of ddim_step")
        for label, seen, given in zip(
            ("x_t", "eps_pred", "x0_pred"), arguments, (x_t, eps, x0.clamp(-1, 1)), strict=True
        ):
            expect_unchanged(seen, given, f"{label}, an argument of ddim_step")
    for schedule, steps, eta, clip in (
        (HARSH, 16, 1.0, False),
        (OTHER, 5, 0.5, False),
        (HARSH, 5, 0.0, False),
        (HARSH, 7, 0.5, True),
        (HARSH, 5, 1.0, True),
        (DEFAULT, 50, 0.0, True),
        (DEFAULT, 10, 0.3, False),
    ):
        compare_run(ask, rng, schedule, steps, eta, clip)


def compare_run(ask, rng, schedule, steps, eta, clip):
    """Compare each transition of a run of sample_ddim with Eq. (12)."""
    shape = SHAPE if eta else (3, 2, 8, 8)
    config = schedule.config(shape, clip)
    start, cond = normal(rng, *shape), normal(rng, shape[0], 4)
    run = f"sample_ddim on {schedule}, {steps} steps, eta = {eta}, clip_x0 = {clip}"
    with during(run):
        reply = ask(
            "sample_ddim",
            config=config,
            batch_size=shape[0],
            noise=start,
            cond=cond,
            seed=draw_seed(rng),
            global_seed=draw_seed(rng),
            steps=steps,
            eta=eta,
        )
    calls = as_list(reply["calls"], steps, f"The calls of the model in {run}")
    x_t = start
    following = [call["x_t"] for call in calls[1:]] + [reply["samples"]]
    times = [call["t"].view(-1)[0].item() if isinstance(call["t"], torch.Tensor) else 0 for call in calls]
    due = [(i + 1) * schedule.timesteps // steps - 1 for i in reversed(range(steps))]
    expect(times == due, f"The timesteps at which the model is called in {run}", times, due)
    for t, t_prev, x_prev in zip(times, [*times[1:], -1], following, strict=True):
        what = f"x_prev of the step from t = {t} to {t_prev} in {run}"
        x_prev = as_tensor(x_prev, shape, what)
        eps = toys.predict(x_t, torch.full(shape[:1], t), cond)
        x0 = schedule.x0_pred(x_t, eps, t, clip)
        eps = schedule.noise_in(x_t, x0, t) if clip else eps
        for_x0, for_eps = schedule.ddim_factors(t, t_prev, eta)
        mean, deviation = for_x0 * x0 + for_eps * eps.double(), schedule.ddim_sigma(t, t_prev, eta)
        if deviation:
            step = f"of the step from t = {t} to {t_prev} in {run}"
            what = f"x_prev less the mean of Eq. (12), over sigma_t, {step}"
            expect_normal((x_prev - mean) / deviation, f"{what}, is not N(0, 1) (a part above may say why)")
        else:
            expect_close(x_prev, mean, what, 2e-3)
        x_t = x_prev.float()


# How to ask


def request(
    ask, rng, schedule, x_t, eps, x0, settings, *, clip=False, seed=0, global_seed=None, shared=False
):
    return ask(
        "ddim_step",
        config=schedule.config(x_t.shape, clip),
        x_t=x_t,
        eps_pred=eps,
        x0_pred=x0,
        steps=[list(setting) for setting in settings],
        seed=seed,
        global_seed=draw_seed(rng) if global_seed is None else global_seed,
        shared=shared,
    )


def agreeing(rng, schedule, t, shape, clip=False):
    """Return x_t, eps_pred and x0_pred that agree at t; but for the clipping of x0_pred."""
    eps, x0 = normal(rng, *shape, scale=2), normal(rng, *shape, scale=2)
    x_t = schedule.q_sample(x0, eps, t).float()
    return x_t, eps, x0.clamp(-1, 1) if clip else x0


def only(reply):
    return as_list(reply["results"], 1, "The results of ddim_step")[0]


def noise_alone(ask, rng, schedule, settings, shape, seed=1, *, shared=False):
    """Return what steps make of zeros, (len(settings), *shape): their noise."""
    zeros = torch.zeros(shape)
    with during(f"ddim_step {name(schedule, *settings[0])}"):
        reply = request(ask, rng, schedule, zeros, zeros, zeros, settings, seed=seed, shared=shared)
    results = as_list(reply["results"], len(settings), "The results of ddim_step")
    what = "x_prev of a step with zeros for x_t, eps_pred and x0_pred"
    return torch.stack([as_tensor(result, shape, what) for result in results])


def without_noise(ask, rng, schedule, tensors, settings, *, clip=False):
    """Return what steps make of the tensors, but for the noise; one after the other."""
    zeros, global_seed = [torch.zeros_like(tensor) for tensor in tensors], draw_seed(rng)
    ends = []
    for arguments in (tensors, zeros):
        with during(f"ddim_step {name(schedule, *settings[0])}"):
            reply = request(ask, rng, schedule, *arguments, settings, clip=clip, global_seed=global_seed)
        results = as_list(reply["results"], len(settings), "The results of ddim_step")
        ends.append(
            [
                as_tensor(result, tensors[0].shape, f"x_prev {name(schedule, *setting)}")
                for result, setting in zip(results, settings, strict=True)
            ]
        )
    return [one - other for one, other in zip(*ends, strict=True)]


def compare(ask, rng, schedule, shape, settings):
    """Compare the factors of x0_pred and eps_pred with Eq. (12)."""
    for setting in settings:
        x_t, eps, x0 = agreeing(rng, schedule, setting[0], shape)
        (result,) = without_noise(ask, rng, schedule, (x_t, eps, x0), [setting])
        for_x0, for_eps = schedule.ddim_factors(*setting)
        factors = {"x0_pred": (x0, for_x0), "eps_pred": (eps, for_eps)}
        expect_sum(result, factors, f"x_prev without its noise {name(schedule, *setting)}", 5e-4)


def left_by_sigma(ask, rng, schedule, settings):
    """Check that sigma_t takes its square from the square of eps_pred's factor without noise."""
    zeros, eps = torch.zeros(2, 3, 4, 5), normal(rng, 2, 3, 4, 5)
    for t, t_prev, eta in settings:
        tensors = schedule.q_sample(zeros, eps, t).float(), eps, zeros
        seen = without_noise(ask, rng, schedule, tensors, [(t, t_prev, 0.0), (t, t_prev, eta)])
        # `direction` judges the sign
        without, factor = (abs(fit(result, eps)[0][0]) for result in seen)
        wanted = max(0.0, without**2 - schedule.ddim_sigma(t, t_prev, eta) ** 2) ** 0.5
        what = f"The factor of eps_pred {name(schedule, t, t_prev, eta)}"
        expected = (
            f"{wanted:.6g}: the square of sigma_t less than the square of {without:.6g}, that for eta = 0"
        )
        right = schedule.ddim_factors(t, t_prev, 0.0)[1]
        if abs(without - right) > 1e-3:
            expected += f"; but that should be {right:.6g}: mend `direction` first"
        expect(abs(factor - wanted) <= 1e-3, what, f"{factor:.6g}", expected)


def name(schedule, t, t_prev, eta):
    return (
        f"at t = {t}, t_prev = {t_prev}, eta = {eta} ({schedule}; alpha_bar_t = {schedule.alpha_bar(t):.4g}"
        + (f", alpha_bar_prev = {schedule.alpha_bar(t_prev):.4g})")
    )
