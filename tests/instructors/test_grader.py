"""Grade the grader: full points for this repository and for every right variant, none for what is wrong.

GRADER_SEEDS=10 runs every variant with the grading seeds 0 to 9.
"""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue

import pytest

from tests.instructors import make_handout, submission, variants

ROOT = Path(__file__).parents[2]
GRADING = Path("tests", "grading")
WORKERS = 2
SEEDS = range(int(os.environ.get("GRADER_SEEDS", "1")))
VARIANTS = {f"{v.module}: {v.name} ({v.fails or 'right'})": v for v in variants.load()}
assert len(VARIANTS) == len(variants.load()), "names of variants must differ"

# Bodies of ConvVAE.canonicalize_latent, and the verdict
BROKEN = {
    "unwritten": ("raise NotImplementedError('yours')", "not implemented"),
    "loops": ("while True: pass", "time limit"),
    "loops, catching all": (
        "while True:\n        try:\n            while True: pass\n        except BaseException: pass",
        "time limit",
    ),
    "sleeps": ("import time; time.sleep(1000)", "time limit"),
    "exits": ("raise SystemExit(0)", "FAIL"),
    "exits at once": ("import os; os._exit(0)", "FAIL"),
    "interrupts": ("raise KeyboardInterrupt", "FAIL"),
    "crashes": ("import ctypes; ctypes.string_at(0)", "FAIL"),
}
# Code that a module ends with
NO_MODULE = {
    "does not compile": "def",
    "does not import": "import no_such_module",
    "exits": "raise SystemExit(0)",
    "crashes": "import ctypes; ctypes.string_at(0)",
    "is empty": "del ConvVAE, vae_loss",
}


class Submission:
    """A copy of the package and the grading suite, changed by code appended to one module."""

    def __init__(self, folder, module=None, code=""):
        self.folder = folder
        ignored = shutil.ignore_patterns("__pycache__")
        for name in ("HW3", GRADING):
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        for name in ("pyproject.toml", "tests/__init__.py", "tests/conftest.py"):
            shutil.copy(ROOT / name, folder / name)
        if module:
            with (folder / "HW3" / f"{module}.py").open("a") as file:
                file.write(f"\n\n{code}\n")


