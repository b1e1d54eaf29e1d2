"""HW3/diffusion.py: q_sample, training_loss, p_mean_variance and both samplers.

The samplers run with a model of fixed formula that records its calls; so each transition x_t -> x_prev is
known and can be compared with the paper's equation. Most of it happens on HARSH, a schedule of large steps.
"""

from functools import partial

import pytest
import torch
from torch import nn

from tests.grading.checks import SIGMAS, expect, expect_close, expect_noise, fail, gradients
from tests.grading.papers import DEFAULT, HARSH
from tests.grading.recorder import RecordingModel

# On the default schedule an implementation that keeps its tables in float32 is right, too.
TOLERANCE = {HARSH: 3e-5, DEFAULT: 2e-3}
CPU = torch.device("cpu")

Q_SAMPLE = "x_t = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) noise, DDPM Eq. (4)"
LOSS = "L_simple = mean((noise - eps_pred)^2), t uniform in 0..T-1, DDPM Eq. (14)"
MEAN = (
    "mean = sqrt(alpha_bar_prev) beta_t / (1 - alpha_bar_t) x0_pred + sqrt(alpha_t) (1 - alpha_bar_prev) / "
    "(1 - alpha_bar_t) x_t, DDPM Eq. (7)"
)
VARIANCE = "variance = (1 - alpha_bar_prev) / (1 - alpha_bar_t) beta_t, DDPM Eq. (7)"
DDPM = "x_{t-1} = mean + sqrt(variance) z, no z at t = 0, DDPM Algorithm 2; " + MEAN + "; " + VARIANCE
DDIM = (
    "x_prev = sqrt(alpha_bar_prev) x0_pred + sqrt(1 - alpha_bar_prev - sigma_t^2) eps_pred + sigma_t z, "
    "sigma_t = eta sqrt((1 - alpha_bar_prev) / (1 - alpha_bar_t)) sqrt(1 - alpha_bar_t / alpha_bar_prev), "
    "DDIM Eq. (12) and (16)"
)
TIMESTEPS = "`steps` distinct timesteps, evenly spaced, descending from T - 1; after the last one comes x0"


def build(diffusion, schedule, *, clip=False, channels=3, size=16, model=None):
    """Return a GaussianDiffusion and its recording model."""
    model = RecordingModel() if model is None else model
    config = diffusion.DiffusionConfig(image_size=size, channels=channels, clip_x0=clip, **schedule.arguments)
    return diffusion.GaussianDiffusion(model, config), model


def normal(rng, *shape, scale=1.0):
    return scale * torch.randn(shape, generator=rng)


def by_row(function, t, *rows):
    """Apply a formula for one t to each row."""
    return torch.stack([function(*row, step) for *row, step in zip(*rows, t.tolist(), strict=True)])


@pytest.mark.points(5)
def test_q_sample(diffusion, rng):
    """q_sample diffuses x0 to step t"""
    for schedule in (HARSH, DEFAULT):
        process, _ = build(diffusion, schedule)
        t = torch.randperm(schedule.timesteps, generator=rng)
        x0, noise = normal(rng, len(t), 2, 3, 4, scale=2), normal(rng, len(t), 2, 3, 4)
        copies = x0.clone(), noise.clone()
        expected = by_row(schedule.q_sample, t, x0, noise)
        expect_close(
            process.q_sample(x0, t, noise), expected, f"x_t on {schedule}", Q_SAMPLE, TOLERANCE[schedule] / 10
        )
        for argument, copy in zip((x0, noise), copies, strict=True):
            expect_close(argument, copy, "An argument of q_sample, after the call,", Q_SAMPLE, 0)

    process, _ = build(diffusion, HARSH)
    t = torch.tensor([0, 15, 3, 7, 9, 1])
    x0 = normal(rng, 6, 3, 16, 16, scale=2)
    z = by_row(HARSH.noise_in, t, process.q_sample(x0, t), x0)
    expect_noise(z, "q_sample without noise given", Q_SAMPLE, x0=x0)


