"""Handouts of the assignment and of other sets of exercises: what is open, what it earns, what is told."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.grading import catalogue
from tests.grading.catalogue import ASSIGNMENT, EXERCISES, POINTS
from tests.instructors import make_handout

ROOT = Path(__file__).parents[2]
SETS = (
    ASSIGNMENT,
    ("ddim_step", "guidance", "vae_loss"),
    ("q_sample", "training_loss"),
    ("posterior", "sample_ddpm"),
    ("reparameterize", "vae_loss", "canonicalize_latent"),
    ("kl_divergence",),
    ("clip_logits", "clip_loss"),
    ("ema", "guidance"),
    ("condition", "q_sample", "sample_ddpm", "clip_loss"),
    tuple(EXERCISES),
)


def grade(folder, *options):
    """Run the handout's own grading; return the score, what it is out of, and all that is printed."""
    command = [sys.executable, "-m", "pytest", "tests/grading", "-p", "no:cacheprovider", *options]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    score = re.search(r"^score: (\d+) of (\d+) points", done.stdout, re.MULTILINE)
    assert score, done.stdout + done.stderr
    return int(score[1]), int(score[2]), done.stdout


def put_back(folder):
    """Write the repository's solutions into the open blocks."""
    solutions = catalogue.find_blocks(ROOT)
    for name, block in catalogue.find_blocks(folder).items():
        path = folder / block.file
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(block.body, solutions[name].body), encoding="utf-8")


@pytest.mark.parametrize(
    "names", [pytest.param(s, marks=[pytest.mark.slow] * (s is not ASSIGNMENT), id="-".join(s)) for s in SETS]
)
def test_untouched_handout_earns_nothing_and_the_solution_everything(tmp_path, names):
    folder = tmp_path / "handout"
    make_handout.make_handout(folder, names)
    names = catalogue.with_dependencies(list(names))
    assert catalogue.open_names(folder) == names == list(catalogue.find_blocks(folder))
    score, possible, printed = grade(folder)
    assert (score, possible) == (0, POINTS)
    for block in catalogue.find_blocks(folder).values():
        assert f"{block.file}:{block.first} raises NotImplementedError" in printed
    assert "Traceback" not in printed and "not written" in printed and " fail " not in printed
    put_back(folder)
    score, possible, printed = grade(folder)
    assert (score, possible) == (POINTS, POINTS), printed


@pytest.mark.parametrize("names", SETS, ids="-".join)
def test_points_are_whole_positive_and_a_hundred(names):
    points = catalogue.points(catalogue.with_dependencies(list(names)))
    assert sum(points.values()) == POINTS and min(points.values()) >= 1
    assert all(isinstance(value, int) for value in points.values())


def test_handout_shows_no_solution_and_no_markers_of_other_exercises(tmp_path):
    names = list(EXERCISES)
    make_handout.make_handout(tmp_path / "all", names)
    make_handout.make_handout(tmp_path / "one", ["ema"])
    handed_out = "\n".join(path.read_text() for path in (tmp_path / "all/HW3").glob("*.py"))
    for name, block in catalogue.find_blocks(ROOT).items():
        for line in block.body.splitlines():
            long = len(line.strip()) > 60 and not line.strip().startswith("raise")
            assert not long or line.strip() not in handed_out, name
    assert handed_out.count("# TASK: ") == handed_out.count("raise NotImplementedError(") == len(names)
    text = "\n".join(path.read_text() for path in (tmp_path / "one/HW3").glob("*.py"))
    assert text.count("# TASK: ") == text.count("### BEGIN SOLUTION") == text.count("### END SOLUTION") == 1
    for folder in ("all", "one"):
        assert not (tmp_path / folder / "tests/instructors").exists()
        compile_all = [sys.executable, "-m", "compileall", "-q", str(tmp_path / folder / "HW3")]
        assert subprocess.run(compile_all).returncode == 0


def test_readme_and_hints_follow_the_set(tmp_path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"<!-- exercises -->\n{make_handout.list_exercises(ASSIGNMENT)}\n<!-- end of" in readme
    make_handout.make_handout(tmp_path, ["guidance", "vae_loss"])
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert (
        "-k guidance" in text and "-k vae_loss" in text and "-k ddim_step" not in text and "<!--" not in text
    )
    assert "eps_uncond + w" not in text and "> x_t = sqrt" in text and "> logits" in text
    hints = (tmp_path / "tests/grading/HINTS.md").read_text(encoding="utf-8")
    assert re.findall("## `(.*)`", hints) == ["kl_divergence", "vae_loss", "guidance"]


def test_tidied_markers_lose_no_part(tmp_path):
    make_handout.make_handout(tmp_path)
    put_back(tmp_path)
    path = tmp_path / "HW3/Unet.py"
    path.write_text(re.sub(r" *### (BEGIN|END) SOLUTION.*\n", "", path.read_text()))
    score, possible, printed = grade(tmp_path)
    assert (score, possible) == (POINTS, POINTS) and "put them back" in printed


def test_demo_says_at_once_what_is_open(tmp_path):
    make_handout.make_handout(tmp_path)
    done = subprocess.run([sys.executable, "tests/demo.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and not done.stdout
    for block in catalogue.find_blocks(tmp_path).values():
        assert f"{block.file}:{block.first}: " in done.stderr


def test_make_knows_no_handout_in_a_handout(tmp_path):
    make_handout.make_handout(tmp_path)
    done = subprocess.run(["make", "-n", "handout"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "No rule to make target" in done.stderr


@pytest.mark.parametrize("wrong", [["no_such"], ["ddim_step", "ddim"]])
def test_unknown_exercises_are_named(tmp_path, capsys, wrong):
    with pytest.raises(SystemExit, match="2"):
        make_handout.main([str(tmp_path), "--open", *wrong])
    assert f"no exercise {wrong[-1]}; there are ddim_step" in capsys.readouterr().err


def test_handout_replaces_no_other_folder(tmp_path, capsys):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(SystemExit, match="2"):
        make_handout.main([str(tmp_path)])
    assert "not an empty folder" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == [tmp_path / "thesis.tex"]
