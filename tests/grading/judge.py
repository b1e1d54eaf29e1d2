"""Judge one part of an exercise: run its check, and put the outcome in words for the student."""

import zlib
from dataclasses import dataclass
from importlib import import_module

import torch

from tests.grading.ask import StudentError
from tests.grading.catalogue import Block
from tests.grading.checks import Wrong
from tests.grading.exercises import EXERCISES, Exercise, Part

LONGEST = 600  # characters of an exception's message


@dataclass(frozen=True)
class Verdict:
    """The outcome: `state` is `pass`, `fail`, or `not written`; `message` is for the student."""

    state: str
    message: str = ""

    @property
    def passed(self) -> bool:
        return self.state == "pass"


def judge_part(exercise: Exercise, part: Part, ask, seed: int, blocks: dict[str, Block]) -> Verdict:
    """Check a part of the submission behind `ask`.

    Args:
        exercise, part: of the catalogue.
        ask: see `ask.plain_ask`.
        seed: of the check's random numbers.
        blocks: the marked blocks of the submission, by name, see `catalogue.find_blocks`; for the messages.
    """
    check = getattr(import_module(f"tests.grading.parts.{exercise.name}"), part.name)
    rng = torch.Generator().manual_seed(zlib.crc32(f"{exercise.name} {part.name} {seed}".encode()))
    block = blocks.get(exercise.name)
    try:
        check(ask, rng)
    except StudentError as error:
        if error.kind == "NotImplementedError" and block and error.file == block.file and error.line in block:
            return Verdict(
                "not written", f"{block.file}:{error.line} raises NotImplementedError: write it there."
            )
        return Verdict("fail", explain_error(error, exercise, part, blocks))
    except Wrong as wrong:
        what, seen, expected = wrong.args
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        seen = f"an answer that upsets the check: {type(error).__name__}: {error}"[:LONGEST]
        what, expected = f"What {exercise.function} returns", "what its docstring names"
    else:
        return Verdict("pass")
    where = exercise.file
    if block:
        lines = dict.fromkeys((block.first, block.last))
        where = f"{block.file}:{'-'.join(map(str, lines))}"
    return Verdict("fail", paragraph(what, seen, expected, exercise, part, where, blocks))


def explain_error(error, exercise, part, blocks):
    """Return the paragraph about an exception in the submission."""
    message = " ".join(error.message.split())
    message = message if len(message) <= LONGEST else message[:LONGEST] + " ..."
    inside = [name for name, b in blocks.items() if b.file == error.file and (error.line or 0) in b]
    where = f"{error.file}:{error.line}" if error.file else "not known"
    if error.file and not inside:
        where += ", which is given code"
    elif inside and inside != [exercise.name]:
        where += f", in the exercise {inside[0]}: {EXERCISES[inside[0]].title}"
    what = getattr(error, "context", None) or f"{exercise.function}"
    seen = f"{error.kind}: {message}" if message else error.kind
    expected = getattr(error, "expected", None) or "a result, no error"
    return paragraph(what, seen, expected, exercise, part, where, blocks)


def paragraph(what, seen, expected, exercise, part, where, blocks):
    lines = [
        f"{what}",
        f"    seen:      {seen}",
        f"    expected:  {expected}",
        f"    equation:  {exercise.equations}",
        f"    your code: {where}",
    ]
    others = [name for name in part.needs if name in blocks]
    if others:
        lines.append(
            f"    This part uses the code of {', '.join(others)}, too: look there first if it fails."
        )
    return "\n".join(lines)
