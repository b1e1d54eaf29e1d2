"""The autograder: dishonest submissions gain nothing, and whatever is handed in is read with a word.

Each dishonest submission is the handout with `condition` solved and an attack in place of the solution of
`ddim_step`. It must get the points of the one, and none of the other.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

if sys.platform != "linux":
    pytest.skip("the autograder needs Linux", allow_module_level=True)

from tests.grading import catalogue  # noqa: E402
from tests.instructors import attacks  # noqa: E402
from tests.instructors.autograder import build, keeper, landlock  # noqa: E402

ROOT = Path(__file__).parents[2]
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run submissions as another user")
KEPT_IN = pytest.mark.skipif(
    os.geteuid() != 0 and landlock.version() < landlock.SCOPES, reason="needs root, or Landlock"
)
ROOT_ONLY = {  # Landlock knows no modes and no such memory
    "changes_its_own_files",
    "leaves_shared_memory",
    "takes_memory_in_files_without_a_name",
    "slow_takes_shared_memory",
}
TOLD = {  # what is said of some of them
    "exits": "exit code 0",
    "exits_before_its_child": "exit code 3",
    "is_ended_by_a_signal_without_a_name": "was ended by signal 40",
    "takes_memory_in_files_without_a_name": "MB of files",
    "slow_takes_shared_memory": "MB of memory",
    "raises_what_looks_like_results": "Error 100 of 100 points ?: ? ? ?[2J",
}
READABLE = all(folder.stat().st_mode & 1 for folder in Path(os.__file__).resolve().parents)
SLOW = [name for name in attacks.ATTACKS if name.startswith("slow_")]
FAST = [name for name in attacks.ATTACKS if name not in SLOW]


# Runs an autograder's entry point, which loads torch, and grades in forks of itself, which then need not
SERVER = """
import json, os, sys
import grade
for line in sys.stdin:
    if os.fork() == 0:
        code = 70
        try:
            os.dup2(2, 1)
            code = grade.main(json.loads(line), grade.HOME / "given")
        finally:
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


@pytest.fixture(scope="module")
def made():
    """An autograder for the assignment: its `folder`, its `server`, and `given`, the handout's HW3."""
    place = Path(tempfile.mkdtemp())
    place.chmod(
        0o755
    )  # pytest's folders are closed to other users, and would hide what the autograder leaves open
    folder = place / "autograder"
    build.build(list(catalogue.ASSIGNMENT), folder)
    command = [sys.executable, "-B", "-c", SERVER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=folder, env={**os.environ, "HW3_GRADER": "1"}, **pipes) as server:
        yield SimpleNamespace(folder=folder, server=server, given=folder / "given/HW3")
    shutil.rmtree(place)


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


def grade(made, submission, results):
    """Grade a submission; return Gradescope's results."""
    began = time.monotonic()
    print(json.dumps([str(submission), str(results), "--seconds=3"]), file=made.server.stdin, flush=True)
    assert made.server.stdout.readline() == "0\n"
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
    found = [test["output"] for test in data["tests"] if test["number"] and "GOT IN" in test["output"]]
    assert not found
    running = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not any(str(folder).encode() in line for line in running)
    before = (folder / "results/results.json").read_bytes()
    time.sleep(0.1)
    assert (folder / "results/results.json").read_bytes() == before


