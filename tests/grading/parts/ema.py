"""The moving average of the weights, HW3/ema.py.

The toy model is a linear layer, `0.weight` and `0.bias`, and a BatchNorm with its statistics,
`1.running_mean` and `1.num_batches_tracked`. With a decay below 0.1 there is no warm-up.
"""

import torch

from tests.grading.checks import as_list, as_tensor, during, expect, expect_close, normal

SIZE = 5


def average(ask, rng):
    """The weights after several updates, for decays that do not warm up."""
    for decay in (0.0, 0.05, 0.09):
        weights = normal(rng, 5, SIZE)
        averages = run(ask, decay, weights, normal(rng, 5, SIZE))["averages"]
        for name, values in (("0.weight", weights[:, None]), ("0.bias", weights[:, :1])):
            compare(averages, name, values, [decay] * 4, f"decay = {decay}")


def warm_up(ask, rng):
    """The decay that was used, from a weight that jumps from 0 to 1 at each update."""
    for decay in (0.9, 0.999, 0.3):
        weights = torch.arange(41.0)[:, None].repeat(1, SIZE)
        averages = run(ask, decay, weights, torch.zeros(41, SIZE))["averages"]
        previous = 0.0
        for n, state in enumerate(averages):
            value = field(state, "0.weight", (1, SIZE))[0, 0].item()
            seen, wanted = 1 - (value - previous) / (n + 1 - previous), min(decay, (1 + n) / (10 + n))
            what = f"The decay in update {n + 1}, after {n} earlier ones, for decay = {decay}"
            expect(abs(seen - wanted) < 1e-3, what, f"{seen:.5g}", f"{wanted:.5g}")
            previous = value


def buffers(ask, rng):
    """The statistics of BatchNorm, compared with the weights, and its count."""
    for decay in (0.05, 0.9):
        means, counts = normal(rng, 6, SIZE), torch.tensor([3, 7, 20, 21, 22, 100])
        averages = run(ask, decay, means, means, counts)["averages"]
        for n, state in enumerate(averages):
            seen, wanted = field(state, "1.running_mean", (SIZE,)), field(state, "0.weight", (1, SIZE))[0]
            what = f"running_mean after update {n + 1}, compared with equal weights, decay = {decay},"
            expect_close(seen, wanted, what)
            what = f"num_batches_tracked after update {n + 1}"
            expect_close(field(state, "1.num_batches_tracked", ()), counts[n + 1].double(), what)


def model(ask, rng):
    """The trained model after the updates, the average's mode, and the count."""
    weights, means, counts = normal(rng, 4, SIZE), normal(rng, 4, SIZE), torch.tensor([1, 2, 3, 9])
    reply = run(ask, 0.5, weights, means, counts)
    for name, expected in (
        ("0.weight", weights[-1:]),
        ("0.bias", weights[-1, :1]),
        ("1.running_mean", means[-1]),
        ("1.num_batches_tracked", counts[-1].double()),
    ):
        expect_close(field(reply["model"], name, expected.shape), expected, f"{name} of the trained model", 0)
    expect(
        all(reply["trains"]), "The trained model", "it no longer trains, or needs no gradients", "as before"
    )
    seen = "it trains, or needs gradients"
    expect(not any(reply["average_trains"]), "The average", seen, "evaluation mode, no gradients")
    expect(reply["updates"] == 3, "ema.updates after 3 updates", reply["updates"], 3)


def run(ask, decay, weights, means, counts=None):
    counts = torch.arange(len(weights)) if counts is None else counts
    with during(f"EMA.update with decay = {decay}"):
        reply = ask("update_average", decay=decay, weights=weights, means=means, counts=counts)
    as_list(reply["averages"], len(weights) - 1, "The averages")
    return reply


def field(state, name, shape):
    return as_tensor(state.get(name), shape, f"{name} of the average")


def compare(averages, name, values, decays, words):
    """Compare a field with the recursion that starts at its first value."""
    expected = values[0].double()
    for n, (state, value, decay) in enumerate(zip(averages, values[1:], decays, strict=True), 1):
        expected = decay * expected + (1 - decay) * value.double()
        expect_close(
            field(state, name, value.shape), expected, f"{name} of the average after update {n}, {words},"
        )
