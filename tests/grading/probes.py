"""What runs in the process that imports the submission: call its code with given inputs, return the outcome.

A probe takes and returns numbers, strings, None, lists and dicts of these, and CPU tensors. It imports HW3
late, so that a module that does not import fails its own exercises and no others. There is no formula of an
exercise here, no expected value and no verdict.
"""

import torch
from torch import nn

from tests.grading import toys


def plain(value):
    """Return a result in the types that a probe may return; what is none of them, by the name of its type."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        known = value.dtype in (torch.float32, torch.float64, torch.int64, torch.bool)
        return value.clone() if known else f"a tensor of the type {value.dtype}"
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return f"an object of the type {type(value).__name__}"


def generator(seed):
    return None if seed is None else torch.Generator().manual_seed(seed)


class Recorder(nn.Module):
    """The toy predictor of `toys.predict`, which remembers what it was called with, as plain values."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.calls = []

    def forward(self, x_t, t, cond=None):
        self.calls.append({"x_t": plain(x_t), "t": plain(t), "cond": plain(cond)})
        return self.weight * toys.predict(x_t, t, cond)


def process(config, model=None):
    from HW3.diffusion import DiffusionConfig, GaussianDiffusion

    return GaussianDiffusion(model, DiffusionConfig(**config))


# ddim_step


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
    torch.manual_seed(global_seed)
    for t, t_prev, eta in steps:
        if not shared:
            source = generator(seed)
            torch.manual_seed(global_seed)
        arguments = x_t.clone(), eps_pred.clone(), x0_pred.clone()
        results.append(plain(diffusion.ddim_step(*arguments, t, t_prev, eta, source)))
    return {"results": results, "arguments": plain(arguments), "next_global": torch.rand(4)}


def sample_ddim(config, batch_size, noise, cond, seed, global_seed, **options):
    """Run sample_ddim with the toy predictor; return the samples and the predictor's calls."""
    model = Recorder()
    torch.manual_seed(global_seed)
    start, condition = noise.clone(), None if cond is None else cond.clone()
    samples = process(config, model).sample_ddim(
        batch_size, "cpu", cond=condition, noise=start, generator=generator(seed), **options
    )
    return {"samples": plain(samples), "calls": model.calls, "noise": plain(start)}


# condition


def embed(dim, cond_dim, table, weight, bias, t, conds, by_default=False, training=True):
    """Call Embedding.forward for each condition, with toy networks for time and condition.

    Args:
        dim, cond_dim: arguments of Embedding.
        table: (T, dim), the embedding of each timestep.
        weight, bias: of a linear layer that embeds the condition.
        t: int64 (B,).
        conds: the conditions; None stands for none.
        by_default: where there is none, call forward without the argument.
        training: the mode of the module.
    """
    from HW3.Unet import Embedding

    embedding = Embedding(dim, cond_dim).train(training)
    embedding.time = nn.Embedding.from_pretrained(table.clone(), freeze=False)
    embedding.cond = nn.Sequential(nn.Linear(cond_dim, dim))
    with torch.no_grad():
        embedding.cond[0].weight.copy_(weight)
        embedding.cond[0].bias.copy_(bias)
    results, errors, gradients, arguments = [], [], [], []
    for cond in conds:
        argument = cond.clone().requires_grad_() if cond is not None and cond.is_floating_point() else cond
        try:
            result = embedding(t) if cond is None and by_default else embedding(t, argument)
        except ValueError as error:  # which the task asks for where a shape is wrong
            result = None
            errors.append(str(error)[:200])
        else:
            errors.append(None)
        results.append(plain(result))
        arguments.append(plain(argument))
        gradients.append(gradients_of(result, argument, *embedding.parameters()))
    return {"results": results, "errors": errors, "gradients": gradients, "arguments": arguments}


def gradients_of(result, *inputs):
    """Return the gradient of a weighted sum of result's numbers by each input, None where there is none."""
    inputs = [value for value in inputs if isinstance(value, torch.Tensor) and value.requires_grad]
    if not isinstance(result, torch.Tensor) or not result.requires_grad:
        return [None for _ in inputs]
    weights = toys.mix(result.shape).to(result.dtype)
    return plain(torch.autograd.grad(result, inputs, weights, retain_graph=True, allow_unused=True))
