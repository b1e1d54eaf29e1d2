"""Optimizers for the noise predictors, for which one `--lr` serves thin layers and wide ones.

`Muon`, for the UNets. Paper: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"
(kellerjordan.github.io/posts/muon). The steps of other optimizers, seen as matrices, are nearly of low rank:
a few directions dominate. Muon makes all directions of a step equally long, so that what shows in the rare
ones is learned as fast. It needs half as many steps as Adam here: tests/benchmarks/README.md. Simplified
against the paper: it trains all parameters, where they leave the first and the last layer, biases and
normalisations to Adam; what has no rows and columns is taken for a matrix of one row. Added: the learning
rate falls by itself.

`width_scaled`, for the MLP, whose weights are used once per row and not at every pixel: there Muon's matrix
products would cost far more than the training itself. Paper: Yang et al. 2022, "Tensor Programs V: Tuning
Large Neural Networks via Zero-Shot Hyperparameter Transfer", table 3: under Adam, whose updates all have the
same size, a weight's learning rate should be proportional to 1 / fan-in, because that many updates add up in
each output. Simplified against it: only the learning rates follow the width, initialisation is PyTorch's; the
factor is capped, and biases and normalisations, which have no fan-in, get the cap.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

STEP_LENGTH = 100.0  # of Muon at lr = 1; it makes 1e-4 to 2e-4, which suit Adam, suit Muon
STEADY_STEPS = 1000  # of Muon, before the lr begins to fall
# `orthogonalize`: coefficients and number of iterations of Jordan et al.
LINEAR, CUBIC, QUINTIC = 3.4445, -4.7750, 2.0315
ITERATIONS = 5

# Under `width_scaled`, a layer with so many inputs gets the lr itself; those of the MLP have 100 to 512, and
# get 9 to 10 times as much. Chosen by trial, when the UNets were trained so, too: tests/benchmarks/README.md
REFERENCE_FAN_IN = 512 * 3 * 3
LARGEST_FACTOR = 10.0


def orthogonalize(stacks: Sequence[Tensor]) -> list[Tensor]:
    """Bring all singular values of matrices near to 1, by the Newton-Schulz iteration of Jordan et al.

    X <- a X + b (X X^T) X + c (X X^T)^2 X maps every singular value s to a s + b s^3 + c s^5; it begins with
    X / |X|, so that s <= 1. The coefficients lift small s fast; in the end most lie between 0.7 and 1.2.

    An iteration is X <- P X with the polynomial P = a + b gram + c gram^2 in gram = X X^T, which then becomes
    P gram P. So X itself, whose longer side may be a convolution's whole kernel, is multiplied only twice,
    and all matrices whose shorter sides are equal go through the iterations together.

    Args:
        stacks: matrices (K, M, N), a stack of K for each shape.

    Returns:
        The stacks in their order and shapes; zeros stay zeros.
    """
    unit = [stack / stack.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7) for stack in stacks]
    wide = [x if x.shape[1] <= x.shape[2] else x.mT for x in unit]  # X X^T is the smaller product
    by_rows = defaultdict(list)
    for index, x in enumerate(wide):
        by_rows[x.shape[1]].append(index)
    for indices in by_rows.values():
        grams = [wide[index] @ wide[index].mT for index in indices]  # (K, M, N) -> (K, M, M)
        polynomials = newton_schulz(torch.cat(grams)).split([len(gram) for gram in grams])
        for index, polynomial in zip(indices, polynomials, strict=True):
            wide[index] = polynomial @ wide[index]
    return [x if x.shape == stack.shape else x.mT for x, stack in zip(wide, stacks, strict=True)]


def newton_schulz(gram: Tensor) -> Tensor:
    """Return the polynomials (K, M, M) that make X orthogonal, the products of all P of `orthogonalize`.

    Args:
        gram: X X^T (K, M, M), |X| = 1.
    """
    identity = torch.eye(gram.shape[1], device=gram.device)
    product = None
    for remaining in reversed(range(ITERATIONS)):
        polynomial = LINEAR * identity + torch.baddbmm(gram, gram, gram, beta=CUBIC, alpha=QUINTIC)
        product = polynomial if product is None else polynomial @ product
        if remaining:
            gram = polynomial @ gram @ polynomial
    return product


class Muon(torch.optim.Optimizer):
    """Step along the momentum of each weight, made orthogonal.

    momentum <- beta momentum + (1 - beta) gradient
    weight <- weight - 100 lr_n sqrt(max(1, M / N)) orthogonalize(beta momentum + (1 - beta) gradient)
    lr_n = lr min(1, 1000 / n)

    with the weight seen as a matrix (M, N): outputs and inputs of a layer, a convolution's kernel with the
    inputs; a vector is one row. The rate of the n-th step falls, because a step's length does not: made
    orthogonal, the noise of a gradient is as long near the end as at the start. It does not ask how long the
    training will be, so one that is resumed for more epochs continues as a longer one.

    Args:
        params: the parameters.
        lr: a hundredth of the spectral norm of the first steps.
        momentum: beta, in [0, 1).

    Raises:
        ValueError: if momentum is not in [0, 1).
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {momentum}")
        super().__init__(params, {"lr": lr, "momentum": momentum, "steps": 0})

    @torch.no_grad()
    def step(self) -> None:
        """Do a training step with the gradients at hand."""
        for group in self.param_groups:
            # Counted where the weights are, so that a CUDA graph counts, too.
            steps = group["steps"] = torch.as_tensor(group["steps"], device=group["params"][0].device)
            steps += 1
            lr = group["lr"] * (STEADY_STEPS / steps).clamp(max=1)
            weights = [weight for weight in group["params"] if weight.grad is not None]
            gradients = [weight.grad for weight in weights]
            momenta = [self._momentum(weight) for weight in weights]
            torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
            directions = torch._foreach_lerp(gradients, momenta, group["momentum"])

            by_shape = defaultdict(list)  # of one shape together: many small products are slow
            for weight, direction in zip(weights, directions, strict=True):
                matrix = direction.flatten(1) if weight.dim() > 1 else direction[None]
                by_shape[matrix.shape].append((weight, matrix))
            stacks = [torch.stack([matrix for _, matrix in pairs]) for pairs in by_shape.values()]
            updated, updates = [], []
            for pairs, stack in zip(by_shape.values(), orthogonalize(stacks), strict=True):
                rows, columns = stack.shape[1:]
                length = STEP_LENGTH * lr * math.sqrt(max(1, rows / columns))
                updated += [weight for weight, _ in pairs]
                updates += [
                    step.view_as(weight)
                    for (weight, _), step in zip(pairs, (length * stack).contiguous(), strict=True)
                ]
            torch._foreach_sub_(updated, updates)

    def _momentum(self, weight: nn.Parameter) -> Tensor:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        return state["momentum"]


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