@pytest.mark.points(6)
def test_training_loss(diffusion, rng):
    """training_loss is the mean squared error of the noise at random timesteps"""
    process, model = build(diffusion, HARSH)
    x0, noise, cond = normal(rng, 64, 3, 8, 8, scale=2), normal(rng, 64, 3, 8, 8), normal(rng, 64, 5)

    for given in (noise, None):
        for condition in (cond, None):
            model.calls.clear()
            loss = process.training_loss(x0, noise=given, cond=condition)
            expect(len(model.calls) == 1, "Calls of the model", len(model.calls), 1, LOSS)
            call = model.calls[0]
            model.expect_cond(condition)
            expect(
                len(call.t.unique()) > 1, "All rows have the same t", call.t[0].item(), "one for each", LOSS
            )
            if given is None:
                used = by_row(HARSH.noise_in, call.t, call.x_t, x0)
                expect_noise(used[:8], "training_loss without noise given", Q_SAMPLE, x0=x0[:8])
            else:
                used = noise
                x_t = by_row(HARSH.q_sample, call.t, x0, noise)
                expect_close(call.x_t, x_t, "The x_t that the model got", Q_SAMPLE)
            expect_close(loss, (call.eps - used).square().mean(), "The loss", LOSS)

    seen = gradients(loss, [model.weight])[0]
    expected = (2 * (call.eps - used) * call.eps).mean()  # the weight is a factor of eps
    expect_close(seen, expected, "The gradient of the loss by the model's weight", LOSS, 1e-4)

    model.calls.clear()
    for _ in range(50):
        process.training_loss(x0)
    t = torch.cat([call.t for call in model.calls])
    counts = torch.bincount(t, minlength=HARSH.timesteps)
    expect(len(counts) == HARSH.timesteps, "The largest t", t.max().item(), HARSH.timesteps - 1, LOSS)
    share = 1 / HARSH.timesteps
    bound = SIGMAS * (share * (1 - share) / len(t)) ** 0.5
    for step, count in enumerate(counts.tolist()):
        expect(
            abs(count / len(t) - share) <= bound,
            f"How often t = {step} is drawn",
            f"{count / len(t):.4f}",
            f"{share:.4f} +- {bound:.4f}",
            LOSS,
        )


@pytest.mark.points(6)
def test_p_mean_variance(diffusion, rng):
    """p_mean_variance returns mean and variance of the reverse process"""
    for schedule, t in (
        (HARSH, torch.randperm(16, generator=rng)),
        (DEFAULT, torch.tensor([999, 0, 1, 2, 500, 42])),
    ):
        for clip in (False, True):
            for cond in (None, normal(rng, len(t), 5)):
                process, model = build(diffusion, schedule, clip=clip)
                x_t = normal(rng, len(t), 3, 4, 4, scale=2)
                mean, variance, *_ = process.p_mean_variance(x_t, t, cond=cond)
                model.expect_cond(cond)
                expect(len(model.calls) == 1, "Calls of the model", len(model.calls), 1, MEAN)
                call = model.calls[0]
                expect_close(call.x_t, x_t, "The x_t that the model got", MEAN, 0)
                expect_close(call.t, t, "The t that the model got", MEAN, 0)
                where = f"on {schedule}, clip_x0 = {clip}"
                expected = by_row(partial(schedule.posterior_mean, clip=clip), t, x_t, call.eps)
                expect_close(mean, expected, f"The mean {where}", MEAN, TOLERANCE[schedule])
                # Compared are deviations, which are large enough for an absolute tolerance.
                expected = torch.tensor([schedule.posterior_variance(step) ** 0.5 for step in t.tolist()])
                expected = expected.view(-1, 1, 1, 1).expand_as(x_t)
                deviation = torch.as_tensor(variance).double().sqrt().broadcast_to(x_t.shape)
                expect_close(deviation, expected, f"The square root of the variance {where}", VARIANCE)


def expect_samples(samples, model, batch_size, timesteps, equation, channels=3, size=16):
    """Check the shape of samples and the timesteps at which the model was called; all rows share each."""
    shape = (batch_size, channels, size, size)
    expect(tuple(samples.shape) == shape, "The shape of the samples", tuple(samples.shape), shape, equation)
    seen = called_timesteps(model, equation)
    expect(seen == timesteps, "The timesteps at which the model was called", seen, timesteps, equation)


def called_timesteps(model, equation):
    """Return the t of each call."""
    for call in model.calls:
        expect(len(call.t.unique()) == 1, "Rows have different t", call.t.tolist(), "the same", equation)
    return [call.t[0].item() for call in model.calls]


@pytest.mark.points(6)
def test_sample_ddpm(diffusion, rng):
    """sample_ddpm goes from T - 1 to 0, each step as in DDPM's Algorithm 2"""
    for schedule, clip, with_cond, size in (
        (HARSH, False, True, 16),
        (HARSH, True, False, 16),
        (DEFAULT, True, False, 4),
    ):
        process, model = build(diffusion, schedule, clip=clip, size=size)
        cond = normal(rng, 8, 5) if with_cond else None
        samples = process.sample_ddpm(8, CPU, cond=cond)
        model.expect_cond(cond)
        expect_samples(samples, model, 8, list(range(schedule.timesteps))[::-1], DDPM, size=size)
        residuals, inputs, predictions = [], [], []
        for call, x_prev in model.transitions(samples):
            t = call.t[0].item()
            mean = schedule.posterior_mean(call.x_t, call.eps, t, clip)
            if t == 0:
                what = f"The last step, which adds no noise, on {schedule}, clip_x0 = {clip}: x0"
                expect_close(x_prev, mean, what, DDPM, TOLERANCE[schedule])
                break
            residuals.append((x_prev - mean) / schedule.posterior_variance(t) ** 0.5)
            inputs.append(call.x_t / call.x_t.std())
            predictions.append(call.eps / call.eps.std())
            if schedule is HARSH:
                what = f"The step from t = {t} on {schedule}, clip_x0 = {clip}"
                expect_noise(residuals[-1], what, DDPM, x_t=inputs[-1], eps_pred=predictions[-1])
        z, x_t, eps = (torch.stack(values, dim=1) for values in (residuals, inputs, predictions))
        expect_noise(z, f"All steps on {schedule}, clip_x0 = {clip}", DDPM, x_t=x_t, eps_pred=eps)


