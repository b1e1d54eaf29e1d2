"""How the checks of an exercise reach the submission: `ask(probe, **inputs)` returns what the probe returns.

Here is the plain way, in the same process, as on a student's machine. The autograder has another one, with a
process between. Both raise a StudentError where the submission's code fails, and judge nothing.
"""

import bdb
import signal
import threading
import traceback
from contextlib import contextmanager
from pathlib import Path

from tests.grading import catalogue

TIME_LIMIT, TIME_LIMIT_AGAIN = 20, 5  # seconds of computing for one question, and after one took too long


class StudentError(Exception):
    """The submission's code raised, took too long, or ended its process.

    Args:
        kind: name of the exception's class, `TimeLimit`, or `Died`.
        message: of the exception.
        file, line: the line of the submission, as HW3/NAME.py and a number; None when it is not known.
    """

    def __init__(self, kind: str, message: str, file: str | None = None, line: int | None = None):
        super().__init__(kind, message, file, line)
        self.kind, self.message, self.file, self.line = kind, message, file, line


class TimeLimit(BaseException):
    """The time is up; no Exception, so that a student's `except Exception` does not catch it."""


def student_error(error: BaseException, root: Path) -> StudentError:
    """Describe an exception of the submission in the tree at root.

    Its line is the innermost one in a marked block, otherwise the innermost one in HW3: when given code fails
    on what a block passes to it, the block's line is the one to look at.
    """
    lines = []
    for frame, number in traceback.walk_tb(error.__traceback__):
        path = Path(frame.f_code.co_filename).resolve()
        if path.is_relative_to(root.resolve() / "HW3"):
            lines.append((path.relative_to(root.resolve()).as_posix(), number))
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).parent.name == "HW3":
        lines.append((f"HW3/{Path(error.filename).name}", error.lineno))
    blocks = catalogue.find_blocks(root).values()
    own = [(file, line) for file, line in lines if any(b.file == file and line in b for b in blocks)]
    file, line = (own or lines or [(None, None)])[-1]
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return StudentError(type(error).__name__, message, file, line)


def plain_ask(root: Path):
    """Return the `ask` that runs probes in this process, on the package HW3 of the tree at root."""
    from tests.grading import probes

    seconds = TIME_LIMIT

    def ask(probe: str, **inputs) -> dict:
        nonlocal seconds
        try:
            with time_limit(seconds):
                return getattr(probes, probe)(**inputs)
        except (KeyboardInterrupt, bdb.BdbQuit):  # Ctrl-C, and `q` in a debugger
            raise
        except BaseException as error:  # a submission may call exit(), too
            if isinstance(error, TimeLimit):  # the next part most likely hangs at the same place
                seconds = TIME_LIMIT_AGAIN
            if type(error).__module__.startswith("_pytest"):  # the debugger under pytest
                raise
            raise student_error(error, root) from None

    return ask


@contextmanager
def time_limit(seconds: int):
    """Raise TimeLimit after so many seconds of computing, where the system has such an alarm."""
    if not hasattr(signal, "SIGPROF") or threading.current_thread() is not threading.main_thread():
        yield  # Windows: an endless loop has to be interrupted by hand
        return

    def stop(*_):
        raise TimeLimit(f"not done after {seconds} s of computing")

    previous = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)
