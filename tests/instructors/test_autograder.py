"""The autograder: dishonest submissions gain nothing, and whatever is handed in is read with a word.

Each dishonest submission is the handout with `condition` solved and an attack in place of the solution of
`ddim_step`. It must get the points of the one, and none of the other.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

if sys.platform != "linux":
    pytest.skip("the autograder needs Linux", allow_module_level=True)

from tests.grading import catalogue  # noqa: E402
from tests.instructors import attacks  # noqa: E402
from tests.instructors.autograder import build  # noqa: E402

ROOT = Path(__file__).parents[2]
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run submissions as another user")
SLOW = [name for name in attacks.ATTACKS if name.startswith("slow_")]
FAST = [name for name in attacks.ATTACKS if name not in SLOW]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An autograder for the assignment: its `folder`, and `given`, the handout's HW3."""
    folder = tmp_path_factory.mktemp("autograder") / "autograder"
    build.build(list(catalogue.ASSIGNMENT), folder)
    return SimpleNamespace(folder=folder, given=folder / "given/HW3")


def solve(package, *names):
    """Put the repository's solutions of some exercises into a copy of the handout."""
    for name in names:
        block = catalogue.find_blocks(ROOT)[name]
        write_block(package, name, block.body)


def write_block(package, name, code):
    """Replace the code between the markers of an exercise."""
    path = package.parent / catalogue.EXERCISES[name].file
    text = path.read_text(encoding="utf-8")
    match = next(match for match in catalogue.BLOCK.finditer(text) if match["name"] == name)
    path.write_text(text[: match.start("body")] + code + text[match.end("body") :], encoding="utf-8")


def grade(made, submission, results, *options):
    """Run the autograder; return Gradescope's results."""
    command = [sys.executable, made.folder / "grade.py", submission, results, "--seconds=3", *options]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 300
    return read(results)


def read(results):
    """Return results.json, after checking that all three files are what they should be."""
    data = json.loads((results / "results.json").read_text(encoding="utf-8"))
    scores = json.loads((results / "result.json").read_text(encoding="utf-8"))
    suites = ElementTree.parse(results / "results.xml").getroot()
    parts = [test for test in data["tests"] if test["number"]]
    assert data["score"] == scores["score"] == sum(test["score"] for test in data["tests"])
    assert scores["max_score"] == 100 == sum(test["max_score"] for test in data["tests"])
    assert len(parts) == len(scores["tests"]) == int(suites.get("tests"))
    failures = [case for case in suites.iter("testcase") if case.find("failure") is not None]
    assert len(failures) == sum(test["score"] == 0 for test in parts)
    assert all(len(test["output"]) <= 4000 for test in data["tests"])
    assert {path.name for path in results.iterdir()} == {"results.json", "result.json", "results.xml"}
    return data


def score(data, exercise):
    """Return the points and the possible points of an exercise."""
    title = catalogue.EXERCISES[exercise].title
    tests = [test for test in data["tests"] if test["name"].startswith(f"{title}: ")]
    return sum(test["score"] for test in tests), sum(test["max_score"] for test in tests)


def attack(made, folder, name):
    """Write a submission with an attack, and grade it."""
    package, results = folder / "submission/HW3", folder / "results"
    shutil.copytree(made.given, package)
    solve(package, "condition")
    block, top = attacks.source(name, made.folder, results)
    write_block(package, "ddim_step", block)
    with (package / "diffusion.py").open("a", encoding="utf-8") as file:
        file.write(f"\n\n{top}")
    return grade(made, package.parent, results)


def expect_no_gain(data, folder):
    """Check the score of an attack, and that nothing of it is left."""
    assert score(data, "ddim_step")[0] == 0
    earned, possible = score(data, "condition")
    assert earned == possible > 0, data["tests"]
    assert "GOT IN" not in json.dumps(data)
    running = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not any(b"sleep\x0098765" in line or str(folder).encode() in line for line in running)
    before = (folder / "results/results.json").read_bytes()
    time.sleep(0.1)
    assert (folder / "results/results.json").read_bytes() == before


@AS_ROOT
@pytest.mark.parametrize("name", FAST)
def test_dishonest_submission_gains_nothing(made, tmp_path, name):
    expect_no_gain(attack(made, tmp_path, name), tmp_path)


@AS_ROOT
@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_submission_that_hangs_costs_nothing_but_its_own_points(made, tmp_path, name):
    expect_no_gain(attack(made, tmp_path, name), tmp_path)
