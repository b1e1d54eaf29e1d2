"""The process of a script: exit codes, one line for whatever a user can cause, and signals.

    0 done    1 a failure while running    2 wrong use    129, 130, 143 after SIGHUP, SIGINT (Ctrl-C), SIGTERM

A script imports this module first. Importing it makes the script answer signals, and it needs the standard
library alone, so that Ctrl-C is one line while torch, which takes seconds, is still loading. With HW3_DEBUG=1
in the environment, tracebacks are shown instead of the one line.

A script may also run within another program, such as a notebook or a debugger (`main([...])`, `%run`). It
then leaves that program's signal handlers as it found them.
"""

import functools
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NoReturn

SIGNALS = [getattr(signal, name) for name in ("SIGHUP", "SIGINT", "SIGTERM") if hasattr(signal, name)]
DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)
_last_words: list[str] = []  # the line that was printed, so that a second Ctrl-C adds none


class UsageError(Exception):
    """A wrong use: a flag, a missing or unsuitable file. Scripts print one line and exit with 2."""


class RunError(Exception):
    """A failure while running. Scripts print one line and exit with 1."""


class Interrupted(KeyboardInterrupt):
    """A signal, as an exception, so that every `finally` on the way out is done."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


at_exit = ExitStack()  # what a script's main function undoes when it ends; the process may go on
_script = Path(sys.argv[0]).absolute()  # the file whose main function runs


def command() -> str:
    """Return how the running script is called: "python -m HW3.sample", or "train_vae.py"."""
    return f"python -m HW3.{_script.stem}" if _script.parent.name == "HW3" else _script.name


def exit_codes(main: Callable[..., int | None]) -> Callable[..., int]:
    """Wrap a script's main function: it returns the exit code, and what a user can cause ends in one line.

    Without argv, a script that is run takes the command line's, and one that is imported takes none: `main()`
    in a notebook must not read the flags that the notebook's own process was started with.
    """

    @functools.wraps(main)
    def wrapped(argv: list[str] | None = None) -> int:
        global _script
        _script = Path(main.__code__.co_filename).absolute()
        if argv is None:
            argv = sys.argv[1:] if main.__module__ == "__main__" else []
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # a path may hold what the terminal can't show
        former: dict[int, Callable | int | None] = {}
        over: list[bool] = []
        try:
            _raise_on_signals(former, over)
            try:
                code = main(argv) or 0
            except SystemExit as stop:  # argparse's way out, which would end an interactive session
                code = stop.code
            if sys.stdout is not None:
                sys.stdout.flush()  # what can't be written should fail here, not while Python ends
            return code
        except EXPLAINED as error:
            explained = _explain(error)
            if explained is None or os.environ.get("HW3_DEBUG") == "1":
                raise
            message, code = explained
            _say(message)
            return code
        finally:
            over.append(True)  # in one go, which no signal can interrupt
            at_exit.close()
            for signum, handler in former.items():
                # After the last words a script only ends; torch takes its time for it.
                done = handler is _end_at_once and _last_words
                signal.signal(signum, signal.SIG_IGN if done else handler)

    return wrapped


def _is_whole_program() -> bool:
    """Tell whether the script that imports this module is all that the process runs."""
    frame, importers = sys._getframe(1), set()
    while frame := frame.f_back:
        name = frame.f_globals.get("__name__", "")
        if not name.startswith(("importlib", "_frozen_importlib", "runpy")):  # the last: python -m
            importers.add(name)
    return importers == {"__main__"} and not hasattr(sys, "ps1") and not sys.flags.interactive


def _raise_on_signals(former: dict[int, Callable | int | None], over: list[bool]) -> None:
    """Turn signals into `Interrupted`; former gets the previous handlers of those that were not ignored.

    Once the run is over, when there is something in that list, they do nothing: else one in quick succession
    could keep the previous handlers from being given back.
    """
    owner = os.getpid()

    def interrupt(signum: int, frame) -> None:
        if os.getpid() != owner or over:  # a worker of the data loader ends when its run does
            return
        for each, handler in former.items():
            if each not in SIGNALS:
                signal.signal(each, signal.SIG_DFL)
            elif handler is _end_at_once:  # not in a notebook, which a second Ctrl-C must not end
                signal.signal(each, _end_at_once)
        raise Interrupted(signum)

    if threading.current_thread() is threading.main_thread():
        ignored = (signal.SIG_IGN, None)  # None: not Python's own, and can't be given back
        former |= {s: signal.getsignal(s) for s in SIGNALS if signal.getsignal(s) not in ignored}
        for signum in list(former):
            signal.signal(signum, interrupt)
        if hasattr(signal, "SIGCHLD") and signal.getsignal(signal.SIGCHLD) is not None:
            # torch's handler would call workers failed that the same signal ended
            former[signal.SIGCHLD] = signal.getsignal(signal.SIGCHLD)


def _end_at_once(signum: int, frame) -> NoReturn:
    message, code = _explain(Interrupted(signum))
    if not _last_words:
        with suppress(OSError):
            os.write(2, f"{message}\n".encode())
    os._exit(code)


# A RuntimeError only where it is torch's for a lack of memory, or NotImplementedError.
EXPLAINED = (UsageError, RunError, OSError, MemoryError, RuntimeError, KeyboardInterrupt)
# In the messages of CUDA, torch's allocator, the system, C++ and oneDNN.
OUT_OF_MEMORY = ("out of memory", "DefaultCPUAllocator", "allocate memory", "bad_alloc", "memory object")


def _explain(error: BaseException) -> tuple[str, int] | None:
    """Return the line and the exit code for one of EXPLAINED, or None for a bug, which needs a traceback."""
    if isinstance(error, KeyboardInterrupt) and not isinstance(error, Interrupted):
        error = Interrupted(signal.SIGINT)
    if isinstance(error, Interrupted):
        name = (
            "interrupted"
            if error.signum == signal.SIGINT
            else f"ended by {signal.Signals(error.signum).name}"
        )
        if _script.name.startswith("train_"):
            name += "; --resume continues the training after its last completed epoch, if there is one"
        return name, 128 + error.signum
    if isinstance(error, UsageError):
        return f"error: {error}", 2
    if isinstance(error, RunError):
        return f"error: {error}", 1
    if isinstance(error, BrokenPipeError):
        return "error: nobody reads the output any more (broken pipe)", 1
    if isinstance(error, OSError):
        place = f": {error.filename}" if error.filename else ""
        return f"error: {error.strerror or error}{place}", 1
    first_line = (str(error) or type(error).__name__).splitlines()[0]
    if isinstance(error, NotImplementedError):
        frames = traceback.extract_tb(error.__traceback__)
        place = f", {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
        return f"error: not written yet: {first_line}{place}", 1
    if isinstance(error, MemoryError) or any(words in first_line for words in OUT_OF_MEMORY):
        return f"error: out of memory, try a smaller --batch-size, --n or model: {first_line}", 1
    if first_line.startswith("DataLoader worker"):  # killed for memory, or for /dev/shm, small in containers
        return f"error: {first_line}; try --num-workers 0", 1
    return None


def _say(message: str) -> None:
    """Print a last line to stderr, and give up on streams that can't be written to."""
    _last_words.append(message)
    with suppress(OSError):
        print(message, file=sys.stderr, flush=True)
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# End at once, in one line, when a signal comes before or after the run itself, as while torch loads. Signals
# that the caller ignores (nohup, a shell's background) stay ignored, and a program that goes on after the
# script, such as a notebook, keeps its own handlers.
if _is_whole_program():
    for each in SIGNALS:
        if signal.getsignal(each) in DEFAULTS:
            signal.signal(each, _end_at_once)
