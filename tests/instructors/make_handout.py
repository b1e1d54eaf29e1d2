"""Write what students get: a copy of the repository in which some exercises are open.

    python -m tests.instructors.make_handout                        # handout/, anew if it is there
    python -m tests.instructors.make_handout FOLDER                 # a new or an empty one
    python -m tests.instructors.make_handout --open q_sample ema    # other exercises than the assignment's

An open block's code, between `### BEGIN SOLUTION name` and `### END SOLUTION`, becomes a NotImplementedError;
the equations are comments in the block and go with it, the task before it stays. The other blocks lose their
markers and tasks. The README's list of exercises follows, its lines with `<!-- name -->` of an open exercise,
the formulas, go, and tests/grading/HINTS.md gets the hints. tests/instructors/ is left out.
"""

import argparse
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from HW3.support import flags
from tests.grading.catalogue import ASSIGNMENT, BLOCK, EXERCISES, points, with_dependencies

ROOT = Path(__file__).parents[2]
LEFT_OUT = "tests/instructors/"
HINTS = Path(__file__).with_name("hints.md")
TASK = r"^ *# TASK: [^\n]*\n(?:^ *# [^\n]*\n)*"
EXERCISE = re.compile(f"(?P<task>{TASK})(?P<block>{BLOCK.pattern}\n)", re.MULTILINE | re.DOTALL)


def open_blocks(source, names):
    """Return the source of a module with the named blocks open and the others without markers and tasks.

    Raises:
        ValueError: if a block has no task before it, no end, or a name that the catalogue lacks.
    """

    def replace(match):
        name, body = match["name"], match["body"]
        if name not in names:
            return body
        indent = re.match(" *", body)[0]
        todo = f'{indent}raise NotImplementedError("{EXERCISES[name].title}")\n'
        return match["task"] + match["block"].replace(body, todo)

    found = [match["name"] for match in EXERCISE.finditer(source)]
    if unknown := [name for name in found if name not in EXERCISES]:
        raise ValueError(f"solutions that are not in the catalogue: {', '.join(unknown)}")
    if {source.count("### BEGIN SOLUTION"), source.count("### END SOLUTION")} != {len(found)}:
        raise ValueError("a solution has no comment `# TASK:` before it, or no `### END SOLUTION`")
    return EXERCISE.sub(replace, source)


def list_exercises(names):
    """Return the README's list of exercises, and how to test each, in Markdown."""
    worth = Counter()
    for (name, _), value in points(names).items():
        worth[name] += value
    lines = [
        f"{number}. **{EXERCISES[name].title}** ({worth[name]} points), "
        f"`{EXERCISES[name].function}` in `{EXERCISES[name].file}`:\n"
        f"   {EXERCISES[name].equations}. {EXERCISES[name].used}"
        for number, name in enumerate(names, 1)
    ]
    commands = [f"python -m pytest tests/grading -k {name}" for name in names]
    width = max(map(len, commands))
    tests = [f"{command:<{width}}    # exercise {i}" for i, command in enumerate(commands, 1)]
    tests.append(f"{'python -m pytest tests/grading':<{width}}    # all that is graded")
    return "\n".join([*lines, "", "```sh", *tests, "```"])


def write_readme(text, names):
    """Return the README for these exercises."""
    begin, end = "<!-- exercises -->\n", "\n<!-- end of exercises -->"
    before, rest = text.split(begin)
    _, after = rest.split(end)
    text = before + begin + list_exercises(names) + end + after
    formulas = "|".join(names)
    text = re.sub(rf"^.*<!-- (?:\w+ )*(?:{formulas})(?: \w+)* -->\n+", "", text, flags=re.MULTILINE)
    return re.sub(r"^<!-- [\w ]+ -->\n| *<!-- [\w ]+ -->", "", text, flags=re.MULTILINE)


def select_hints(text, names):
    """Return the hints for these exercises: the file's head and their sections, in the README's order."""
    head, *sections = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    by_name = {re.match(r"## `(\w+)`", section)[1]: section.strip() + "\n" for section in sections}
    if missing := set(EXERCISES) - set(by_name):
        raise ValueError(f"{HINTS.name} has no section for {', '.join(sorted(missing))}")
    return "\n".join([head.strip() + "\n", *(by_name[name] for name in names)])


def make_handout(folder, names=ASSIGNMENT):
    """Write the handout with these exercises open to a folder that is new or empty."""
    names = with_dependencies(list(names))
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    opened = []
    for name in tracked.stdout.split("\0"):
        if not name or name.startswith(LEFT_OUT):
            continue
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
        if source.parent.name == "HW3" and source.suffix == ".py":
            text = open_blocks(source.read_text(encoding="utf-8"), names)
            opened += [match["name"] for match in BLOCK.finditer(text)]
            target.write_text(text, encoding="utf-8")
    if set(opened) != set(names):
        raise ValueError(f"not marked in HW3: {', '.join(sorted(set(names) - set(opened)))}")
    readme = write_readme((ROOT / "README.md").read_text(encoding="utf-8"), names)
    (folder / "README.md").write_text(readme, encoding="utf-8")
    hints = select_hints(HINTS.read_text(encoding="utf-8"), names)
    (folder / "tests/grading/HINTS.md").write_text(hints, encoding="utf-8")


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=flags.path, nargs="?", help="where to write; handout/ when not given")
    parser.add_argument(
        "--open",
        nargs="+",
        metavar="EXERCISE",
        default=ASSIGNMENT,
        help=f"exercises to open, of {', '.join(EXERCISES)} (default: {' '.join(ASSIGNMENT)})",
    )
    args = parser.parse_args(argv)
    try:
        names = with_dependencies(list(args.open))
    except ValueError as error:
        parser.error(f"argument --open: {error}")
    folder = args.folder
    if folder is None:
        folder = ROOT / "handout"
        if folder.exists():
            shutil.rmtree(folder)
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        parser.error(f"argument folder: {folder} is there already, and not an empty folder")
    make_handout(folder, names)
    print(f"{folder}: {', '.join(names)} open", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
