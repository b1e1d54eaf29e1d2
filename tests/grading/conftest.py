"""Fixtures of the grading suite: the graded modules, imported late, and seeded randomness.

A test asks for a module by name (`def test_...(vae)`). It is imported only then, so that one which does not
import fails its own requirements and no others.
"""

import importlib

import pytest
import torch


def graded_module(name):
    @pytest.fixture(name=name)
    def load():
        return importlib.import_module(f"HW3.{name}")

    return load


data, vae, diffusion, Unet, mlp, clip = map(
    graded_module, ("data", "vae", "diffusion", "Unet", "mlp", "clip")
)


def pytest_generate_tests(metafunc):
    """Grade with each of several seeds."""
    seeds = metafunc.config.getoption("grading_seed") or []
    if len(seeds) > 1:
        metafunc.parametrize("seed", seeds)


@pytest.fixture
def seed(request):
    """The seed of the run, `--grading-seed`."""
    return (request.config.getoption("grading_seed") or [0])[0]


@pytest.fixture(autouse=True)
def seeded(seed):
    """Make a test repeatable: one thread, and the submission's own random numbers from the seed."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)


@pytest.fixture
def rng(seed):
    """A generator for the test's own random numbers, apart from the submission's."""
    return torch.Generator().manual_seed(1000 + seed)
