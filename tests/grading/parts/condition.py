"""The conditional path of the noise predictor, HW3/Unet.py.

The networks for time and condition are toys: a table of vectors, and one linear layer with more outputs than
inputs. So what the layer was given follows from the result.
"""

import copy

import torch

from tests.grading.ask import StudentError
from tests.grading.checks import (
    Wrong,
    as_list,
    as_tensor,
    describe,
    during,
    expect,
    expect_close,
    expect_unchanged,
    normal,
)

SIZES = ((4, 24, 6), (1, 24, 6), (3, 160, 128), (5, 40, 10), (7, 16, 1))  # rows, dim, cond_dim
TIMESTEPS = 50


def added(ask, rng):
    """embedding = time(t) + cond(something)."""
    for rows, dim, cond_dim in SIZES:
        toy = Toy(rng, rows, dim, cond_dim)
        for training in (True, False):
            result = toy.results(ask, [toy.conditions(rng)], training=training)[0]
            without_time = result - toy.time()
            rest = without_time - toy.layer(toy.given_to_layer(without_time))
            mode = "in training" if training else "in evaluation"
            seen = f"not time(t) + self.cond(...), whatever self.cond is given: {toy.guess(result)}"
            right = rest.norm() < 1e-3 * without_time.norm()
            expect(right, f"The embedding {mode}, {toy}", seen, "the sum of the two embeddings")


def none(ask, rng):
    """What self.cond is given for None, and for rows of zeros."""
    for rows, dim, cond_dim, training in in_both_modes(SIZES):
        toy = Toy(rng, rows, dim, cond_dim, training)
        zeros = torch.zeros(rows, cond_dim)
        for label, cond, by_default in (
            ("cond = None", None, False),
            ("no cond", None, True),
            ("cond of zeros", zeros, False),
        ):
            what = f"The embedding for {label}, {toy}"
            reply = toy.ask(ask, [cond], by_default=by_default)
            error = as_list(reply["errors"], 1, "The errors")[0]
            expect(error is None, what, f"ValueError: {error}", "the embedding for a condition of zeros")
            result = as_tensor(as_list(reply["results"], 1, what)[0], (rows, dim), what)
            alone = (result - toy.time()).abs().max() < 1e-4
            expect(not alone, what, "the time's embedding alone", "time(t) + self.cond(zeros)")
            seen = toy.given_to_layer(result - toy.time())
            if (toy.layer(seen) - result + toy.time()).abs().max() < 1e-4:  # it is a sum
                expect_close(seen, zeros, f"What self.cond is given for {label}, {toy}")
            else:  # another combination, which `added` judges; here it must be that of zeros
                same = toy.results(ask, [zeros])[0]
                expect_close(result, same, f"{what}, compared with that for zeros")
                changed = (toy.with_other_layer(rng).results(ask, [cond])[0] - result).abs().max() > 1e-4
                expect(changed, what, "the same for any weights of self.cond: it is not used", "it is used")


def shape(ask, rng):
    """Wrong shapes, each a ValueError; and the right one, which is none."""
    for rows, dim, cond_dim, training in in_both_modes(((4, 24, 6), (1, 24, 6), (6, 24, 6), (3, 40, 10))):
        toy = Toy(rng, rows, dim, cond_dim, training)
        reply = toy.ask(ask, [toy.conditions(rng)])
        error = as_list(reply["errors"], 1, "The errors")[0]
        what = f"Embedding.forward with a cond of the shape {(rows, cond_dim)}, {toy}"
        expect(error is None, what, f"ValueError: {error}", "no error")
        wrong = [
            (rows, cond_dim + 1),
            (rows, cond_dim - 1),
            (rows, 1),
            (rows + 1, cond_dim),
            (2 * rows, cond_dim),
            (cond_dim,),
            (rows, cond_dim, 1),
            (rows, 1, cond_dim),
            (1, rows, cond_dim),
            (rows * cond_dim,),
            (0, cond_dim),
            (rows, 0),
            *([(cond_dim, rows)] if rows != cond_dim else []),
            *([(1, cond_dim), (rows - 1, cond_dim)] if rows > 1 else []),
        ]
        for size in wrong:
            what = f"Embedding.forward with a cond of the shape {size}, {toy}"
            try_shape(ask, toy, normal(rng, *size), what)


def try_shape(ask, toy, cond, what):
    try:
        reply = toy.ask(ask, [cond])
    except StudentError as error:
        seen = f"{error.kind}: {error.message}"[:300]
        raise Wrong(what, seen, "a ValueError, from a check of the shape before cond is used") from None
    error = as_list(reply["errors"], 1, "The errors")[0]
    expect(error is not None, what, f"no error, but {describe(reply['results'][0])}", "a ValueError")


def scaling(ask, rng):
    """The factor between the condition and what self.cond is given."""
    for rows, dim, cond_dim, training in in_both_modes(SIZES):
        toy = Toy(rng, rows, dim, cond_dim, training)
        cond = toy.conditions(rng)[:1].repeat(rows, 1)  # `rows` judges who gets which
        for label, scale in (
            ("unit vectors", 1.0),
            ("vectors half as long, which should not matter,", 0.5),
        ):
            one, other = toy.results(ask, [scale * cond, -scale * cond])
            for row, given in zip(scale * cond.double(), toy.given_to_layer(one, other) / 2, strict=True):
                seen = abs((row * given).sum() / row.square().sum()).item()  # `added` judges the sign
                expected = cond_dim**0.5
                right = abs(seen / expected - 1) < 1e-3
                wanted = f"{expected:.5g}: the root mean square of the components is 1 then"
                expect(right, f"The factor of {label} before self.cond, {toy}", f"{seen:.5g}", wanted)


