"""Judge a submission part by part: ask the sandbox, compare with the papers, keep to the time."""

import time
from dataclasses import dataclass

from tests.grading import judge as checks
from tests.grading.ask import StudentError
from tests.grading.catalogue import Block
from tests.grading.exercises import EXERCISES, Exercise, Part
from tests.instructors.autograder.sandbox import Sandbox

SECONDS = 10  # on the clock for a part; it computes for less than 5, but machines may be slow or busy
AGAIN, LONG = 0.3, 4  # times that, where two parts of the exercise timed out, and in the second round
NO_TIME = "Not judged: the other parts took all the time there is."
TOTAL = 270  # seconds after which no part is begun


@dataclass
class Outcome:
    """What became of a part: passed or not, the message, whether it ran out of time."""

    passed: bool
    message: str
    timed_out: bool = False


def judge(
    sandbox: Sandbox,
    names: list[str],
    blocks: dict[str, Block],
    outcomes: dict,
    *,
    seed: int,
    seconds: float = SECONDS,
) -> None:
    """Judge the parts of the open exercises.

    A part that runs out of time is tried again at the end, with more of it, so that a slow machine fails
    nobody, and a submission that hangs does not take the time of its other parts.

    Args:
        sandbox: with the submission.
        names: of the exercises.
        blocks: of the submission, see `catalogue.find_blocks`.
        outcomes: filled, by (exercise, part); what was judged is there even if this function is interrupted.
        seed: of the checks' random numbers.
        seconds: for each part.
    """
    until = time.monotonic() + TOTAL
    said: dict[tuple, str] = {}
    parts = [(EXERCISES[name], part) for name in names for part in EXERCISES[name].parts]

    def timeouts(exercise: Exercise) -> int:
        return sum(done.timed_out for (name, _), done in outcomes.items() if name == exercise.name)

    for exercise, part in parts:
        limit = AGAIN * seconds if timeouts(exercise) >= 2 else seconds
        if time.monotonic() + limit < until:
            outcomes[exercise.name, part.name] = _judge(sandbox, exercise, part, blocks, seed, limit, said)
    hopeless = set()
    for exercise, part in parts:
        done = outcomes.get((exercise.name, part.name))
        if (
            done
            and done.timed_out
            and exercise.name not in hopeless
            and time.monotonic() + LONG * seconds < until
        ):
            done = _judge(sandbox, exercise, part, blocks, seed, LONG * seconds, said)
            outcomes[exercise.name, part.name] = done
            hopeless |= {exercise.name} if done.timed_out else set()
    for exercise, part in parts:
        outcomes.setdefault((exercise.name, part.name), Outcome(False, NO_TIME, timed_out=True))


def _judge(sandbox: Sandbox, exercise: Exercise, part: Part, blocks, seed, seconds, said) -> Outcome:
    """Judge a part in a worker of its own.

    Args:
        seconds: that it may take.
        said: errors that were reported, and by which part; the same one is not told again at length.
    """
    number, failure = f"{exercise.title}, {part.title}", None
    until = time.monotonic() + seconds

    def ask(probe: str, **inputs):
        nonlocal failure
        try:
            return sandbox.ask(probe, inputs, until)
        except StudentError as error:
            failure = error
            raise

    try:
        sandbox.start()
        verdict = checks.judge_part(exercise, part, ask, seed, blocks)
    except StudentError as error:
        verdict, failure = checks.Verdict("fail", f"{error.kind}: {error.message}"), error
    except Exception as error:  # a check that an answer upsets costs this part, and no other
        verdict = checks.Verdict("fail", f"The answer can't be judged: {type(error).__name__}: {error}"[:500])
    finally:
        printed = sandbox.printed.decode("utf-8", errors="replace").strip()
        sandbox.stop()
    message = verdict.message or verdict.state
    if failure is not None and failure.file and verdict.state == "fail":
        key = failure.kind, failure.message, failure.file, failure.line
        if said.setdefault(key, number) != number:
            message = f'{failure.file}:{failure.line}: {failure.kind}, as in the part "{said[key]}"'
    if printed and not verdict.passed:
        message += f"\n\nprinted by the submission:\n{printed}"
    return Outcome(verdict.passed, message, failure is not None and failure.kind == "TimeLimit")
