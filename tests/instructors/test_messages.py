"""What a student reads: for mistakes that are often made, the message names the cause and the place."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.grading.ask import plain_ask
from tests.grading.catalogue import find_blocks
from tests.grading.exercises import EXERCISES
from tests.grading.judge import judge_part
from tests.instructors import make_handout

ROOT = Path(__file__).parents[2]
NOISE = "randn_like(x_t, generator)"
# exercise, part, code of the solution, the mistake in its place, what the message says
MISTAKES = {
    "alpha_bar of step -1": (
        *("ddim_step", "last_step", " if t_prev >= 0 else 1.0", ""),
        ("t = 0, t_prev = -1", "math domain error", "alpha_bar of step -1", "exactly 1", "HW3/diffusion.py:"),
    ),
    "a quotient upside down": (
        *("ddim_step", "sigma", "alpha_bar_t / alpha_bar_prev", "alpha_bar_prev / alpha_bar_t"),
        ("t = 15, t_prev = 14", "math domain error", "alpha_bar_t = 0.03", "HW3/diffusion.py:"),
    ),
    "a forgotten return": (
        *("ddim_step", "direction", "return math", "math"),
        ("nothing (None); is a `return` missing?",),
    ),
    "torch.randn_like": (
        *("ddim_step", "noise", NOISE, "torch.randn_like(x_t)"),
        ("does not come from `generator`",),
    ),
    "noise of the wrong scale": (
        *("ddim_step", "sigma", "+ sigma_t * randn", "+ sigma_t**2 * randn"),
        ("The sigma_t that was used", "t = 15, t_prev = 14", "Eq. (12) and (16)"),
    ),
    "the wrong alpha_bar": (
        *("ddim_step", "direction", "math.sqrt(alpha_bar_prev) * x0", "math.sqrt(alpha_bar_t) * x0"),
        ("the factor of x0_pred",),
    ),
    "no adjusted eps": (
        *("ddim_step", "clipping", "if self.config.clip_x0:", "if False:"),
        ("made with eps_pred as the model gave it",),
    ),
    "no root of zero": (
        *(
            "ddim_step",
            "rounding",
            "max(0.0, 1 - alpha_bar_prev - sigma_t**2)",
            "1 - alpha_bar_prev - sigma_t**2",
        ),
        ("0 in place of the argument below 0",),
    ),
    "a wrong name": (
        *("ddim_step", "direction", "self._alpha_bars[t]", "self._alpha_bar[t]"),
        ("AttributeError", "_alpha_bar", "HW3/diffusion.py:"),
    ),
    "exit": ("ddim_step", "direction", "alpha_bar_t = ", "exit(3); alpha_bar_t = ", ("SystemExit: 3",)),
    "the time alone for no condition": (
        *("condition", "none", "cond = embedding.new_zeros(len(t), self.cond_dim)", "return embedding"),
        ("the time's embedding alone",),
    ),
    "a crash for another shape": (
        *("condition", "shape", "cond.shape != (len(t), self.cond_dim)", "False"),
        ("a cond of the shape (4, 7)", "RuntimeError", "a ValueError"),
    ),
    "no scaling": (
        *("condition", "scaling", " * math.sqrt(self.cond_dim)", ""),
        ("before self.cond", "2.4495"),
    ),
    "a product": ("condition", "added", "embedding + self", "embedding * self", ("it is a product",)),
    "a mean": ("vae_loss", "mse", ', reduction="sum")', ")", ("the mean", "the sum")),
    "the condition forgotten": (
        *("training_loss", "inputs", "t, cond)", "t, None)"),
        ("none: the model is called without one",),
    ),
}


def judge(folder, monkeypatch, name, part, old, new):
    """Return the verdict on a part of an exercise with a mistake in its solution."""
    exercise, block = EXERCISES[name], find_blocks(ROOT)[name]
    assert old in block.body
    path = folder / exercise.file
    path.parent.mkdir()
    source = (ROOT / exercise.file).read_text(encoding="utf-8")
    path.write_text(source.replace(block.body, block.body.replace(old, new)), encoding="utf-8")
    spec = importlib.util.spec_from_file_location(f"HW3.{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    (wanted,) = (candidate for candidate in exercise.parts if candidate.name == part)
    return judge_part(exercise, wanted, plain_ask(folder), 0, find_blocks(folder))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_message_names_the_cause(tmp_path, monkeypatch, mistake):
    *where, words = MISTAKES[mistake]
    verdict = judge(tmp_path, monkeypatch, *where)
    assert verdict.state == "fail"
    for word in (*words, "seen:", "expected:", "equation:", f"your code: {EXERCISES[where[0]].file}:"):
        assert word in verdict.message, verdict.message
    assert "Traceback" not in verdict.message and len(verdict.message.splitlines()) <= 6


def test_endless_loop_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.grading.ask.TIME_LIMIT", 1)
    verdict = judge(tmp_path, monkeypatch, "ema", "average", "self.updates += 1", "while True: pass")
    assert verdict.state == "fail" and "TimeLimit" in verdict.message and "HW3/ema.py:" in verdict.message


def test_debugger_works_in_an_exercise(tmp_path):
    make_handout.make_handout(tmp_path)
    path = tmp_path / "HW3/Unet.py"
    todo = find_blocks(tmp_path)["condition"].body
    path.write_text(path.read_text().replace(todo, "        breakpoint()\n        return embedding\n"))
    command = [sys.executable, "-m", "pytest", "tests/grading", "-k", "condition", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    keys = "p cond.shape\nc\nq\n"
    done = subprocess.run(command, cwd=tmp_path, env=environment, input=keys, capture_output=True, text=True)
    assert "torch.Size([4, 6])" in done.stdout and "Quitting debugger" in done.stdout
    assert "it is time(t) alone" in done.stdout and "BdbQuit" not in done.stdout
