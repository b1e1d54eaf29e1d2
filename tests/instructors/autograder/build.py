"""Write the autograder: a folder that runs anywhere on Linux, and the same as a zip for Gradescope.

    python -m tests.instructors.autograder.build                    # for the assignment's exercises
    python -m tests.instructors.autograder.build ddim_step guidance # for any others

Both are made from a handout, so the solutions of the open exercises are not in them.
"""

import argparse
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from tests.grading import catalogue
from tests.instructors import make_handout

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent
NOT_FOR_GRADING = {"build.py", "launch.py"}


def build(names: list[str], folder: Path) -> None:
    """Write the autograder for some exercises to a folder that is new or empty."""
    with tempfile.TemporaryDirectory() as temporary:
        handout = Path(temporary)
        make_handout.make_handout(handout, names)
        for path in sorted(handout.glob("HW3/**/*.py")):
            copy(path, folder / "given" / path.relative_to(handout))
        for path in (handout / "tests/__init__.py", *sorted(handout.glob("tests/grading/**/*.py"))):
            copy(path, folder / "judge" / path.relative_to(handout))
    for path in (HERE.parent / "__init__.py", *sorted(HERE.glob("*.py"))):
        if path.name not in NOT_FOR_GRADING:
            copy(path, folder / "judge" / path.relative_to(ROOT))
    copy(HERE / "launch.py", folder / "grade.py")
    for path in (ROOT / "requirements.txt", HERE / "setup.sh", HERE / "run_autograder"):
        copy(path, folder / path.name)


def copy(source: Path, target: Path) -> None:
    """Copy a file, and make the folders that it needs."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def pack(folder: Path, archive: Path) -> None:
    """Write a folder's files to a zip, with the rights to run them."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                file.write(path, path.relative_to(folder))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("open", nargs="*", help=f"exercises, of {', '.join(catalogue.EXERCISES)}")
    args = parser.parse_args(argv)
    try:
        names = catalogue.with_dependencies(args.open or list(catalogue.ASSIGNMENT))
    except ValueError as error:
        parser.error(str(error))
    folder, archive = ROOT / "autograder", ROOT / "autograder.zip"
    if folder.exists():
        shutil.rmtree(folder)
    build(names, folder)
    pack(folder, archive)
    print(f"{folder.name}/ and {archive.name}: {', '.join(names)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
