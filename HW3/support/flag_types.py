"""Types for argparse: values of flags that are checked when the command line is read."""

import argparse
import glob
import math
import os
from collections.abc import Callable
from pathlib import Path

from HW3.support.process import UsageError

from HW3.support import files


def integer(least: int, most: int | None = None, multiple_of: int = 1) -> Callable[[str], int]:
    """Return a type for argparse: an integer of at least `least`, at most `most`, and a multiple."""

    def allowed(value: int) -> bool:
        return least <= value and (most is None or value <= most) and value % multiple_of == 0

    description = f"an integer of at least {least}" if most is None else f"an integer from {least} to {most}"
    if multiple_of > 1:
        description += f" and a multiple of {multiple_of}"
    return _number(int, allowed, description)


def real(
    least: float, most: float = math.inf, *, above: bool = False, below: bool = False
) -> Callable[[str], float]:
    """Return a type for argparse: a finite number from least to most, or strictly above and below them."""

    def allowed(value: float) -> bool:
        high_enough = value > least if above else value >= least
        low_enough = value < most if below else value <= most
        return math.isfinite(value) and high_enough and low_enough

    description = f"a number {'above' if above else 'of at least'} {least:g}"
    if most < math.inf:
        description += f" and {'below' if below else 'at most'} {most:g}"
    return _number(float, allowed, description)


def integers(least: int, most: int, most_items: int) -> Callable[[str], list[int]]:
    """Return a type for argparse: a comma-separated list of integers from least to most, such as 1,2,4."""
    item = integer(least, most)

    def parse(text: str) -> list[int]:
        items = text.split(",")
        if len(items) > most_items:
            raise argparse.ArgumentTypeError(f"must be at most {most_items} numbers, got {text!r}")
        return [item(part) for part in items]

    return parse


def paths(text: str) -> list[Path]:
    """Return the paths that a text names, a type for argparse.

    `~` is expanded, which the shell leaves in `--out-dir=~/x`, and so are wildcards, which Windows leaves. A
    wildcard that matches nothing is a path.
    """
    try:
        named = files.expand(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if os.path.exists(named) or not glob.has_magic(str(named)):
        return [named]
    return [Path(name) for name in sorted(glob.glob(str(named)))] or [named]


def path(text: str) -> Path:
    """Return the one path that a text names, a type for argparse; see `paths`."""
    found = paths(text)
    if len(found) > 1:
        raise argparse.ArgumentTypeError(f"{text} matches {len(found)} paths; name one of them")
    return found[0]


def png_path(text: str) -> Path:
    """Return the path of a picture, a type for argparse."""
    file = path(text)
    if file.suffix.lower() != ".png" or os.path.isdir(file):
        raise argparse.ArgumentTypeError(f"must be a file that ends in .png, got {text!r}")
    return file


def _number(kind: type, allowed: Callable, description: str) -> Callable:
    def parse(text: str):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not allowed(value):
            raise argparse.ArgumentTypeError(f"must be {description}, got {text!r}")
        return value

    return parse
