"""Classifier-free guidance, HW3/guidance.py; around the toy predictor, whose answers are known."""

import itertools

import torch

from tests.grading import toys
from tests.grading.checks import (
    as_list,
    as_tensor,
    during,
    expect,
    expect_changes,
    expect_close,
    expect_gradients,
    expect_sum,
    expect_unchanged,
    normal,
)

SHAPES = ((1, 3, 4, 4), (1, 2, 3, 3), (1, 20, 1, 1), (1, 7))  # `rows` judges batches


def combination(ask, rng):
    """The factors of both predictions for scales that are neither 0 nor 1."""
    for shape in SHAPES:
        for scale, training in itertools.product((2.0, 7.5, 0.5, -1.0, 12.0), (True, False)):
            arguments = inputs(rng, shape)
            reply = request(ask, scale, *arguments, training=training)
            eps_cond, eps_uncond = predictions(*arguments, reply["calls"])
            seen = as_tensor(reply["result"], shape, "The guided prediction")
            terms = {
                "the conditional prediction": (eps_cond, scale),
                "the unconditional prediction": (eps_uncond, 1 - scale),
            }
            expect_sum(
                seen, terms, f"The guided prediction for guidance_scale = {scale}, shape {shape}", 5e-4
            )


def zeros(ask, rng):
    """What the model gets as a condition: the given one or zeros, each at least once where it counts."""
    for scale, needed in (
        (2.0, {"zeros", "cond"}),
        (0.5, {"zeros", "cond"}),
        (0.0, {"zeros"}),
        (1.0, {"cond"}),
    ):
        x_t, t, cond = inputs(rng, (3, 2, 4, 4))
        reply = request(ask, scale, x_t, t, cond)
        found = set()
        for call in reply["calls"]:
            kind = getattr(call["t"], "dtype", type(call["t"]).__name__)
            expect(kind == torch.int64, "The type of t that the model gets", kind, "torch.int64, as t has")
            what = "The condition that the model gets"
            seen = call["cond"]
            expect(isinstance(seen, torch.Tensor), what, "none: it is called without one", "zeros, (B, D)")
            right = seen.dim() == 2 and seen.shape[1] == cond.shape[1]
            expect(right, f"{what}: its shape", tuple(seen.shape), f"(B, {cond.shape[1]})")
            for row in seen.to(cond.dtype):
                kind = (
                    "zeros" if not row.any() else "cond" if row.isclose(cond).all(dim=1).any() else "another"
                )
                expect(
                    kind != "another",
                    what,
                    f"{[round(v, 3) for v in row.tolist()]}",
                    "zeros, or a row of cond",
                )
                found.add(kind)
        missing = needed - found
        expect(
            not missing,
            "The conditions that the model gets",
            f"never {', '.join(missing)}",
            " and ".join(sorted(needed)),
        )


def scales(ask, rng):
    """The scales 1 and 0."""
    for shape in SHAPES:
        arguments = inputs(rng, shape)
        for scale, training in itertools.product((1.0, 0.0), (True, False)):
            reply = request(ask, scale, *arguments, training=training)
            seen, expected = reply["result"], predictions(*arguments, reply["calls"])[0 if scale else 1]
            name = "conditional" if scale else "unconditional"
            what = (
                f"The guided prediction for guidance_scale = {scale}, which is the {name} one, shape {shape},"
            )
            expect_close(seen, expected, what)


def rows(ask, rng):
    """A batch compared with each row alone."""
    for scale in (1.0, 3.0):
        for shape in ((5, 2, 3, 3), (2, 8)):
            arguments = inputs(rng, shape)
            seen = as_tensor(request(ask, scale, *arguments)["result"], shape, "The guided prediction")
            x_t, t, cond = arguments
            other = as_tensor(request(ask, scale, x_t, t, -cond)["result"], shape, "The guided prediction")
            expect_changes(seen, other, "The guided prediction for another condition")
            for row in range(shape[0]):
                alone = request(ask, scale, *(value[row : row + 1] for value in arguments))["result"]
                what = f"Row {row} of the prediction for a batch of {shape[0]}, compared with the row alone"
                expect_close(seen[row : row + 1], as_tensor(alone, (1, *shape[1:]), what), what)


def arguments(ask, rng):
    """Arguments and mode after the call; gradients."""
    for scale in (1.0, 3.0):
        for training in (True, False):
            given = inputs(rng, (3, 2, 4, 4))
            reply = request(ask, scale, *given, training=training)
            after = as_list(reply["arguments"], 3, "The arguments")
            for name, seen, before in zip(("x_t", "t", "cond"), after, given, strict=True):
                expect_unchanged(seen, before, f"{name}, an argument of forward")
            expect(
                reply["training"] is training, "model.training after the call", reply["training"], training
            )
            kept = reply["guidance_scale"]
            expect(kept == scale, "guidance_scale after the call", kept, f"{scale}, as before")
        x_t, t, cond = given

        def call(x_t, cond, grad, t=t, scale=scale):
            reply = request(ask, scale, x_t, t, cond, grad=grad)
            return as_tensor(reply["result"], x_t.shape, "The guided prediction"), reply["gradients"]

        what = f"the guided prediction for guidance_scale = {scale}"
        expect_gradients(call, {"x_t": x_t, "cond": cond}, rng, what)


def inputs(rng, shape):
    """Return x_t, t and cond."""
    return normal(rng, *shape), torch.randint(0, 1000, shape[:1], generator=rng), normal(rng, shape[0], 4)


def predictions(x_t, t, cond, calls):
    """Return the toy's prediction with the condition, and with the null token; for one row.

    If the model got one other condition than the given one, that is taken: `zeros` judges it.
    """
    given = [call["cond"] for call in calls if isinstance(call["cond"], torch.Tensor)]
    rows = [row for other in given if other.shape[1:] == cond.shape[1:] for row in other.to(cond.dtype)]
    others = {tuple(row.tolist()) for row in rows if not row.equal(cond[0])}
    null = torch.tensor([*others]) if len(others) == 1 else torch.zeros_like(cond)
    return toys.predict(x_t, t, cond), toys.predict(x_t, t, null)


def request(ask, scale, x_t, t, cond, **options):
    with during(f"GuidedModel.forward for guidance_scale = {scale}, x_t of the shape {tuple(x_t.shape)}"):
        return ask("guide", guidance_scale=scale, x_t=x_t, t=t, cond=cond, **options)
