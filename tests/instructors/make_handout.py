"""Write what students get: a copy of the repository in which the exercises are open.

    python -m tests.instructors.make_handout            # writes handout/, anew if it is there
    python -m tests.instructors.make_handout FOLDER     # a new or an empty one

The code between `### BEGIN SOLUTION` and `### END SOLUTION` becomes a NotImplementedError; the task, the
comment right before, which starts with `# TASK:`, stays. tests/instructors/ is left out.
"""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

from HW3.support import flags

ROOT = Path(__file__).parents[2]
LEFT_OUT = "tests/instructors/"
EXERCISE = re.compile(
    r"(?P<head>^ *# TASK: (?P<what>[^,.\n]+).*\n(^ *# .*\n)*^(?P<indent> *)### BEGIN SOLUTION\n)"
    r".*?(?P<end>^ *### END SOLUTION\n)",
    re.MULTILINE | re.DOTALL,
)
OPEN = r'\g<head>\g<indent>raise NotImplementedError("\g<what>")\n\g<end>'


def open_exercises(source):
    """Return the source of a module with its solutions taken out.

    Raises:
        ValueError: if a solution has no task or no end.
    """
    handout, opened = EXERCISE.subn(OPEN, source)
    if {source.count("### BEGIN SOLUTION"), source.count("### END SOLUTION")} != {opened}:
        raise ValueError("a solution has no comment `# TASK:` before it, or no `### END SOLUTION`")
    return handout


def make_handout(folder):
    """Write the handout to a folder that is new or empty."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in tracked.stdout.split("\0"):
        if not name or name.startswith(LEFT_OUT):
            continue
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
        if source.parent.name == "HW3" and source.suffix == ".py":
            target.write_text(open_exercises(source.read_text()))


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=flags.path, nargs="?", help="where to write; handout/ when not given")
    folder = parser.parse_args(argv).folder
    if folder is None:
        folder = ROOT / "handout"
        if folder.exists():
            shutil.rmtree(folder)
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        parser.error(f"argument folder: {folder} is there already, and not an empty folder")
    make_handout(folder)


if __name__ == "__main__":
    sys.exit(main())