class IdealModel(nn.Module):
    """The noise predictor that training would find for x0 ~ N(MEAN, STD^2); it is linear in x_t.

    So samples are Gaussian, too, and their mean and variance follow exactly from a recursion. Few steps
    shrink the spread: that is correct.
    """

    MEAN, STD = 1.5, 0.4

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule
        self.timesteps = []
        self.unused = nn.Parameter(torch.zeros(()))  # a sampler may ask the model's parameters for the device

    def forward(self, x_t, t, cond=None):
        self.timesteps.append(t[0].item())
        return self.predict(x_t, self.timesteps[-1])

    def predict(self, x_t, t):
        return self.schedule.ideal_eps(x_t, t, self.MEAN, self.STD)

    def transition(self, formula, t, *others):
        """Return the mean of x_prev as a function of x_t alone."""
        return lambda x_t: formula(x_t, self.predict(x_t, t), t, *others)


def expect_gaussian(samples, transitions, deviations, what, equation):
    """Compare the moments of samples with the exact ones.

    Args:
        samples: (B, ...), made with an IdealModel.
        transitions: of each step, the mean of x_prev as a function of x_t.
        deviations: of each step, the standard deviation of its noise.
        what, equation: for the message.
    """
    mean, variance = torch.tensor(0.0, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64)
    for step, sigma in zip(transitions, deviations, strict=True):
        slope = step(torch.ones_like(mean)) - step(torch.zeros_like(mean))
        mean, variance = step(mean), slope**2 * variance + sigma**2
    size = samples.numel()
    for name, seen, expected, bound in (
        ("mean", samples.mean(), mean, SIGMAS * (variance / size).sqrt()),
        ("variance", samples.var(), variance, SIGMAS * variance * (2 / size) ** 0.5),
    ):
        expect(
            abs(seen - expected) <= bound,
            f"The {name} of samples by {what}, for Gaussian data and the ideal model",
            f"{seen:.5f}",
            f"{expected:.5f} +- {bound:.5f}",
            equation,
        )


@pytest.mark.points(3)
def test_ddpm_start(diffusion, rng, seed):
    """sample_ddpm starts from noise; a generator and a start noise repeat it"""
    process, model = build(diffusion, HARSH)

    def sample(**options):
        model.calls.clear()
        return process.sample_ddpm(8, CPU, **options)

    expect_repeatable(sample, model, normal(rng, 8, 3, 16, 16), seed, DDPM)

    ideal = IdealModel(HARSH)
    samples = build(diffusion, HARSH, model=ideal)[0].sample_ddpm(64, CPU)
    transitions = [ideal.transition(HARSH.posterior_mean, t) for t in ideal.timesteps]
    deviations = [HARSH.posterior_variance(t) ** 0.5 for t in ideal.timesteps]
    expect_gaussian(samples, transitions, deviations, "sample_ddpm", DDPM)


def expect_repeatable(sample, model, start, seed, equation):
    """Check what a sampler starts from and that `generator` and `noise` determine its result."""

    def generator(offset=0):
        return torch.Generator().manual_seed(seed + offset)

    sample()
    expect_noise(model.calls[0].x_t, "The start x_T", "x_T ~ N(0, I)")
    sample(noise=start)
    expect_close(model.calls[0].x_t, start, "The start x_T when `noise` is given", "x_T = noise", 0)
    first, again, other = (sample(generator=generator(offset)) for offset in (0, 0, 1))
    expect_close(again, first, "The samples of a second run with an equal generator", equation, 0)
    expect(not torch.equal(first, other), "Samples from different generators", "equal", "different", equation)


# (schedule, steps, eta, clip_x0); more strides are in test_ddim's list of timesteps
DDIM_RUNS = (
    *((HARSH, steps, eta, False) for steps in (1, 5, 7, 16) for eta in (0.0, 0.5, 1.0)),
    *((HARSH, steps, 0.0, True) for steps in (1, 6, 16)),
    (DEFAULT, 50, 0.0, True),
    (DEFAULT, 10, 0.5, True),
)


