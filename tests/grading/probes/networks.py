"""Probes of HW3/Unet.py, HW3/guidance.py and HW3/ema.py."""

import torch
from torch import nn

from tests.grading.probes.common import Recorder, copy, gradients_of, plain


def embed(dim, cond_dim, table, weight, bias, t, conds, by_default=False, training=True, grad=False):
    """Call Embedding.forward for each condition, with toy networks for time and condition.

    Args:
        dim, cond_dim: arguments of Embedding.
        table: (T, dim), the embedding of each timestep.
        weight, bias: of a linear layer that embeds the condition.
        t: int64 (B,).
        conds: the conditions; None stands for none.
        by_default: where there is none, call forward without the argument.
        grad: return gradients, too.
        training: the mode of the module.
    """
    from HW3.Unet import Embedding

    embedding = Embedding(dim, cond_dim).train(training)
    embedding.time = nn.Embedding.from_pretrained(table.clone(), freeze=False)
    layer = nn.Linear(cond_dim, dim)
    embedding.cond = nn.Sequential(nn.Identity(), layer)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    results, errors, gradients, arguments = [], [], [], []
    for cond in conds:
        argument = copy(cond, grad)
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


def guide(guidance_scale, x_t, t, cond, training=True, grad=False):
    """Call GuidedModel around the toy predictor, which was called with other numbers before."""
    from HW3.guidance import GuidedModel

    model = Recorder()
    guided = GuidedModel(model, guidance_scale).train(training)
    guided(0.5 * x_t, t // 2, -cond)
    model.calls.clear()
    x_t, t, cond = copy(x_t, grad), copy(t), copy(cond, grad)
    result = guided(x_t, t, cond)
    gradients = gradients_of(result, x_t, cond)
    return {
        "result": plain(result),
        "calls": model.calls,
        "gradients": gradients,
        "arguments": plain([x_t, t, cond]),
        "training": model.training,
        "guidance_scale": plain(guided.guidance_scale),
    }


def update_average(decay, states):
    """Update an EMA with a model that has one state after another.

    Args:
        decay: of EMA.
        states: the model's tensors by name, the first of them when the EMA is made.

    Returns:
        The average after each update, and what is left of the model and the average at the end.
    """
    from HW3.ema import EMA

    size = states[0]["1.running_mean"].numel()
    model = nn.Sequential(nn.Linear(size, 3), nn.BatchNorm1d(size))
    model.register_buffer("mark", torch.zeros(size, dtype=torch.float64))
    model.register_parameter("gain", nn.Parameter(torch.zeros(())))
    model.register_buffer("flags", torch.zeros(size, dtype=torch.bool))
    model.register_buffer("small", torch.zeros(size, dtype=torch.int32))
    tensors = model.state_dict(keep_vars=True)

    def train_to(state):
        with torch.no_grad():
            for name, value in tensors.items():
                value.copy_(state[name])

    train_to(states[0])
    model[1].eval()
    ema = EMA(model, decay)
    held = ema.model.state_dict(keep_vars=True)
    places = {name: value.data_ptr() for name, value in held.items()}
    averages = []
    for state in states[1:]:
        train_to(state)
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        ema.update(model)
        averages.append(values_of(held))
    left = values_of(tensors)
    grads = [plain(parameter.grad) for parameter in model.parameters()]
    train_to(states[0])
    return {
        "averages": averages,
        "later": values_of(held),
        "moved": [name for name, value in held.items() if value.data_ptr() != places[name]],
        "updates": plain(ema.updates),
        "model": left,
        "grads": grads,
        "modes": [module.training for module in model.modules()],
        "trains": [parameter.requires_grad for parameter in model.parameters()],
        "average_trains": [ema.model.training, *(p.requires_grad for p in ema.model.parameters())],
    }


def values_of(tensors):
    """Return copies of tensors by name, int32 as int64."""
    return {name: plain(v.long() if v.dtype == torch.int32 else v) for name, v in tensors.items()}
