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
    expect_condition,
    expect_gradients,
    expect_normal,
    expect_unchanged,
    expect_uncorrelated,
    normal,
)
from tests.grading.papers import DEFAULT, HARSH, LONG, SHORT, Schedule

SHAPES = ((6, 3, 4, 4), (5, 20, 1, 1), (1, 2, 3, 3), (7, 9))
ONE_STEP = Schedule(timesteps=1, beta_start=0.3, beta_end=0.3)


def error(ask, rng):
    """The loss for noise that is given, from what the model got."""
    for schedule in (HARSH, DEFAULT):
        for shape in SHAPES:
            for cond, training in ((None, True), (normal(rng, shape[0], 4), schedule is HARSH)):
                x0, noise = normal(rng, *shape, scale=2), normal(rng, *shape)
                loss, seen = run(ask, rng, schedule, x0, noise, cond, training)
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
            given = normal(rng, shape[0], 4)
            for cond, training in ((None, True), (given, True), (given, False), (0 * given, True)):
                _, seen = run(ask, rng, schedule, x0, noise, cond, training)
                what = f"x_t that the model gets, for x0 of the shape {shape},"
                times = seen.times(schedule).tolist()
                expected = torch.stack(
                    [schedule.q_sample(x, z, t) for x, z, t in zip(x0, noise, times, strict=True)]
                )
                expect_close(seen.x_t, expected, what, 5e-4)
                expect_condition(seen.cond, cond, "The condition that the model gets")
    reply = request(ask, rng, HARSH, x0, noise, given, 1)
    after = as_list(reply["arguments"], 3, "The arguments of training_loss")
    for name, now, before in zip(("x0", "noise", "cond"), after, (x0, noise, given), strict=True):
        expect_unchanged(now, before, f"{name}, an argument of training_loss")


