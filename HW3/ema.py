"""Exponential moving average (EMA) of a model's weights.

Polyak and Juditsky 1992; with the decay warmed up as in TensorFlow's ExponentialMovingAverage, so that the
first epochs, too, draw with weights that have forgotten the initial ones.
"""

import copy

import torch
from torch import nn


class EMA:
    """Keep a copy of a model whose weights follow the model's as a moving average.

    Floating-point buffers (the statistics of BatchNorm) are averaged with the same decay, others are copied.

    Args:
        model: the model that is trained.
        decay: in [0, 1); 0.999 averages over about the last thousand steps.

    Raises:
        ValueError: if decay is not in [0, 1).
    """

    def __init__(self, model: nn.Module, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay}")
        self.decay = decay
        self.updates = 0
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the model's present weights; call it after every optimizer step."""
        # TASK: update self.model, the average. With a decay d, a weight of the average keeps the share d of
        # its value and takes the rest from `model`. d is self.decay, but at most (1 + n) / (10 + n) after n
        # earlier updates; self.updates counts them. The buffers of floating-point numbers are averaged like
        # weights, other buffers (BatchNorm's num_batches_tracked) are copied. Change the tensors of
        # self.model in place, and leave `model` as it is.
        ### BEGIN SOLUTION ema
        # average = d * average + (1 - d) * weights, d = min(decay, (1 + n) / (10 + n)) after n updates
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        averages, values = [], []
        source = model.state_dict()
        for name, average in self.model.state_dict().items():
            if average.is_floating_point():
                averages.append(average)
                values.append(source[name])
            else:
                average.copy_(source[name])
        torch._foreach_lerp_(averages, values, 1 - decay)
        ### END SOLUTION
