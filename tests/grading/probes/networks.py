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
    embedding.cond = nn.Sequential(nn.Linear(cond_dim, dim))
    with torch.no_grad():
        embedding.cond[0].weight.copy_(weight)
        embedding.cond[0].bias.copy_(bias)
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
    """Call GuidedModel around the toy predictor."""
    from HW3.guidance import GuidedModel

    model = Recorder()
    guided = GuidedModel(model, guidance_scale).train(training)
    x_t, cond = copy(x_t, grad), copy(cond, grad)
    result = guided(x_t, t, cond)
    gradients = gradients_of(result, x_t, cond)
    return {
        "result": plain(result),
        "calls": model.calls,
        "gradients": gradients,
        "arguments": plain([x_t, t, cond]),
        "training": model.training,
    }


def update_average(decay, weights, means, counts):
    """Update an EMA with a model that has these weights, means and counts of batches, one after another.

    Args:
        decay: of EMA.
        weights, means: (N, D), N at least 1; the first of them when the EMA is made.
        counts: int64 (N,).

    Returns:
        The average after each update, by name, with what the trained model holds at the end.
    """
    from HW3.ema import EMA

    size = weights.shape[1]
    model = nn.Sequential(nn.Linear(size, 1), nn.BatchNorm1d(size))

    def train_to(index):
        with torch.no_grad():
            model[0].weight.copy_(weights[index : index + 1])
            model[0].bias.fill_(weights[index, 0])
            model[1].running_mean.copy_(means[index])
            model[1].num_batches_tracked.copy_(counts[index])

    train_to(0)
    ema = EMA(model, decay)
    averages = []
    for index in range(1, len(weights)):
        train_to(index)
        ema.update(model)
        state = ema.model.state_dict()
        averages.append({name: plain(value) for name, value in state.items()})
    return {
        "averages": averages,
        "updates": plain(ema.updates),
        "model": {name: plain(value) for name, value in model.state_dict().items()},
        "trains": [model.training, *(parameter.requires_grad for parameter in model.parameters())],
        "average_trains": [ema.model.training, *(p.requires_grad for p in ema.model.parameters())],
    }
