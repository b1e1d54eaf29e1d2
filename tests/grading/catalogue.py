"""The catalogue: which exercises of `exercises.py` are open in a tree, where they are, what their parts earn.

An exercise is the code between `### BEGIN SOLUTION name` and `### END SOLUTION` in a module of HW3. In the
repository all of them are marked; in a handout only those that are open, which the student writes, and its
hints name them too. So the set that is graded, and its points, follow from the tree: see `open_names`.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.grading.exercises import EXERCISES

POINTS = 100
ASSIGNMENT = ("ddim_step", "condition")  # what is open when nothing else is asked for
BLOCK = re.compile(  # no other BEGIN in the body, so that no line is looked at twice; [^\n]: with any flags
    r"^ *### BEGIN SOLUTION (?P<name>\w+)\n"
    r"(?P<body>(?:(?! *### BEGIN SOLUTION )[^\n]*\n)*?) *### END SOLUTION *$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """Where an exercise is in a file: the lines between its markers, 1-based, both included."""

    file: str
    first: int
    last: int
    body: str

    def __contains__(self, line: int) -> bool:
        return self.first <= line <= self.last


def find_blocks(root: Path) -> dict[str, Block]:
    """Return the marked blocks of the tree at root, by name, in the order of the catalogue."""
    found = {}
    for file in {exercise.file: None for exercise in EXERCISES.values()}:
        path = root / file
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        for match in BLOCK.finditer(text):
            first = text.count("\n", 0, match.start("body")) + 1
            last = max(first, text.count("\n", 0, match.end("body")))
            found[match["name"]] = Block(file, first, last, match["body"])
    return {name: found[name] for name in EXERCISES if name in found}


def open_names(root: Path, *, all_blocks: bool = False) -> list[str]:
    """Return the exercises that are open at root.

    Args:
        root: a handout, in which those are marked, or the repository, in which all are.
        all_blocks: in the repository, take all, not the assignment's.
    """
    hints = root / "tests/grading/HINTS.md"
    if hints.is_file():  # a student's folder, where markers may have been tidied away
        return [name for name in EXERCISES if f"## `{name}`" in hints.read_text(encoding="utf-8")]
    names = list(find_blocks(root))
    is_repository = (root / "tests/instructors").is_dir()
    return [name for name in names if name in ASSIGNMENT] if is_repository and not all_blocks else names


def with_dependencies(names: list[str]) -> list[str]:
    """Return names and those that are opened together with them, in the order of the catalogue.

    Raises:
        ValueError: if a name is unknown, or there is none.
    """
    unknown = [name for name in names if name not in EXERCISES]
    if unknown or not names:
        problem = f"no exercise {', '.join(unknown)}" if unknown else "no exercise is named"
        raise ValueError(f"{problem}; there are {', '.join(EXERCISES)}")
    wanted = {other for name in names for other in (name, *EXERCISES[name].together)}
    return [name for name in EXERCISES if name in wanted]


def points(names: list[str]) -> dict[tuple[str, str], int]:
    """Return the points of each (exercise, part): by weight, whole, at least 1, and 100 in all."""
    weights = {(name, part.name): part.weight for name in names for part in EXERCISES[name].parts}
    shares = {key: POINTS * weight / sum(weights.values()) for key, weight in weights.items()}
    result = {key: max(1, int(share)) for key, share in shares.items()}
    while result and sum(result.values()) != POINTS:
        missing = POINTS - sum(result.values())
        step = 1 if missing > 0 else -1
        due = max(
            (key for key in result if result[key] + step > 0),
            key=lambda key: step * (shares[key] - result[key]),
        )
        result[due] += step
    return result