@pytest.mark.points(12)
def test_ddim(diffusion, rng, seed):
    """sample_ddim visits `steps` timesteps, each step as in DDIM's Eq. (12)"""
    for timesteps, steps in (*((16, steps) for steps in range(1, 17)), (1000, 7), (1000, 50), (1000, 999)):
        schedule = HARSH if timesteps == 16 else DEFAULT
        process, model = build(diffusion, schedule, channels=1, size=2)
        process.sample_ddim(2, CPU, steps=steps)
        expect_ddim_timesteps(called_timesteps(model, TIMESTEPS), timesteps, steps)
    for steps in (0, -1, 17):
        expect_value_error(build(diffusion, HARSH)[0], steps)

    for run in DDIM_RUNS:
        for cond in (None, normal(rng, 8, 5)):
            expect_ddim_transitions(diffusion, *run, cond)

    process, model = build(diffusion, HARSH)

    def sample(**options):
        model.calls.clear()
        return process.sample_ddim(8, CPU, steps=5, eta=0.5, **options)

    expect_repeatable(sample, model, normal(rng, 8, 3, 16, 16), seed, DDIM)

    for steps, eta in ((4, 0.0), (4, 0.5), (16, 1.0)):
        ideal = IdealModel(HARSH)
        process, _ = build(diffusion, HARSH, model=ideal)
        samples = process.sample_ddim(64, CPU, steps=steps, eta=eta)
        pairs = list(zip(ideal.timesteps, [*ideal.timesteps[1:], -1], strict=True))
        transitions = [ideal.transition(HARSH.ddim_mean, t, t_prev, eta) for t, t_prev in pairs]
        deviations = [HARSH.ddim_sigma(t, t_prev, eta) for t, t_prev in pairs]
        what = f"sample_ddim, {steps} steps, eta = {eta}"
        expect_gaussian(samples, transitions, deviations, what, DDIM)


def expect_ddim_timesteps(seen, timesteps, steps):
    """Check the list of timesteps; rounding up or down is right, and so is starting the list at 0 or not."""
    what = f"The timesteps of {steps} steps, T = {timesteps}"
    shown = f"{seen[:8]}{' ...' if len(seen) > 8 else ''} ({len(seen)} calls)"
    expect(len(seen) == steps, what, shown, f"{steps} calls", TIMESTEPS)
    expect(seen[0] == timesteps - 1, what, shown, f"the first is {timesteps - 1}", TIMESTEPS)
    gaps = [t - t_prev for t, t_prev in zip(seen, [*seen[1:], -1], strict=True)]
    expect(min(gaps) > 0, what, shown, "distinct, descending, none below 0", TIMESTEPS)
    inner = gaps[:-1] or gaps
    even = max(inner) - min(inner) <= 1 and gaps[-1] <= max(inner) + 1
    shown = f"{shown}, jumps {gaps[:8]}, last one {gaps[-1]}"
    expect(even, what, shown, "jumps that differ by at most 1", TIMESTEPS)


def expect_value_error(process, steps):
    try:
        process.sample_ddim(2, CPU, steps=steps)
    except ValueError:
        return
    fail(f"sample_ddim with steps = {steps}, T = 16", "no error", "a ValueError", "1 <= steps <= T")


def expect_ddim_transitions(diffusion, schedule, steps, eta, clip, cond):
    """Compare each step with Eq. (12): exactly where there is no noise, otherwise by its residual."""
    process, model = build(diffusion, schedule, clip=clip)
    samples = process.sample_ddim(8, CPU, steps=steps, eta=eta, cond=cond)
    model.expect_cond(cond)
    expect_samples(samples, model, 8, called_timesteps(model, DDIM), DDIM)
    times = [*called_timesteps(model, DDIM), -1]
    for i, (call, x_prev) in enumerate(model.transitions(samples)):
        t, t_prev = times[i], times[i + 1]
        run = f"{schedule}, {steps} steps, eta = {eta}, clip_x0 = {clip}"
        what = f"The step from t = {t} to {t_prev} of a run with {run}"
        step = partial(schedule.ddim_mean, call.x_t, call.eps, t, t_prev, eta, clip)
        # Where x0 is clipped, the papers leave open whether eps_pred follows it.
        means = [step(recompute_eps=recompute_eps) for recompute_eps in (False, True)]
        mean = min(means, key=lambda mean: (mean - x_prev).abs().mean())  # noqa: B023
        sigma = schedule.ddim_sigma(t, t_prev, eta)
        if sigma == 0:
            expect_close(x_prev, mean, f"{what}: x_prev", DDIM, TOLERANCE[schedule])
        else:
            expect_noise((x_prev - mean) / sigma, what, DDIM, x_t=call.x_t, eps_pred=call.eps)
