"""Grade a submission on Linux: python grade.py SUBMISSION RESULTS

Run it as root, in a container, with a Python that other users can run, too, and that has the packages of
requirements.txt.
"""

import os
import sys
from pathlib import Path

HOME = Path(__file__).resolve().parent
CLEAN = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "HW3_GRADER": "1",
}

if sys.platform != "linux":
    sys.exit(
        "error: the autograder needs Linux; `python -m pytest tests/grading` runs the same checks anywhere"
    )
if os.environ.get("HW3_GRADER") != "1":
    # Anew, so that no variable of the environment can be read or does harm.
    try:
        os.execve(sys.executable, [sys.executable, "-I", "-B", str(HOME / "grade.py"), *sys.argv[1:]], CLEAN)
    except OSError as error:
        sys.exit(f"error: this user can't start {sys.executable}: {error.strerror}")
if os.geteuid() == 0:
    HOME.chmod(0o700)  # the submission runs as another user, who must not see the checks
sys.path.insert(0, str(HOME / "judge"))

from tests.instructors.autograder.grade import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], HOME / "given"))
