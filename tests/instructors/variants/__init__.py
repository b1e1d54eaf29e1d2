"""Right and wrong solutions of the exercises, to grade the grader with (tests/instructors/test_grader.py).

A module here has the name of an exercise, and two tables:

    RIGHT = {what it does: code}
    WRONG = {"the parts that it fails, and no others": {what it does: code}}

The code takes the place of the one between the exercise's markers. Most of it is one solution, of our own and
not HW3's, in which `edit` replaces a piece of text.
"""

import textwrap
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from tests.grading import catalogue


@dataclass(frozen=True)
class Variant:
    """A solution of an exercise: what it does, the names of the parts that it fails, and its code."""

    exercise: str
    title: str
    fails: frozenset[str]
    code: str


def load():
    """Return all variants."""
    variants = []
    for name in catalogue.EXERCISES:
        module = import_module(f"{__name__}.{name}")
        for parts, codes in {"": module.RIGHT, **module.WRONG}.items():
            variants += [
                Variant(name, title, frozenset(parts.split()), code) for title, code in codes.items()
            ]
    return variants


def edit(code, *changes):
    """Return code with pieces replaced: edit(code, old, new, old, new, ...)."""
    for old, new in zip(changes[::2], changes[1::2], strict=True):
        if code.count(old) != 1:
            raise ValueError(f"{old!r} is {code.count(old)} times in\n{code}")
        code = code.replace(old, new)
    return code


def write(root: Path, name: str, code: str):
    """Put code between the markers of an exercise, in the tree at root."""
    path = root / catalogue.EXERCISES[name].file
    text = path.read_text(encoding="utf-8")
    match = next(match for match in catalogue.BLOCK.finditer(text) if match["name"] == name)
    indent = match[0][: len(match[0]) - len(match[0].lstrip())]
    body = textwrap.indent(textwrap.dedent(code).strip("\n") + "\n", indent)
    path.write_text(text[: match.start("body")] + body + text[match.end("body") :], encoding="utf-8")
