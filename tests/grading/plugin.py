"""Turn a pytest run into a graded one: points, verdicts, time limit, a table and Gradescope's results.json.

A graded requirement is a test marked `@pytest.mark.points(n)`; the first line of its docstring is its
title. It earns all of its points or none. On Linux each one runs in a forked process of its own, so a
submission that crashes, exits, or changes global state can't touch the other requirements.

The time limit works twice. It is one of computing time, so that a busy machine fails nobody: an alarm
interrupts Python code wherever it is, which shows the student the line. Code that sleeps, is stuck inside one
call of a C library, or catches the alarm is killed with its process after PATIENCE times the limit on the
clock. Without fork (Windows, macOS) such code hangs the run.
"""

import json
import multiprocessing
import signal
import sys
import tempfile
import warnings
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol

PATIENCE = 4  # times the limit, until the kill


class TimeLimit(BaseException):
    """The alarm of the time limit; no Exception, so that a student's `except Exception` does not catch it."""


def pytest_addoption(parser):
    group = parser.getgroup("grading")
    group.addoption("--results", type=Path, metavar="FILE", help="write Gradescope's results.json")
    group.addoption(
        "--grading-seed",
        type=int,
        action="append",
        help="seed of all random numbers (default: 0); may be repeated",
    )
    group.addoption(
        "--time-limit", type=int, default=30, help="seconds of computing per requirement (default: 30)"
    )


def pytest_configure(config):
    path = config.getoption("results")
    if path:
        try:
            path = path.expanduser()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.open("a").close()  # better to fail now than after the grading
        except (OSError, RuntimeError) as error:  # RuntimeError: no such home folder
            raise pytest.UsageError(f"--results {path}: {error}") from error
    config.pluginmanager.register(Scorer(path))


def pytest_collection_modifyitems(items):
    for item in filter(points, items):
        # A warning is no wrong answer, although the repository's own tests treat it as an error.
        item.add_marker(pytest.mark.filterwarnings("default"))


def points(item):
    """Return the points of a requirement, or None for an ordinary test."""
    marker = item.get_closest_marker("points")
    return marker and marker.args[0]


# One process and one time limit for each requirement


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item):
    if not points(item) or sys.platform != "linux":
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in run_forked(item):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def run_forked(item):
    """Run a test in a forked process and return its reports, or one that says how the process ended."""
    hook, config = item.ihook, item.config
    with tempfile.TemporaryDirectory() as folder:
        path, unfinished = Path(folder, "reports.json"), Path(folder, "unfinished")

        def run():
            reports = runtestprotocol(item, log=False, nextitem=None)
            data = [hook.pytest_report_to_serializable(config=config, report=report) for report in reports]
            unfinished.write_text(json.dumps(data), encoding="utf-8")
            unfinished.rename(path)

        child = multiprocessing.get_context("fork").Process(target=run)
        with warnings.catch_warnings():
            # Python warns of forking beside threads; those of torch's libraries sleep here and stay unused.
            warnings.simplefilter("ignore", DeprecationWarning)
            child.start()
        patience = PATIENCE * config.getoption("time_limit")
        child.join(patience)
        killed = child.is_alive()
        if killed:
            child.kill()
            child.join()
        if path.exists():
            reports = json.loads(path.read_text(encoding="utf-8"))
            return [hook.pytest_report_from_serializable(config=config, data=report) for report in reports]

    if killed:
        verdict, output = "time limit", f"stopped after {patience} s without a result"
    elif child.exitcode < 0:
        verdict, output = "FAIL", f"the process died of {signal.Signals(-child.exitcode).name}"
    else:
        verdict, output = "FAIL", f"the process ended itself with exit code {child.exitcode}"
    report = pytest.TestReport(
        item.nodeid, item.location, dict.fromkeys(item.keywords, 1), "failed", output, when="call"
    )
    add_result(report, item, verdict, output)
    return [report]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    return (yield from limit_time(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    return (yield from limit_time(item))


def limit_time(item):
    """Raise TimeLimit in a hook that takes longer than a requirement may."""
    if not points(item) or not hasattr(signal, "SIGPROF"):
        return (yield)
    limit = item.config.getoption("time_limit")

    def stop(*_):
        raise TimeLimit(f"not done after {limit} s of computing")

    former = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, limit)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, former)


# Verdicts


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if points(item) and (call.when == "call" or call.excinfo):
        add_result(report, item, *judge(call.excinfo))
    return report


def judge(excinfo):
    """Return the verdict of an exception, or of None, and what the student reads about it."""
    if excinfo is None:
        return "pass", ""
    if excinfo.errisinstance(pytest.fail.Exception):
        return "FAIL", str(excinfo.value)
    frames = [entry for entry in excinfo.traceback if Path(entry.path).parent.name == "HW3"]
    where = f" (HW3/{Path(frames[-1].path).name}:{frames[-1].lineno + 1})" if frames else ""
    if excinfo.errisinstance(NotImplementedError):
        return "not implemented", f"{excinfo.value}{where}"
    verdict = "time limit" if excinfo.errisinstance(TimeLimit) else "FAIL"
    return verdict, f"{excinfo.exconly()}{where}"


def add_result(report, item, verdict, output):
    """Attach the result of a requirement to its report, which is all that travels between processes."""
    result = {
        "module": item.path.stem.removeprefix("test_"),
        "title": item.obj.__doc__.strip().splitlines()[0] + item.name.removeprefix(item.originalname),
        "points": points(item),
        "verdict": verdict,
        "output": output,
    }
    report.user_properties = [("requirement", result)]


# The score


class Scorer:
    """Collect the results of the requirements and report them at the end of the run.

    Args:
        path: where results.json goes, or None.
    """

    def __init__(self, path):
        self.path = path
        self.results = {}

    def pytest_runtest_logreport(self, report):
        result = dict(report.user_properties).get("requirement")
        # Setup, call and teardown may each report; the first that is no pass counts.
        if result and self.results.get(report.nodeid, {"verdict": "pass"})["verdict"] == "pass":
            self.results[report.nodeid] = result

    def pytest_terminal_summary(self, terminalreporter):
        results = self.results.values()
        if not results:
            return
        width = max(len(result["title"]) for result in results)
        terminalreporter.section("score")
        terminalreporter.line(f"{'module':<10} {'requirement':<{width}} points  verdict")
        for result in results:
            markup = {"green" if result["verdict"] == "pass" else "red": True}
            terminalreporter.line(
                f"{result['module']:<10} {result['title']:<{width}} "
                f"{earned(result):>2} /{result['points']:>2}  {result['verdict']}",
                **markup,
            )
        score, possible = sum(map(earned, results)), sum(result["points"] for result in results)
        terminalreporter.line(f"score: {score} of {possible} points")

    def pytest_sessionfinish(self):
        if self.path is None:
            return
        tests = [
            {
                "name": f"{result['module']}: {result['title']}",
                "score": earned(result),
                "max_score": result["points"],
                "status": "passed" if result["verdict"] == "pass" else "failed",
                "output": f"{result['verdict']}\n{result['output']}".strip(),
            }
            for result in self.results.values()
        ]
        score = sum(test["score"] for test in tests)
        self.path.write_text(json.dumps({"score": score, "tests": tests}, indent=2))


def earned(result):
    """Return the points of a result: all or none."""
    return result["points"] if result["verdict"] == "pass" else 0
