"""Grade a submission.

    python grade.py SUBMISSION RESULTS

SUBMISSION is a folder or a zip; RESULTS, a folder, gets results.json (Gradescope), results.xml (JUnit) and
result.json (plain). The exit code is 0 when they are written, whatever the score.
"""

import argparse
import os
import secrets
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.grading import catalogue
from tests.instructors.autograder import hand_in, landlock, results
from tests.instructors.autograder.sandbox import Sandbox, SandboxError

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
UNFINISHED = "The autograder was ended before it was done. Please submit again, or ask your instructor."
NOT_ROOT = (
    "Note for instructors: the grader does not run as root, so the submission ran as the same user. Its "
    "answers were still compared in another process, but "
)
WITH_LANDLOCK = "only Landlock kept it from the checks and from the grader."
WITHOUT_LANDLOCK = "it could have read the checks, ended the grader, or written results of its own."
UNREACHABLE = (
    "Note for instructors: only root can read {}; modules that the submission imports may be missing."
)


def main(argv: list[str], given: Path) -> int:
    """Grade a submission.

    Args:
        argv: the command line.
        given: the handout's folder, as it was handed out.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("submission", type=Path, help="a folder or a zip")
    parser.add_argument("results", type=Path, help="the folder for results.json, results.xml and result.json")
    parser.add_argument("--seed", type=int, help="seed of the checks, to repeat a run (default: a new one)")
    parser.add_argument("--seconds", type=float, default=10, help="for a part, on the clock (default: 10)")
    args = parser.parse_args(argv)
    if not args.submission.exists():
        parser.error(f"argument submission: {args.submission} is not there")
    began = time.monotonic()
    os.umask(0o022)  # the submission's user has to read its files
    for number in SIGNALS:
        signal.signal(number, stop)
    names = catalogue.open_names(given)
    try:
        results.write(args.results, describe(names, {}, UNFINISHED), UNFINISHED, 0)
    except OSError as error:
        parser.error(f"argument results: {error}")
    mode = args.results.stat().st_mode
    if os.geteuid() == 0:
        args.results.chmod(0o700)  # the submission must not put anything in the way
    outcomes: dict = {}
    seed, code = None, 0
    theirs = hand_in.collect(args.submission, given)
    sandbox = None
    try:
        sandbox = None if theirs.problem else Sandbox(theirs.files)
        # Only now, after the sandbox has forked the process that submissions run in: what must not be in it.
        from tests.instructors.autograder.judge import judge

        seed = secrets.randbelow(2**31) if args.seed is None else args.seed
        if sandbox:
            blocks = catalogue.find_blocks(sandbox.box)
            judge(sandbox, names, blocks, outcomes, seed=seed, seconds=args.seconds)
    except SandboxError as error:
        theirs.problem = f"The autograder does not work here; please tell your instructor. {error}"
        code = 1
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        if sandbox:
            sandbox.close()  # then nothing of the submission is left
        table = [*describe(names, outcomes, theirs.problem or UNFINISHED), given_code(theirs)]
        summary = summarize(table, theirs, seed)
        with suppress(PermissionError):  # where another user owns the folder
            args.results.chmod(mode)
        results.write(args.results, table, summary, time.monotonic() - began)
    print(results.clean(summary))
    return code


def stop(*_):
    """End the run when the system asks for it; the results so far are written on the way out."""
    sys.exit(143)


def describe(names: list[str], outcomes: dict, otherwise: str) -> list[results.Result]:
    """Return the results of all parts; `otherwise` is said of those that were not judged."""
    points, table = catalogue.points(names), []
    for i, name in enumerate(names, start=1):
        exercise = catalogue.EXERCISES[name]
        for j, part in enumerate(exercise.parts, start=1):
            done = outcomes.get((name, part.name))
            passed, message = (done.passed, done.message) if done else (False, otherwise)
            number, worth = f"{i}.{j}", points[name, part.name]
            table.append(results.Result(number, exercise.title, part.title, worth, passed, message))
    return table


def given_code(theirs: hand_in.HandIn) -> results.Result:
    """Return the entry of 0 points about the code around the exercises."""
    changed = ", ".join(theirs.changes)
    if not theirs.theirs:
        state = "nothing was handed in"
    else:
        state = f"changed in {changed}; graded as it was handed in" if changed else "as given"
    text = "\n".join([*theirs.notes, *theirs.changes.values()])
    return results.Result("", "", f"given code: {state}", 0, True, text or state)


def summarize(table: list[results.Result], theirs: hand_in.HandIn, seed: int | None) -> str:
    """Return what is said about the whole submission."""
    score, possible = sum(result.score for result in table), sum(result.points for result in table)
    lines = [f"{score} of {possible} points"]
    notes = [theirs.problem] if theirs.problem else theirs.notes[:10]
    lines += [results.one_line(note, 1000) for note in notes]  # names of files may hold line breaks
    if os.geteuid():
        alone = landlock.version() >= landlock.SCOPES
        lines.append(NOT_ROOT + (WITH_LANDLOCK if alone else WITHOUT_LANDLOCK))
    else:
        lines += closed_folders()
    return "\n".join([*lines, f"seed {seed}"])


def closed_folders() -> list[str]:
    """Return a note if Python's own modules are in a folder that other users can't enter."""
    closed = [str(folder) for folder in Path(os.__file__).resolve().parents if not folder.stat().st_mode & 1]
    return [UNREACHABLE.format(closed[0])] if closed else []
