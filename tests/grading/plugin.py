"""Turn a pytest run of `tests/grading` into a graded one: which parts there are, their points, a table.

This is the plain way to grade, for a student's own machine: the code that is graded runs in pytest's process.
"""

from pathlib import Path

import pytest

from tests.grading import catalogue
from tests.grading.catalogue import EXERCISES

ROOT = Path(__file__).parents[2]
NAME = "grading"  # of the property of a test's report that holds its result


def pytest_addoption(parser):
    group = parser.getgroup("grading")
    group.addoption(
        "--grading-seed",
        type=int,
        action="append",
        help="seed of the grader's random numbers (default: 0); may be repeated",
    )
    group.addoption(
        "--all-exercises",
        action="store_true",
        help="in the repository, grade all exercises of the catalogue, not the assignment's alone",
    )


def pytest_configure(config):
    config.pluginmanager.register(Scorer(config))


def graded(config):
    """Return the names of the exercises that this run may grade."""
    return catalogue.open_names(ROOT, all_blocks=config.getoption("all_exercises"))


class Scorer:
    """Collect the verdicts and print the table at the end of the run."""

    def __init__(self, config):
        self.points = catalogue.points(graded(config))
        self.verdicts = {}
        self.alone = True  # no other tests are run

    def pytest_runtest_logreport(self, report):
        if result := dict(report.user_properties).get(NAME):
            exercise, part, state = result
            # Of several seeds the first that is no pass counts.
            if report.when == "call" and self.verdicts.get((exercise, part), "pass") == "pass":
                self.verdicts[exercise, part] = state
        elif report.when == "call":
            self.alone = False

    def pytest_terminal_summary(self, terminalreporter):
        if not self.verdicts:
            if self.alone and terminalreporter.stats.get("deselected"):
                words = ", ".join(dict.fromkeys(exercise for exercise, _ in self.points))
                terminalreporter.line(f"Nothing is selected. The exercises are called {words}.", bold=True)
            return
        if self.alone:
            terminalreporter.reportchars = ""  # no list of failures after the table, which has them
        terminalreporter.section("score")
        blocks = catalogue.find_blocks(ROOT)
        for name in dict.fromkeys(exercise for exercise, _ in self.points):
            parts = [part for part in EXERCISES[name].parts if (name, part.name) in self.verdicts]
            if not parts:
                continue
            place = f"{EXERCISES[name].file}, but the markers of the block are gone: put them back"
            if name in blocks:
                place = f"{EXERCISES[name].file}:{blocks[name].first}"
            terminalreporter.line(f"{EXERCISES[name].title} ({name}, {place})", bold=True)
            for part in parts:
                state, worth = self.verdicts[name, part.name], self.points[name, part.name]
                earned = worth if state == "pass" else 0
                line = f"  {earned:>3} /{worth:>3}  {state:<11}  {part.name}: {part.title}"
                terminalreporter.line(line, green=state == "pass", red=state != "pass")
        score = sum(self.points[key] for key, state in self.verdicts.items() if state == "pass")
        possible = sum(self.points[key] for key in self.verdicts)
        selected = "" if possible == catalogue.POINTS else f" (of the {catalogue.POINTS}, those selected)"
        terminalreporter.line(f"score: {score} of {possible} points{selected}", bold=True)
        terminalreporter.line("Graded without the autograder's sandbox: the code ran in this process.")


def pytest_generate_tests(metafunc):
    """Make a test of each part that is graded, with each seed."""
    if "part" not in metafunc.fixturenames:
        return
    seeds = metafunc.config.getoption("grading_seed") or [0]
    cases = [
        pytest.param(
            EXERCISES[name], part, seed, id=f"{name}-{part.name}" + (f"-{seed}" if len(seeds) > 1 else "")
        )
        for name in graded(metafunc.config)
        for part in EXERCISES[name].parts
        for seed in seeds
    ]
    metafunc.parametrize(("exercise", "part", "seed"), cases)
