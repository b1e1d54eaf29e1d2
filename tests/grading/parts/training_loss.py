"""The training loss, HW3/diffusion.py."""

import torch

from tests.grading import toys
from tests.grading.checks import (
    SIGMAS,
    Wrong,
    as_list,
    as_tensor,
    describe,
    draw_seed,
    during,
    expect,
    expect_close,
    expect_independent,
    expect_uncorrelated,
    normal,
)
from tests.grading.papers import DEFAULT, HARSH, SHORT, Schedule

SHAPES = ((6, 3, 4, 4), (5, 20, 1, 1), (1, 2, 3, 3), (7, 9))
ONE_STEP = Schedule(timesteps=1, beta_start=0.3, beta_end=0.3)


def error(ask, rng):
    """The loss for noise that is given, from what the model got."""
    for schedule in (HARSH, DEFAULT):
        for shape in SHAPES:
            for cond in (None, normal(rng, shape[0], 4)):
                x0, noise = normal(rng, *shape, scale=2), normal(rng, *shape)
                loss, seen = run(ask, rng, schedule, x0, noise, cond)
                eps = toys.predict(seen.x_t.float(), seen.t, seen.cond).double()
                what = f"The loss for x0 of the shape {shape}"
                squares = (eps - noise.double()).square()
                total = squares.sum().item()
                if squares.numel() > 1 and abs(loss.item() - total) < 1e-4 * total:
                    raise Wrong(
                        what, f"{loss:.6g}, the sum of the squares", f"{squares.mean():.6g}, their mean"
                    )
                expect_close(loss, squares.mean(), what)


def inputs(ask, rng):
    """What the model gets."""
    for schedule in (HARSH, DEFAULT):
        for shape in SHAPES:
            x0, noise = normal(rng, *shape, scale=2), normal(rng, *shape)
            for cond in (None, normal(rng, shape[0], 4)):
                _, seen = run(ask, rng, schedule, x0, noise, cond)
                what = f"x_t that the model gets, for x0 of the shape {shape},"
                expected = torch.stack(
                    [schedule.q_sample(x, z, t) for x, z, t in zip(x0, noise, seen.t.tolist(), strict=True)]
                )
                expect_close(seen.x_t, expected, what, 5e-4)
                if cond is None:
                    expect(
                        seen.cond is None, "The condition that the model gets", describe(seen.cond), "none"
                    )
                else:
                    same = isinstance(seen.cond, torch.Tensor) and seen.cond.shape == cond.shape
                    what = "The condition that the model gets"
                    expect(same and seen.cond.equal(cond), what, describe(seen.cond), "the argument cond")