@pytest.fixture(scope="module")
def grade():
    """Return a function that grades a submission; as many as WORKERS threads may call it at once."""
    command = [sys.executable, ROOT / "tests/instructors/variants" / "worker.py"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    idle = SimpleQueue()

    def run(submission, *tests, options=()):
        paths = [str(GRADING / test) for test in tests] or [str(GRADING)]
        options = [*options, "--results=results.json", "-p", "no:cacheprovider"]
        worker = idle.get()
        print(json.dumps([str(submission.folder), *paths, *options]), file=worker.stdin, flush=True)
        code = worker.stdout.readline().strip()
        idle.put(worker)
        results = json.loads((submission.folder / "results.json").read_text())["tests"]
        assert code == str(int(any(result["score"] == 0 for result in results))), "pytest's own exit code"
        return results

    with ExitStack() as stack:
        for _ in range(WORKERS):
            idle.put(stack.enter_context(subprocess.Popen(command, **pipes)))
        yield run


@pytest.fixture(scope="module")
def graded(request, grade, tmp_path_factory):
    """Return the results of each selected variant by its name."""
    items = [item for item in request.session.items if item.originalname == "test_variant"]
    names = [item.callspec.params["name"] for item in items]

    def run(name):
        variant = VARIANTS[name]
        submission = Submission(tmp_path_factory.mktemp("variant"), variant.module, variant.code)
        stem = variant.module.lower()
        tests = [variant.fails] if variant.fails else [f"test_{stem}.py"]
        if stem == "mlp" and not variant.fails:
            tests.append("test_unet.py")  # the condition is graded there
        results = grade(submission, *tests, options=[f"--grading-seed={seed}" for seed in SEEDS])
        shutil.rmtree(submission.folder)
        return results

    with ThreadPoolExecutor(WORKERS) as pool:
        return dict(zip(names, pool.map(run, names), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_variant(name, graded):
    variant, results = VARIANTS[name], graded[name]
    if variant.fails is None:
        rejected = [(result["name"], result["output"]) for result in results if result["status"] == "failed"]
        assert not rejected, f"right, but rejected: {variant.why}"
        return
    assert len(results) == len(SEEDS)
    for result in results:
        assert result["status"] == "failed", f"wrong, but accepted by {result['name']}: {variant.why}"
        explained = all(word in result["output"] for word in ("seen:", "expected:", "equation:"))
        assert explained or "HW3/" in result["output"], result["output"]


def verdicts(results):
    """Return the verdict of each requirement by its name."""
    return {result["name"]: result["output"].splitlines()[0] for result in results}


def test_full_points(grade, tmp_path):
    results = grade(Submission(tmp_path))
    assert set(verdicts(results).values()) == {"pass"}
    assert sum(result["score"] for result in results) == 100


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_broken_method(name, grade, tmp_path):
    body, verdict = BROKEN[name]
    code = f"def broken(self, z, threshold=0.5):\n    {body}\n\n\nConvVAE.canonicalize_latent = broken"
    results = verdicts(grade(Submission(tmp_path, "vae", code), "test_vae.py", options=["--time-limit=5"]))
    assert results.pop("vae: canonicalize_latent flips latents of bright images") == verdict
    assert set(results.values()) == {"pass"}


@pytest.mark.parametrize("name", NO_MODULE)
def test_broken_module(name, grade, tmp_path):
    submission = Submission(tmp_path, "vae", NO_MODULE[name])
    results = verdicts(grade(submission, "test_vae.py", "test_clip.py"))
    for requirement, verdict in results.items():
        assert verdict == ("pass" if requirement.startswith("clip") else "FAIL"), requirement


def make_source(folder):
    """Copy what Gradescope's script needs of this repository to folder/source."""
    for name in ("HW3", "tests"):
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder / "source")


def autograde(folder):
    """Run Gradescope's script in a folder that has source/ and submission/; return what it writes."""
    (folder / "results").mkdir()
    environment = {**os.environ, "AUTOGRADER": str(folder), "PYTHON": sys.executable}
    subprocess.run(
        [ROOT / "tests/instructors/run_autograder"], env=environment, check=True, capture_output=True
    )
    return json.loads((folder / "results" / "results.json").read_text())


@pytest.mark.parametrize("place", ["HW3", "repo-main/HW3", "a/b/HW3", "", "mine"])
def test_graded_files_are_found(tmp_path, place):
    package = tmp_path / place
    package.mkdir(parents=True, exist_ok=True)
    (package / "vae.py").touch()
    for litter in ("__MACOSX/HW3", "__MACOSX/repo-main/HW3", ".git/HW3", "a/deeper/than/that/HW3"):
        (tmp_path / litter).mkdir(parents=True)
        (tmp_path / litter / "._vae.py").touch()
    if place in ("", "mine"):
        shutil.rmtree(tmp_path / "a")
    assert submission.find_package(tmp_path) == package


def test_what_is_missing_from_a_hand_in_is_said_once(tmp_path):
    make_source(tmp_path)
    (tmp_path / "submission").mkdir()
    (tmp_path / "submission/report.pdf").touch()
    results = autograde(tmp_path)
    assert results["score"] == 0 and len(results["tests"]) == 1
    assert "no folder HW3" in results["tests"][0]["output"] and "report.pdf" in results["tests"][0]["output"]
    for name in ("one/HW3", "two/HW3"):
        (tmp_path / "submission" / name).mkdir(parents=True)
    with pytest.raises(ValueError, match="one/HW3, two/HW3"):
        submission.find_package(tmp_path / "submission")


def test_results_may_be_in_a_new_folder_and_are_tried_first(tmp_path):
    (tmp_path / "file").touch()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", GRADING / "test_mlp.py"]
    for place, code in (("new/results.json", 0), ("file/results.json", 4)):
        done = subprocess.run(
            [*command, f"--results={tmp_path / place}"], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == code, done.stderr
    assert "--results" in done.stderr and (tmp_path / "new/results.json").exists()


EXERCISES = {
    "diffusion: sample_ddim visits `steps` timesteps, each step as in DDIM's Eq. (12)",
    "unet: The conditional path of the noise predictor: UNet and EpsMLP",
}


def test_handout_replaces_no_other_folder(tmp_path, capsys):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(SystemExit, match="2"):
        make_handout.main([str(tmp_path)])
    assert "not an empty folder" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == [tmp_path / "thesis.tex"]


@pytest.mark.slow
def test_handout(tmp_path):
    """The handout runs up to the exercises: Gradescope's script finds exactly those two not implemented."""
    handout = tmp_path / "submission/repo-main"
    make_handout.main([str(handout)])
    text = "\n".join(path.read_text() for path in (handout / "HW3").glob("*.py"))
    assert text.count("# TASK: ") == text.count("raise NotImplementedError(") > 0
    assert "sigma_t = eta * " not in text and "self.cond(" not in text
    assert not (handout / "tests/instructors").exists()
    done = subprocess.run(["make", "-n", "handout"], cwd=handout, capture_output=True, text=True)
    assert done.returncode == 2 and "No rule to make target" in done.stderr
    done = subprocess.run([sys.executable, "tests/demo.py"], cwd=handout, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("HW3/") == text.count("# TASK: ") and not done.stdout
    make_source(tmp_path)
    results = autograde(tmp_path)
    unsolved = {name for name, verdict in verdicts(results["tests"]).items() if verdict == "not implemented"}
    assert unsolved == EXERCISES
    assert results["score"] == 100 - sum(
        test["max_score"] for test in results["tests"] if test["name"] in EXERCISES
    )