def timesteps(ask, rng):
    """How often each t is drawn."""
    for schedule, rows, repeat, training in (
        (HARSH, 100, 60, None),
        (HARSH, 100, 60, True),
        (HARSH, 100, 60, False),
        (SHORT, 50, 20, None),
        (ONE_STEP, 5, 2, None),
        (LONG, 3000, 12, None),
    ):
        x0 = torch.zeros(rows, 1)
        cond, mode = (None, True) if training is None else (normal(rng, rows, 4), training)
        _, seen = runs(ask, rng, schedule, x0, x0, cond, repeat, training=mode)
        times = torch.stack([call.times(schedule) for call in seen])
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
        z = (times.double() - last / 2) / schedule.timesteps
        bound = SIGMAS * (1 / 12 / repeat) ** 0.5
        for row, seen in enumerate((z.mean(dim=0) + 0.5).tolist()):
            what = f"The mean of (t + 1/2) / T, in row {row} of {repeat} calls, T = {schedule.timesteps}"
            expect(abs(seen - 0.5) <= bound, what, f"{seen:.3f}", f"0.5 +- {bound:.3f}")
        what = f"The correlation of the t of two rows{{}}, T = {schedule.timesteps}"
        half = rows // 2
        for lag in range(1, min(half, 100)):
            expect_uncorrelated(z, z.roll(lag, 1), what.format(f", {lag} apart"))
        for where, others in (("half the batch apart", z[:, half:]), ("in reverse order", z.flip(1))):
            expect_uncorrelated(z[:, :half], others[:, :half], what.format(f", {where}"))
        if schedule is LONG:
            counts, size = torch.bincount(times.flatten() // 100, minlength=15), times.numel()
        else:
            counts, size = torch.bincount(times.flatten(), minlength=schedule.timesteps), times.numel()
        share = 1 / len(counts)
        bound = SIGMAS * (share * (1 - share) / size) ** 0.5
        for index, count in enumerate(counts.tolist()):
            drawn = f"t = {index}" if schedule is not LONG else f"t from {100 * index} to {100 * index + 99}"
            what = f"How often {drawn} is drawn, T = {schedule.timesteps}"
            right = abs(count / size - share) <= bound
            expect(right, what, f"{count / size:.4f}", f"{share:.4f} +- {bound:.4f}")


def noise(ask, rng):
    """The noise that is drawn when none is given; a model that predicts it exactly has no loss."""
    for cond, training in ((None, True), (normal(rng, 16, 4), True), (normal(rng, 16, 4), False)):
        drawn_noise(ask, rng, normal(rng, 16, 3, 16, 16), cond, training)
    gain = (1 - torch.tensor(HARSH.alpha_bars)) ** -0.5  # x_t is nothing but scaled noise where x0 is 0
    (loss,), _ = runs(ask, rng, HARSH, torch.zeros(16, 3, 16, 16), None, None, 1, gain=gain)
    expect_close(loss, 0.0, "The loss of a model that predicts the noise in x_t exactly")


def drawn_noise(ask, rng, x0, cond, training):
    """Look at the noise of two calls, and of one after another seed."""
    _, seen = runs(ask, rng, HARSH, x0, None, cond, 2, training=training)
    _, (other,) = runs(ask, rng, HARSH, x0, None, cond, 1, training=training)
    drawn = []
    for call in (*seen, other):
        times = call.times(HARSH).tolist()
        rows = zip(call.x_t, x0, times, strict=True)
        drawn.append(torch.stack([HARSH.noise_in(x_t, x, t) for x_t, x, t in rows]))
    expect_normal(drawn[0], "The noise of x_t when none is given")
    half = len(x0) // 2
    expect_uncorrelated(
        drawn[0][:half], drawn[0][half:], "The correlation of the noise of two halves of rows"
    )
    expect_uncorrelated(drawn[0], x0.double(), "The correlation of the noise with x0")
    expect_uncorrelated(drawn[1], drawn[0], "The correlation of the noise of two calls")
    expect_uncorrelated(drawn[2], drawn[0], "The correlation of the noise after two seeds")


def gradients(ask, rng):
    """The gradient by the factor of the toy predictor.

    All is float64, and the factor far from the best one, so that the differences are far above the rounding.
    """
    x0, given = (normal(rng, 6, 3, 4, 4).double() for _ in range(2))
    for noise, cond in ((given, None), (given, normal(rng, 6, 4).double()), (None, None)):
        seed = draw_seed(rng)

        def call(weight, grad, noise=noise, cond=cond, seed=seed):
            reply = request(ask, rng, HARSH, x0, noise, cond, 1, seed=seed, weight=weight.item())
            loss = as_list(reply["losses"], 1, "The results of training_loss")[0]
            return as_tensor(loss, (), "The loss"), reply["gradients"]

        expect_gradients(call, {"weight": torch.tensor(3.0)}, rng, "the loss")


class Seen:
    """What the model got in one call, checked."""

    def __init__(self, call, shape):
        self.t = call["t"]
        right = isinstance(self.t, torch.Tensor) and self.t.shape == shape[:1]
        expect(right, "t that the model gets", describe(self.t), f"{shape[0]} numbers, one for each row")
        self.x_t = as_tensor(call["x_t"], shape, "x_t that the model gets")
        right = call["x_t"].dtype == torch.float32
        expect(right, "The type of x_t that the model gets", call["x_t"].dtype, "torch.float32, as x0 has")
        self.cond = call["cond"]

    def times(self, schedule):
        """Return t, which must be whole numbers in 0..T-1."""
        what, expected = "t that the model gets", f"torch.int64, from 0 to {schedule.timesteps - 1}"
        expect(self.t.dtype == torch.int64, what, self.t.dtype, expected)
        seen = f"{self.t.min().item()} to {self.t.max().item()}"
        expect(0 <= self.t.min() and self.t.max() < schedule.timesteps, what, seen, expected)
        return self.t


def request(ask, rng, schedule, x0, noise, cond, repeat, *, seed=None, **options):
    bars = torch.tensor(schedule.alpha_bars, dtype=torch.float64)
    with during(f"training_loss for x0 of the shape {tuple(x0.shape)} ({schedule})"):
        return ask(
            "training_loss",
            config=schedule.config((1, 1, 1, 1)),
            tables=torch.stack([bars.sqrt(), (1 - bars).sqrt()]).to(x0.dtype),
            x0=x0,
            noise=noise,
            cond=cond,
            seed=draw_seed(rng) if seed is None else seed,
            repeat=repeat,
            **options,
        )


def runs(ask, rng, schedule, x0, noise, cond, repeat, **options):
    """Return the losses of `repeat` calls, and what the model got in each."""
    reply = request(ask, rng, schedule, x0, noise, cond, repeat, **options)
    losses = as_list(reply["losses"], repeat, "The results of training_loss")
    losses = [as_tensor(loss, (), "The loss") for loss in losses]
    calls = as_list(reply["calls"], repeat, f"Calls of the model in {repeat} calls of training_loss")
    return losses, [Seen(call, x0.shape) for call in calls]


def run(ask, rng, schedule, x0, noise, cond, training):
    losses, seen = runs(ask, rng, schedule, x0, noise, cond, 1, training=training)
    return losses[0], seen[0]