@KEPT_IN
@pytest.mark.parametrize("name", [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_dishonest_submission_gains_nothing(made, tmp_path, name):
    if name in ROOT_ONLY and os.geteuid() != 0:
        pytest.skip("needs root")
    data = attack(made, tmp_path, name)
    expect_no_gain(data, tmp_path)
    assert TOLD.get(name, "") in "".join(test["output"] for test in data["tests"])
    if name == "leaves_shared_memory":
        for kind in ("shm", "msg", "sem"):
            assert " 604 " not in Path(f"/proc/sysvipc/{kind}").read_text(encoding="ascii")


def submit(made, folder, *names):
    """Write a submission: the handout with the repository's solutions of these exercises."""
    package = folder / "submission/HW3"
    shutil.copytree(made.given, package)
    solve(package, *names)
    return package


def test_solutions_get_all_points_and_the_untouched_handout_none(made, tmp_path):
    package = submit(made, tmp_path / "solved", *catalogue.ASSIGNMENT)
    command = [sys.executable, made.folder / "grade.py", package.parent, tmp_path / "all"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    data = read(tmp_path / "all")
    assert data["score"] == 100 and "given code: as given" in data["tests"][-1]["name"]
    assert done.stdout.startswith("100 of 100 points")
    data = grade(made, submit(made, tmp_path / "untouched").parent, tmp_path / "none")
    assert data["score"] == 0
    assert all("write it there" in test["output"] for test in data["tests"][:-1]), data["tests"]


def test_what_breaks_is_told_once_and_costs_no_other_module(made, tmp_path):
    package = submit(made, tmp_path, *catalogue.ASSIGNMENT)
    write_block(package, "ddim_step", "        return x_t +\n")
    with (package / "mlp.py").open("a", encoding="utf-8") as file:
        file.write("# mine\n")
    data = grade(made, package.parent, tmp_path / "results")
    assert score(data, "ddim_step")[0] == 0 and score(data, "condition")[0] > 0
    told = [test["output"] for test in data["tests"] if "invalid syntax" in test["output"]]
    assert len(told) == 1 and "HW3/diffusion.py:" in told[0]
    assert "changed in HW3/mlp.py" in data["tests"][-1]["name"] and "+# mine" in data["tests"][-1]["output"]


def test_submission_without_code_gets_results(made, tmp_path):
    (tmp_path / "submission").mkdir()
    (tmp_path / "submission/report.pdf").touch()
    data = grade(made, tmp_path / "submission", tmp_path / "results")
    assert (
        data["score"] == 0 and "report.pdf" in data["output"] and "report.pdf" in data["tests"][0]["output"]
    )
    assert data["tests"][-1]["name"] == "given code: nothing was handed in"


def test_what_the_user_may_not_do_is_told_in_a_sentence(made, tmp_path):
    (tmp_path / "results").touch()
    command = [sys.executable, made.folder / "grade.py", tmp_path, tmp_path / "results/folder"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 2 and "argument results: " in done.stderr and "Traceback" not in done.stderr
    python = f"import runpy, sys; sys.executable = {str(tmp_path)!r}; runpy.run_path({str(command[1])!r})"
    done = subprocess.run([sys.executable, "-c", python], check=False, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("error: ") and "Traceback" not in done.stderr


def test_grader_that_is_ended_leaves_results(made, tmp_path):
    package = submit(made, tmp_path, "condition")
    write_block(package, "ddim_step", "        import time; time.sleep(1000)\n")
    command = [sys.executable, made.folder / "grade.py", package.parent, tmp_path / "results", "--seconds=60"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not (tmp_path / "results/results.json").exists():
            time.sleep(0.1)
        assert read(tmp_path / "results")["score"] == 0
        time.sleep(3)
        process.terminate()
        assert process.wait(60) == 143
    assert "ended before it was done" in json.dumps(read(tmp_path / "results"))


@pytest.mark.skipif(not READABLE, reason="Python is in a folder that only root can read")
def test_grader_that_is_not_root_says_so(made, tmp_path):
    package = submit(made, tmp_path, *catalogue.ASSIGNMENT)
    folder = Path(tempfile.mkdtemp())  # pytest's are closed to other users
    for name, source in (("autograder", made.folder), ("submission", package.parent)):
        shutil.copytree(source, folder / name)
    (folder / "results").mkdir()
    subprocess.run(["chmod", "-R", "a+rwX", folder], check=True)
    rights = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    command = [sys.executable, folder / "autograder/grade.py", folder / "submission", folder / "results"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **rights)
    data = read(folder / "results")
    shutil.rmtree(folder)
    assert data["score"] == 100 and "does not run as root" in data["output"]


@AS_ROOT
def test_machine_that_cannot_run_submissions_is_no_fault_of_theirs(made, tmp_path):
    package = submit(made, tmp_path, *catalogue.ASSIGNMENT)
    command = [
        "unshare",
        "-Ur",
        sys.executable,
        made.folder / "grade.py",
        package.parent,
        tmp_path / "results",
    ]
    if subprocess.run([*command[:2], "true"], check=False).returncode:
        pytest.skip("this system has no namespaces of users")
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # with one user alone
    assert done.returncode == 1
    assert "The autograder does not work here" in read(tmp_path / "results")["output"]


@AS_ROOT
def test_only_files_of_the_submission_are_counted(tmp_path):
    uid, size = keeper.free_uid(), 2**20
    (tmp_path / "others").write_bytes(bytes(3 * size))
    mine = tmp_path / "scratch1/a/b/mine"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(bytes(size))
    with tempfile.NamedTemporaryFile(dir="/tmp") as shared, tempfile.NamedTemporaryFile(dir="/tmp") as other:
        for file in (shared, other):
            file.write(bytes(size))
            file.flush()
        os.chown(shared.name, uid, uid)
        with tempfile.TemporaryFile(dir=tmp_path) as deleted:
            deleted.write(bytes(size))
            deleted.flush()
            with subprocess.Popen(["sleep", "100"], stdin=deleted) as process:
                count, taken = keeper.files_of(tmp_path, uid, {process.pid})
                process.kill()
    assert count == 4 and 3 * size <= taken < 3 * size + 2**16


@AS_ROOT
def test_submission_cannot_stop_those_who_end_it():
    uid = keeper.free_uid()
    for _ in range(3):
        if os.fork() == 0:  # as a submission's daemon does where there is no Landlock
            os.setresuid(uid, uid, uid)
            while True:
                with suppress(ProcessLookupError):
                    os.kill(-1, signal.SIGSTOP)
    time.sleep(0.2)
    began = time.monotonic()
    keeper.end_all(uid, None)
    assert not keeper.processes(uid=uid) and time.monotonic() - began < keeper.PATIENCE


def test_autograder_holds_no_solution(made, tmp_path):
    build.pack(made.folder, tmp_path / "autograder.zip")
    with zipfile.ZipFile(tmp_path / "autograder.zip") as archive:
        names = archive.namelist()
        assert {"setup.sh", "run_autograder", "grade.py", "requirements.txt"} <= set(names)
        assert archive.getinfo("run_autograder").external_attr >> 16 & 0o111
        text = "".join(archive.read(name).decode() for name in names if name.startswith("given/"))
        everything = "".join(archive.read(name).decode() for name in names)
    for name in catalogue.ASSIGNMENT:
        solution = catalogue.find_blocks(ROOT)[name].body.strip().splitlines()[-1].strip()
        assert solution not in everything
    assert text.count("raise NotImplementedError(") == len(catalogue.ASSIGNMENT)
    assert not any("variants" in name or "attacks" in name for name in names)
