"""Grade the grader: every variant fails the parts that it must and no others, the solution fails none.

All run the plain way, in this process. The autograder runs the same checks (test_autograder.py).
"""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.grading import catalogue
from tests.grading.catalogue import ASSIGNMENT, EXERCISES
from tests.instructors import variants
from tests.instructors.variants import run

ROOT = Path(__file__).parents[2]
VARIANTS = variants.load()
SEEDS = (*range(10), 66, 91, 111)  # the last three once rejected the repository's own loss of CLIP

# Students' code may warn, although the repository's own may not.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of HW3 at `root`, and `grade(name, code)`: the verdicts with other code for that exercise."""
    root = tmp_path_factory.mktemp("tree")
    shutil.copytree(ROOT / "HW3", root / "HW3", ignore=shutil.ignore_patterns("__pycache__"))

    def grade(name, code):
        path = root / EXERCISES[name].file
        variants.write(root, name, code)
        try:
            return {part: verdict for (_, part), verdict in run.grade(root, [name]).items()}
        finally:
            shutil.copy(ROOT / EXERCISES[name].file, path)

    return SimpleNamespace(root=root, grade=grade)


def describe(variant):
    return f"{variant.exercise}: {variant.title} ({' '.join(sorted(variant.fails)) or 'right'})"


@pytest.mark.parametrize("variant", VARIANTS, ids=describe)
def test_variant_fails_the_parts_that_it_must(variant, tree):
    verdicts = tree.grade(variant.exercise, variant.code)
    failed = {part: verdict.message for part, verdict in verdicts.items() if not verdict.passed}
    assert set(failed) == variant.fails, failed
    for message in failed.values():
        assert "seen:" in message and "expected:" in message and "equation:" in message
        assert f"{EXERCISES[variant.exercise].file}:" in message
        assert "Traceback" not in message and len(message) < 2000 and message.count("\n") < 8, message


def test_each_part_has_ten_wrong_and_three_right_variants():
    assert len({(variant.exercise, variant.title, variant.code) for variant in VARIANTS}) == len(VARIANTS)
    for name, exercise in EXERCISES.items():
        own = [variant for variant in VARIANTS if variant.exercise == name]
        assert sum(not variant.fails for variant in own) >= 3, name
        for part in exercise.parts:
            wrong = sum(part.name in variant.fails for variant in own)
            assert wrong >= 10, f"{name}, {part.name}: {wrong} wrong variants"
        assert {part for variant in own for part in variant.fails} <= {part.name for part in exercise.parts}


@pytest.mark.parametrize("name", EXERCISES)
def test_no_seed_rejects_the_solution(name):
    for seed in SEEDS:
        wrong = [verdict.message for verdict in run.grade(ROOT, [name], seed).values() if not verdict.passed]
        assert not wrong, f"seed {seed}: {wrong}"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("name", EXERCISES)
def test_no_seed_rejects_a_right_variant(name, seed, tree):
    for variant in VARIANTS:
        if variant.exercise == name and not variant.fails:
            variants.write(tree.root, name, variant.code)
            wrong = [v.message for v in run.grade(tree.root, [name], seed).values() if not v.passed]
            shutil.copy(ROOT / EXERCISES[name].file, tree.root / EXERCISES[name].file)
            assert not wrong, f"{variant.title}: {wrong}"


# Work that once had all of the points of its exercise, and the parts that it loses now.
ONCE_ACCEPTED = {
    "no conditional path but a sum": (
        "condition",
        "return embedding + self.cond(cond)",
        "none shape scaling",
    ),
    "a product": (
        "condition",
        """
        if cond is None:
            cond = embedding.new_zeros(len(t), self.cond_dim)
        if cond.shape != (len(t), self.cond_dim):
            raise ValueError("cond")
        return embedding * self.cond(cond * math.sqrt(self.cond_dim))
        """,
        "added scaling rows",
    ),
    "a crash for None": (
        "condition",
        """
        if cond.shape != (len(t), self.cond_dim):
            raise ValueError("cond")
        return embedding + self.cond(cond * math.sqrt(self.cond_dim))
        """,
        "none",
    ),
    "clipping without another eps": (
        "ddim_step",
        """
        a, b = self._alpha_bars[t], self._alpha_bars[t_prev] if t_prev >= 0 else 1.0
        sigma = eta * math.sqrt((1 - b) / (1 - a) * (1 - a / b))
        mean = math.sqrt(b) * x0_pred + math.sqrt(max(0.0, 1 - b - sigma**2)) * eps_pred
        return mean + sigma * randn_like(x_t, generator)
        """,
        "clipping whole_runs",
    ),
}


@pytest.mark.parametrize("title", ONCE_ACCEPTED)
def test_broken_work_loses_points_but_not_all(title, tree):
    name, code, fails = ONCE_ACCEPTED[title]
    verdicts = tree.grade(name, code)
    assert {part for part, verdict in verdicts.items() if not verdict.passed} == set(fails.split())
    points = catalogue.points(list(ASSIGNMENT))
    possible = sum(points[name, part] for part in verdicts)
    earned = sum(points[name, part] for part, verdict in verdicts.items() if verdict.passed)
    assert 0 < earned < possible


# Lines that solve nothing, and the parts of which each happens to do what is asked.
LINES = {
    "ddim_step": {
        "return x_t": "",
        "return torch.zeros_like(x_t)": "",
        "return torch.randn_like(x_t)": "",
        "return eps_pred": "",
        "return x_t - eps_pred": "",
        "return x0_pred": "last_step",
        "return randn_like(x_t, generator)": "noise",
    },
    "condition": {
        "return embedding": "",
        "return embedding * 2": "",
        "return torch.ones_like(embedding)": "",
        "return self.cond(torch.zeros(len(t), self.cond_dim))": "none",
    },
}


@pytest.mark.parametrize(("name", "line"), [(name, line) for name, lines in LINES.items() for line in lines])
def test_line_that_solves_nothing_earns_nothing(name, line, tree):
    passed = {part for part, verdict in tree.grade(name, line).items() if verdict.passed}
    assert passed == set(LINES[name][line].split())


def test_unwritten_exercise_earns_nothing(tree):
    for name in EXERCISES:
        verdicts = tree.grade(name, 'raise NotImplementedError("to be written")')
        assert {verdict.state for verdict in verdicts.values()} == {"not written"}, name
        assert not run.score({(name, part): verdict for part, verdict in verdicts.items()})


def test_solution_earns_everything():
    assert run.score(run.grade(ROOT, list(EXERCISES))) == catalogue.POINTS