def timesteps(ask, rng):
    """How often each t is drawn."""
    for schedule, rows, repeat in ((HARSH, 100, 60), (SHORT, 50, 20), (ONE_STEP, 5, 2), (DEFAULT, 2000, 12)):
        x0 = torch.zeros(rows, 1)
        _, seen = runs(ask, rng, schedule, x0, x0, None, repeat)
        times = torch.stack([call.t for call in seen])
        last = schedule.timesteps - 1
        low, high = times.min().item(), times.max().item()
        what = f"The range of t, T = {schedule.timesteps}"
        expect((low, high) == (0, last), what, f"{low} to {high}", f"0 to {last}")
        if not last:
            continue
        alike = (times == times[:, :1]).all()
        expect(not alike, f"t, T = {schedule.timesteps}", "the same for all rows", "one for each row")
        alike = (times == times[:1]).all()
        expect(not alike, f"t, T = {schedule.timesteps}", "the same in each call", "drawn anew")
        if schedule is DEFAULT:
            counts, size = torch.bincount(times.flatten() // 100, minlength=10), times.numel()
        else:
            counts, size = torch.bincount(times.flatten(), minlength=schedule.timesteps), times.numel()
        share = 1 / len(counts)
        bound = SIGMAS * (share * (1 - share) / size) ** 0.5
        for index, count in enumerate(counts.tolist()):
            drawn = (
                f"t = {index}" if schedule is not DEFAULT else f"t from {100 * index} to {100 * index + 99}"
            )
            what = f"How often {drawn} is drawn, T = {schedule.timesteps}"
            right = abs(count / size - share) <= bound
            expect(right, what, f"{count / size:.4f}", f"{share:.4f} +- {bound:.4f}")


def noise(ask, rng):
    """The noise that is drawn when none is given; the loss compares with it."""
    x0 = normal(rng, 8, 3, 16, 16)
    losses, seen = runs(ask, rng, HARSH, x0, None, None, 2)
    _, (other,) = runs(ask, rng, HARSH, x0, None, None, 1)
    drawn = [
        torch.stack(
            [HARSH.noise_in(x_t, x, t) for x_t, x, t in zip(call.x_t, x0, call.t.tolist(), strict=True)]
        )
        for call in (*seen, other)
    ]
    expect_independent(drawn[0], "The noise of x_t when none is given", x0=x0)
    expect_uncorrelated(drawn[1], drawn[0], "The correlation of the noise of two calls")
    expect_uncorrelated(drawn[2], drawn[0], "The correlation of the noise after two seeds")
    eps = toys.predict(seen[0].x_t.float(), seen[0].t)
    # Up to a factor, which is for `error` to judge: compared are the shares of the squares in two losses.
    given, (call,) = runs(ask, rng, HARSH, x0, drawn[0].float(), None, 1)
    wanted = (toys.predict(call.x_t.float(), call.t).double() - drawn[0]).square().mean() / given[0]
    expect_close(
        (eps.double() - drawn[0]).square().mean() / losses[0] / wanted,
        1.0,
        "The loss when no noise is given, over the one from the noise that is in x_t,",
        1e-3,
    )


def gradients(ask, rng):
    """The gradient by the factor of the toy predictor."""
    x0, given = normal(rng, 6, 3, 4, 4), normal(rng, 6, 3, 4, 4)
    for noise, cond in ((given, None), (given, normal(rng, 6, 4)), (None, None)):
        reply = request(ask, rng, HARSH, x0, noise, cond, 1)
        gradient = as_list(reply["gradients"], 1, "The gradients")[0]
        found = isinstance(gradient, torch.Tensor) and bool(gradient.any())
        expect(found, "The gradient of the loss by the model's weight", "none, or 0", "not 0")


class Seen:
    """What the model got in one call, checked."""

    def __init__(self, call, shape):
        self.t = call["t"]
        right = isinstance(self.t, torch.Tensor) and self.t.shape == shape[:1] and self.t.dtype == torch.int64
        seen = (
            f"{self.t.dtype} {tuple(self.t.shape)}" if isinstance(self.t, torch.Tensor) else describe(self.t)
        )
        expect(right, "t that the model gets", seen, f"torch.int64 {tuple(shape[:1])}, one for each row")
        self.x_t = as_tensor(call["x_t"], shape, "x_t that the model gets")
        right = call["x_t"].dtype == torch.float32
        expect(right, "The type of x_t that the model gets", call["x_t"].dtype, "torch.float32, as x0 has")
        self.cond = call["cond"]


def request(ask, rng, schedule, x0, noise, cond, repeat):
    bars = torch.tensor(schedule.alpha_bars, dtype=torch.float64)
    with during(f"training_loss for x0 of the shape {tuple(x0.shape)} ({schedule})"):
        return ask(
            "training_loss",
            config=schedule.config((1, 1, 1, 1)),
            tables=torch.stack([bars.sqrt(), (1 - bars).sqrt()]).float(),
            x0=x0,
            noise=noise,
            cond=cond,
            seed=draw_seed(rng),
            repeat=repeat,
        )


def runs(ask, rng, schedule, x0, noise, cond, repeat):
    """Return the losses of `repeat` calls, and what the model got in each."""
    reply = request(ask, rng, schedule, x0, noise, cond, repeat)
    losses = as_list(reply["losses"], repeat, "The results of training_loss")
    losses = [as_tensor(loss, (), "The loss") for loss in losses]
    calls = as_list(reply["calls"], repeat, f"Calls of the model in {repeat} calls of training_loss")
    for call in calls:
        right = isinstance(call["t"], torch.Tensor) and call["t"].dtype == torch.int64 and call["t"].numel()
        inside = right and 0 <= call["t"].min() and call["t"].max() < schedule.timesteps
        expect(
            inside or not right,
            "t that the model gets",
            describe(call["t"]),
            f"0 to {schedule.timesteps - 1}",
        )
    return losses, [Seen(call, x0.shape) for call in calls]


def run(ask, rng, schedule, x0, noise, cond):
    losses, seen = runs(ask, rng, schedule, x0, noise, cond, 1)
    return losses[0], seen[0]
