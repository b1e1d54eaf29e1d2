"""The moving average of the weights, HW3/ema.py.

The toy model is a linear layer and a BatchNorm with its statistics and its count; it has a parameter without
dimensions, `gain`, and other buffers, `mark` of float64, `small` of int32 and `flags` of bool. A decay of 0.7
is reached after 20 updates.
"""

import torch

from tests.grading.checks import as_list, as_tensor, during, expect, expect_changes, expect_close, normal

SIZE = 5
WEIGHTS = ("0.weight", "0.bias", "1.weight", "1.bias", "gain")
BUFFERS = ("1.running_mean", "1.running_var", "mark")
COUNT = "1.num_batches_tracked"
COPIED = (COUNT, "small", "flags")


def average(ask, rng):
    """The weights in an update from the average before it, after the warm-up."""
    for decay in (0.0, 0.5, 0.7):
        states = [make_state(normal(rng, SIZE), normal(rng, SIZE)) for _ in range(30)]
        averages = run(ask, decay, states)["averages"]
        for n in range(27, 30):
            for name in WEIGHTS:
                value = states[n][name].double()
                before = field(averages[n - 2], name, value.shape)
                what = f"{name} of the average after update {n}, from the one before, decay = {decay},"
                expected = decay * before + (1 - decay) * value
                expect_close(field(averages[n - 1], name, value.shape), expected, what)


def warm_up(ask, rng):
    """The decay that was used, from a weight that jumps from 0 to 1 at each update."""
    for decay in (0.9, 0.999, 0.3):
        states = [make_state(torch.full((SIZE,), float(n)), torch.zeros(SIZE)) for n in range(41)]
        averages = run(ask, decay, states)["averages"]
        previous = 0.0
        for n, state in enumerate(averages):
            value = field(state, "0.weight", (3, SIZE))[0, 0].item()
            seen, wanted = 1 - (value - previous) / (n + 1 - previous), min(decay, (1 + n) / (10 + n))
            what = f"The decay in update {n + 1}, after {n} earlier ones, for decay = {decay}"
            expect(abs(seen - wanted) < 1e-3, what, f"{seen:.5g}", f"{wanted:.5g}")
            previous = value


def buffers(ask, rng):
    """The buffers, compared with a weight that has the same numbers; the count."""
    for decay in (0.05, 0.9):
        values, counts = normal(rng, 6, SIZE), (3, 7, 20, 21, 22, 100)
        states = [make_state(v, v, count) for v, count in zip(values, counts, strict=True)]
        averages = run(ask, decay, states)["averages"]
        for n, state in enumerate(averages, 1):
            wanted = field(state, "1.bias", (SIZE,))
            for name in BUFFERS:
                what = f"{name} after update {n}, compared with an equal weight, decay = {decay},"
                expect_close(field(state, name, (SIZE,)), wanted, what)
            for name in COPIED:
                wanted = states[n][name].double()
                expect_close(field(state, name, wanted.shape), wanted, f"{name} after update {n}")


def model(ask, rng):
    """The trained model after the updates, the average's mode, and the count."""
    states = [make_state(normal(rng, SIZE), normal(rng, SIZE), n) for n in range(4)]
    reply = run(ask, 0.5, states)
    ends = [field(reply["averages"][i], "1.weight", states[0]["1.weight"].shape) for i in (0, -1)]
    expect_changes(*ends, "The average after 1 and after 3 updates")
    for name, expected in states[-1].items():
        seen = as_tensor(reply["model"].get(name), expected.shape, f"{name} of the trained model")
        expect_close(seen, expected.double(), f"{name} of the trained model", 0)
        for_later = field(reply["later"], name, expected.shape)
        same = for_later.equal(field(reply["averages"][-1], name, expected.shape))
        what = f"{name} of the average, after the model is trained on without another update,"
        expect(same, what, "changed with it: it is the model's own tensor", "as before")
    moved = ", ".join(map(str, reply["moved"]))
    expect(not moved, f"The memory of the average's {moved}", "another: a new tensor", "changed in place")
    trains = all(reply["trains"]) and reply["modes"] == [True, True, False]
    expect(trains, "The trained model's mode, or its parameters' requires_grad,", "changed", "as before")
    kept = all(isinstance(grad, torch.Tensor) and bool((grad == 1).all()) for grad in reply["grads"])
    expect(kept, "The gradients of the trained model", "changed", "as before")
    seen = "it trains, or needs gradients"
    expect(not any(reply["average_trains"]), "The average", seen, "evaluation mode, no gradients")
    expect(reply["updates"] == 3, "ema.updates after 3 updates", reply["updates"], 3)


def make_state(weight, buffer, count=0):
    """Return a state of the toy model: all weights are made of one vector, all buffers of another."""
    return {
        "0.weight": torch.stack([weight, 2 * weight, -weight]),
        "0.bias": weight[:3].clone(),
        "1.weight": -weight,
        "1.bias": weight,
        "1.running_mean": buffer,
        "1.running_var": buffer,
        "gain": weight[0].clone(),
        "mark": buffer.double(),
        "small": torch.arange(SIZE) + count,
        "flags": buffer > 0,
        COUNT: torch.tensor(count),
    }


def run(ask, decay, states):
    with during(f"EMA.update with decay = {decay}"):
        reply = ask("update_average", decay=decay, states=states)
    as_list(reply["averages"], len(states) - 1, "The averages")
    return reply


def field(state, name, shape):
    return as_tensor(state.get(name), shape, f"{name} of the average")
