"""The process that imports the submission: it is asked for probes, runs them, and judges nothing.

It is forked from a process that has loaded torch and the probes, but no check and no formula. Before anything
of the submission is imported, it gives up all rights and limits itself for good.
"""

import ctypes
import importlib
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from tests.grading import probes
from tests.grading.ask import StudentError, student_error, time_limit
from tests.instructors.autograder import landlock, wire

MEMORY = 2**30  # bytes beyond what torch takes
FILE_SIZE = 2**24  # bytes
OPEN_FILES = 256
TASKS = 64  # processes and threads
LIBC = ctypes.CDLL(None)
PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 4, 38
MAX_TEXT = 4000
SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc", "/opt", "/proc", "/sys")  # what may be read


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process; Linux."""
    LIBC.prctl(option, value, 0, 0, 0)


def warm_up() -> None:
    """Load what torch loads when gradients are first asked for, which takes longer than most parts.

    Asking for one here would start threads on a machine with a GPU, and then no fork could ask for any.
    """
    with suppress(ImportError):  # another version of torch may not have it
        importlib.import_module("torch.fx.experimental.symbolic_shapes")


def run(box: Path, scratch: Path, uid: int | None, tasks: int, fds: list[int]) -> NoReturn:
    """Turn this process, which was just forked, into the worker, and serve until nobody asks any more.

    Args:
        box: folder of the submission's HW3.
        scratch: an empty folder, which the submission may write to.
        uid: the user that the submission runs as, or None where the grader is not root.
        tasks: how many processes and threads that user may have.
        fds: descriptors of the questions, the answers, and of what the submission prints.
    """
    questions, answers = detach(*fds)
    os.chdir(scratch)
    os.umask(0o077)
    os.environ.clear()
    os.environ.update(PATH="/usr/bin:/bin", HOME=str(scratch), TMPDIR=str(scratch), USER="student")
    os.environ.update(LANG="C.UTF-8", OMP_NUM_THREADS="1")
    ours = str(Path(__file__).parents[3])
    sys.path[:] = [str(box), *(path for path in sys.path if path not in ("", ours))]
    give_up_rights(scratch, uid, tasks)
    sys.argv[:] = ["grader"]
    sys.dont_write_bytecode = True
    while question := wire.receive(questions):
        wire.send(answers, answer(question, box))
    os._exit(0)


def detach(questions: int, answers: int, output: int) -> tuple[int, int]:
    """Leave the grader's session and its descriptors, all but three."""
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    first, second = sorted((questions, answers))
    for low, high in ((3, first), (first + 1, second), (second + 1, os.sysconf("SC_OPEN_MAX"))):
        os.closerange(low, high)
    return questions, answers


def give_up_rights(scratch: Path, uid: int | None, tasks: int) -> None:
    """Limit this process and all that it starts, and become a user who owns only the scratch folder."""
    with suppress(OSError):  # where memory runs out, the system ends this process and not the judge
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, FILE_SIZE),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_NPROC, tasks),
        (resource.RLIMIT_AS, pages * resource.getpagesize() + MEMORY),
        (resource.RLIMIT_CPU, 300),
    ):
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    landlock.restrict([Path(path) for path in (*SYSTEM, sys.prefix, sys.base_prefix, *sys.path)], scratch)
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        if os.getresuid() != (uid, uid, uid):
            os._exit(71)


def answer(question: dict, box: Path) -> bytes:
    """Run a probe and return the encoded answer; the probe None is a question whether the worker works."""
    try:
        if question["probe"] is None:
            return wire.encode({"result": None})
        with time_limit(question["seconds"]):
            result = getattr(probes, question["probe"])(**question["inputs"])
        return wire.encode({"result": result})
    except wire.WireError as error:
        failure = StudentError("TooLarge", str(error))
    except BaseException as error:  # a submission may call exit(), too
        failure = student_error(error, box)
    return wire.encode(
        {
            "kind": failure.kind,
            "message": failure.message[:MAX_TEXT],
            "file": failure.file,
            "line": failure.line,
        }
    )
