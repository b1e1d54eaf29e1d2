"""Learning rates that fit the width of each layer, so that one `--lr` serves thin layers and wide ones.

Paper: Yang et al. 2022, "Tensor Programs V: Tuning Large Neural Networks via Zero-Shot Hyperparameter
Transfer", table 3: under Adam, whose updates all have the same size, a weight's learning rate should be
proportional to 1 / fan-in, because that many updates add up in each output. The rate that suits a wide
network is far too small for a thin one.

Simplified against the paper: only the learning rates follow the width, initialisation is PyTorch's; the
factor is capped, and biases and normalisations, which have no fan-in, get the cap.
"""

from torch import nn

# A 3x3 convolution of 512 channels gets the lr itself. Chosen by trial: tests/benchmarks/README.md.
REFERENCE_FAN_IN = 512 * 3 * 3
LARGEST_FACTOR = 10.0


def width_scaled(
    model: nn.Module, lr: float, reference: int = REFERENCE_FAN_IN, cap: float = LARGEST_FACTOR
) -> list[dict]:
    """Return the model's parameters as groups for Adam, each with a learning rate that fits its fan-in.

    lr_layer = lr * min(cap, reference / fan_in)

    Args:
        model: the model.
        lr: the learning rate of a layer with `reference` inputs.
        reference: that number of inputs.
        cap: the largest factor.

    Returns:
        One group per learning rate, largest first.
    """
    by_factor: dict[float, list[nn.Parameter]] = {}
    for parameter in model.parameters():
        factor = cap
        if parameter.dim() > 1:
            fan_in = parameter[0].numel()  # (out, in, ...) -> in * ...
            factor = min(factor, reference / fan_in)
        by_factor.setdefault(factor, []).append(parameter)
    return [{"params": by_factor[factor], "lr": lr * factor} for factor in sorted(by_factor, reverse=True)]
