"""What probes share: results as plain values, gradients, generators, the toy predictor."""

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


def copy(value, grad=False):
    """Return a copy of a tensor, a leaf that gradients reach if asked for; None as it is."""
    return None if value is None else value.clone().requires_grad_(grad)


def generator(seed):
    return None if seed is None else torch.Generator().manual_seed(seed)


def seed_global(seed):
    """Seed the global generator of the CPU alone: `torch.manual_seed` takes longer, for all accelerators."""
    torch.default_generator.manual_seed(seed)


class Recorder(nn.Module):
    """The toy predictor of `toys.predict`, which remembers what it was called with, as plain values.

    Args:
        gain: (T,), predict so much times x_t, by t, instead.
    """

    def __init__(self, gain=None):
        super().__init__()
        self.gain = gain
        self.weight = nn.Parameter(torch.ones(()))
        self.calls = []

    def forward(self, x_t, t, cond=None):
        self.calls.append({"x_t": plain(x_t), "t": plain(t), "cond": plain(cond)})
        if self.gain is not None:
            return self.weight * self.gain[t].view(-1, *[1] * (x_t.dim() - 1)) * x_t
        return self.weight * toys.predict(x_t, t, cond)


def gradients_of(result, *inputs):
    """Return the gradient of a weighted sum of result's numbers by each input, None where there is none."""
    inputs = [value for value in inputs if isinstance(value, torch.Tensor) and value.requires_grad]
    if not inputs or not isinstance(result, torch.Tensor) or not result.requires_grad:
        return [None for _ in inputs]
    weights = toys.mix(result.shape).to(result.dtype)
    total = (weights * result).sum()
    return plain(torch.autograd.grad(total, inputs, allow_unused=True))