def rows(ask, rng):
    """A row's result depends on its own condition, and on all of it."""
    for rows, dim, cond_dim in SIZES:
        toy = Toy(rng, rows, dim, cond_dim)
        cond = toy.conditions(rng)
        for i in range(rows):
            changed = cond.clone()
            changed[i] += torch.nn.functional.normalize(normal(rng, cond_dim), dim=0)
            first, second = toy.results(ask, [cond, changed])
            change = (second - first).abs().amax(dim=1)
            what = f"How much row {i} changes when its condition is replaced, {toy}"
            expect(change[i] > 1e-4, what, f"{change[i]:.2g}", "it changes")
            others = torch.cat([change[:i], change[i + 1 :]])
            if len(others):
                what = f"How much other rows change when the condition of row {i} is replaced, {toy}"
                expect(others.max() < 1e-4, what, f"{others.max():.2g}", "0")
            direction = changed[i].double() - cond[i]
            given = toy.given_to_layer(second, first)[i]
            turned = 1 - abs(torch.cosine_similarity(direction, given, dim=0).item())
            what = f"The direction in which self.cond sees row {i}'s condition change, {toy}"
            expect(turned < 1e-4, what, "another one: components are lost or mixed", "that of the condition")
    toy = Toy(rng, 4, 24, 6)
    cond = toy.conditions(rng)
    argument = as_list(toy.ask(ask, [cond])["arguments"], 1, "The arguments")[0]
    expect_unchanged(argument, cond, "cond, an argument of forward")


def gradients(ask, rng):
    """Gradients of the result by the condition and by the weights of both networks."""
    names = ("cond", "the weights of the time's network", "self.cond's weights", "self.cond's biases")
    for rows, dim, cond_dim in SIZES[:3]:
        toy = Toy(rng, rows, dim, cond_dim)
        reply = toy.ask(ask, [toy.conditions(rng)], grad=True)
        seen = as_list(as_list(reply["gradients"], 1, "The gradients")[0], len(names), "The gradients")
        for name, gradient in zip(names, seen, strict=True):
            found = torch.is_tensor(gradient) and gradient.any()
            expect(found, f"The gradient of the embedding by {name}, {toy}", "none, or 0", "not 0")


def in_both_modes(sizes):
    return [(*size, training) for size in sizes for training in (True, False)]


class Toy:
    """An embedding whose networks are known, and the timesteps that it is asked for."""

    def __init__(self, rng, rows, dim, cond_dim, training=True):
        self.rows, self.dim, self.cond_dim, self.training = rows, dim, cond_dim, training
        self.table, self.bias = normal(rng, TIMESTEPS, dim), normal(rng, dim)
        self.weight = normal(rng, dim, cond_dim) / cond_dim**0.5
        self.t = torch.randint(0, TIMESTEPS, (rows,), generator=rng)

    def with_other_layer(self, rng):
        other = copy.copy(self)
        other.bias = normal(rng, self.dim)
        return other

    def __str__(self):
        mode = "" if self.training else ", evaluation mode"
        return f"B = {self.rows}, dim = {self.dim}, cond_dim = {self.cond_dim}{mode}"

    def conditions(self, rng):
        return torch.nn.functional.normalize(normal(rng, self.rows, self.cond_dim), dim=1)

    def time(self):
        return self.table[self.t].double()

    def ask(self, ask, conds, **options):
        with during(f"Embedding.forward with {', '.join(map(describe_cond, conds))}, {self}"):
            return ask(
                "embed",
                dim=self.dim,
                cond_dim=self.cond_dim,
                table=self.table,
                weight=self.weight,
                bias=self.bias,
                t=self.t,
                conds=list(conds),
                **{"training": self.training, **options},
            )

    def results(self, ask, conds, **options):
        """Return the embeddings for the conditions."""
        reply = self.ask(ask, conds, **options)
        results, errors = (as_list(reply[name], len(conds), name) for name in ("results", "errors"))
        for error, cond in zip(errors, conds, strict=True):
            what = f"Embedding.forward with {describe_cond(cond)}, {self}"
            expect(error is None, what, f"ValueError: {error}", "an embedding, no error")
        return [as_tensor(r, (self.rows, self.dim), f"The embedding, {self}") for r in results]

    def layer(self, given):
        """Return what self.cond makes of what it is given."""
        return given @ self.weight.double().T + self.bias.double()

    def given_to_layer(self, result, other=None):
        """Return what self.cond was given for its result; or how that differed between two results."""
        rest = result - (self.bias if other is None else other)
        return torch.linalg.lstsq(self.weight.double(), rest.T).solution.T

    def guess(self, result):
        """Return what the result may be instead of a sum."""
        time = self.time()
        if (result - time).abs().max() < 1e-4:
            return "it is time(t) alone"
        columns = torch.cat([self.weight, self.bias[:, None]], dim=1).double()
        for words, rest in (
            ("time(t) is not in it", result),
            ("time(t) is in it twice", result - 2 * time),
            ("it is the difference to time(t)", result + time),
            ("self.cond's result was scaled", result - time),
            ("it is a product", result / time),
        ):
            left = rest.T - columns @ torch.linalg.lstsq(columns, rest.T).solution
            if left.norm() < 1e-3 * rest.norm():
                return words
        return "it is something else"


def describe_cond(cond):
    return "cond = None" if cond is None else f"a cond of the shape {tuple(cond.shape)}"
