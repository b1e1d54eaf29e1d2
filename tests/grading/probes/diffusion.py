"""Probes of HW3/diffusion.py."""

import torch

from tests.grading.probes.common import Recorder, copy, generator, gradients_of, plain, seed_global


def process(config, model=None):
    from HW3.diffusion import DiffusionConfig, GaussianDiffusion

    return GaussianDiffusion(model, DiffusionConfig(**config))


def ddim_step(config, x_t, eps_pred, x0_pred, steps, seed, global_seed, shared=False):
    """Call ddim_step for each (t, t_prev, eta) of `steps`.

    Args:
        config: arguments of DiffusionConfig.
        x_t, eps_pred, x0_pred: of the first call and, as copies, of all others.
        steps: lists [t, t_prev, eta].
        seed: of the generator that is passed, a new one for each step; None passes none.
        global_seed: of torch's global generator, before each step.
        shared: seed once, and let all steps draw on.
    """
    diffusion = process(config)
    results, source = [], generator(seed)
    seed_global(global_seed)
    for t, t_prev, eta in steps:
        if not shared:
            source = generator(seed)
            seed_global(global_seed)
        arguments = x_t.clone(), eps_pred.clone(), x0_pred.clone()
        results.append(plain(diffusion.ddim_step(*arguments, t, t_prev, eta, source)))
    return {"results": results, "arguments": plain(arguments), "next_global": torch.rand(4)}


def sample_ddim(config, batch_size, noise, cond, seed, global_seed, **options):
    """Run sample_ddim with the toy predictor; return the samples and the predictor's calls."""
    model = Recorder()
    seed_global(global_seed)
    start, condition = noise.clone(), None if cond is None else cond.clone()
    samples = process(config, model).sample_ddim(
        batch_size, "cpu", cond=condition, noise=start, generator=generator(seed), **options
    )
    return {"samples": plain(samples), "calls": model.calls, "noise": plain(start)}


def q_sample(config, x0, t, noise, seed, repeat=1, grad=False):
    """Call q_sample, `repeat` times from one seed of the global generator."""
    diffusion = process(config)
    seed_global(seed)
    x0, t, noise = copy(x0, grad), copy(t), copy(noise, grad)
    results = [
        diffusion.q_sample(x0, t) if noise is None else diffusion.q_sample(x0, t, noise)
        for _ in range(repeat)
    ]
    gradients = gradients_of(results[-1], x0, noise)
    return {"results": plain(results), "gradients": gradients, "arguments": plain([x0, t, noise])}


def training_loss(config, tables, x0, noise, cond, seed, repeat=1, weight=1.0, gain=None, training=True):
    """Call training_loss, `repeat` times from one seed, with the toy predictor.

    Args:
        tables: (2, T), the weights of x0 and of the noise in what q_sample returns; that this is another
            exercise must not matter here.
        config, x0, noise, cond: of DiffusionConfig, and the arguments.
        seed: of the global generator.
        weight: that the prediction is multiplied by.
        gain: (T,), predict so much times x_t, by t, not what the toy predicts.
        training: the mode of the module.
    """
    model = Recorder(gain).to(x0.dtype)
    model.weight.data.fill_(weight)
    diffusion = process(config, model).train(training)

    def mixed(x0, t, noise=None):
        return weighted(tables, t, x0, torch.randn_like(x0) if noise is None else noise)

    diffusion.q_sample = mixed
    seed_global(seed)
    x0, noise, cond = copy(x0), copy(noise), copy(cond)
    options = {} if cond is None else {"cond": cond}
    options |= {} if noise is None else {"noise": noise}
    losses = [diffusion.training_loss(x0, **options) for _ in range(repeat)]
    gradients = gradients_of(losses[-1], model.weight)
    return {
        "losses": plain(losses),
        "calls": model.calls,
        "gradients": gradients,
        "arguments": plain([x0, noise, cond]),
    }


def p_mean_variance(config, x_t, t, cond, training=True):
    """Call p_mean_variance with the toy predictor, in training or evaluation mode."""
    model = Recorder()
    diffusion = process(config, model).train(training)
    results = diffusion.p_mean_variance(*(copy(value) for value in (x_t, t, cond) if value is not None))
    return {"results": plain(results), "calls": model.calls}


def sample_ddpm(
    config, tables, batch_size, noise, cond, seed, global_seed, seed_before=None, used=False, training=True
):
    """Run sample_ddpm with the toy predictor.

    Args:
        tables: (3, T), of p_mean_variance: the weights of x_t and of the predicted noise in the mean, and the
            variance; that it is another exercise must not matter here.
        config, batch_size, noise, cond: of DiffusionConfig, and the arguments.
        seed: of the generator that is passed; None passes none.
        global_seed: of torch's global generator.
        seed_before: let the same sampler make another run before, with a generator of this seed.
        used: draw from the generator before it is passed.
        training: the mode of the module.
    """
    model = Recorder()
    diffusion = process(config, model).train(training)

    def mean_and_variance(x_t, t, cond=None):
        eps_pred = model(x_t, t) if cond is None else model(x_t, t, cond)
        ones = torch.ones(len(x_t), *[1] * (x_t.dim() - 1))
        return weighted(tables[:2], t, x_t, eps_pred), weighted(tables[2:], t, ones), eps_pred

    diffusion.p_mean_variance = mean_and_variance
    seed_global(global_seed)
    start, condition = copy(noise), copy(cond)
    if seed_before is not None:
        diffusion.sample_ddpm(batch_size, "cpu", condition, noise=start, generator=generator(seed_before))
        model.calls.clear()
    source = generator(seed)
    if used:
        torch.rand(4, generator=source)
    samples = diffusion.sample_ddpm(batch_size, "cpu", cond=condition, noise=start, generator=source)
    return {
        "samples": plain(samples),
        "calls": model.calls,
        "noise": plain(start),
        "cond": plain(condition),
        "next_global": torch.rand(4),
    }


def weighted(tables, t, *tensors):
    """Return the sum of the tensors (B, ...), each weighted by its table's values at t (B,)."""
    rows = (-1, *[1] * (tensors[0].dim() - 1))
    return sum(table[t].view(rows) * tensor for table, tensor in zip(tables, tensors, strict=True))
