"""Find the graded files in what was handed in, and put them into the HW3 of this folder.

    python -m tests.instructors.submission SUBMISSION RESULTS

What is handed in may be the folder HW3, the repository, GitHub's zip of it (repo-main/HW3), or the graded
files themselves. If nothing is found, RESULTS (Gradescope's results.json) says once what is missing, and the
exit code is 2.
"""

import json
import shutil
import sys
from pathlib import Path

from HW3.support.files import visible

GRADED = ("data.py", "vae.py", "diffusion.py", "Unet.py", "mlp.py", "clip.py")


def find_package(submission):
    """Return the folder of the graded files: the HW3 that lies highest, or else the folder of one of them.

    Raises:
        ValueError: if there is none, or more than one; the message is for the student.
    """
    folders = [submission, *(path for path in visible(submission, "**/*") if path.is_dir())]
    parts = [folder.relative_to(submission).parts for folder in folders]
    folders = [
        folder
        for folder, names in zip(folders, parts, strict=True)
        if "__MACOSX" not in names and not any(name.startswith(".") for name in names)
    ]
    for found in (
        [folder for folder in folders if folder.name == "HW3"],
        [folder for folder in folders if any((folder / name).is_file() for name in GRADED)],
    ):
        highest = min((len(folder.parts) for folder in found), default=0)
        found = [folder for folder in found if len(folder.parts) == highest]
        if len(found) == 1:
            return found[0]
        if found:
            listed = ", ".join(str(folder.relative_to(submission)) for folder in found)
            raise ValueError(f"There is more than one folder to grade: {listed}. Hand in one of them.")
    there = ", ".join(path.name for path in visible(submission)) or "nothing"
    raise ValueError(
        f"There is no folder HW3 in what you handed in, and none of {', '.join(GRADED)}; there is: {there}."
    )


def main(submission, results):
    try:
        package = find_package(Path(submission))
    except ValueError as error:
        test = {"name": "hand-in", "score": 0, "max_score": 100, "status": "failed", "output": str(error)}
        Path(results).write_text(json.dumps({"score": 0, "tests": [test]}, indent=2), encoding="utf-8")
        return 2
    for name in GRADED:
        Path("HW3", name).unlink(missing_ok=True)  # ours; what is not handed in earns nothing
        if (package / name).is_file():
            shutil.copy(package / name, "HW3")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
