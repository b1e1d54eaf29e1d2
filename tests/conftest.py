"""What the tests of the scripts share: tiny runs of all five stages on the synthetic digits."""

import importlib
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

# Before torch is loaded, here and in the processes that tests start: on models as tiny as the tests', two
# threads mostly wait for one another, and where other work takes the cores, for minutes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from HW3.support.stages import STAGES  # noqa: E402

pytest_plugins = ["tests.grading.plugin"]  # loaded here, so that its options are always known

ROOT = Path(__file__).parents[1]
EMPTY = {"stage": "vae", "epoch": 1, "model_config": {}, "model_state": {}, "args": {}}  # a checkpoint
TINY = {
    "vae": [],
    "diffusion": ["--timesteps=6", "--ddim-steps=3", "--base-channels=8", "--channel-mults=1,2"],
    "latent_diffusion": ["--timesteps=6", "--ddim-steps=3", "--hidden-dim=32"],
    "clip": [],
    "tiny_sd": ["--timesteps=6", "--ddim-steps=3", "--base-channels=8", "--channel-mults=1,2"],
}


def flags(stage: str, folder: Path) -> list[str]:
    """Return the flags that run a stage tiny, in folder/STAGE, on the earlier stages in folder."""
    this = STAGES[stage]
    earlier = [f"{this.needs_flag}={folder / this.needs / STAGES[this.needs].latest}"] if this.needs else []
    common = ["--dataset=synthetic", "--device=cpu", "--limit-batches=2", "--batch-size=16", "--epochs=2"]
    return [*common, f"--out-dir={folder / stage}", *TINY[stage], *earlier]


def train(stage: str, folder: Path, *more: str) -> int:
    """Run a stage's script, tiny, in this process; return its exit code."""
    main = importlib.import_module(f"train_{stage}").main
    try:
        return main([*flags(stage, folder), *more])
    except SystemExit as stop:  # argparse's way out
        return stop.code


def command(stage: str, folder: Path, *more: str) -> list[str]:
    """Return the command that does the same in a process of its own."""
    return [sys.executable, str(ROOT / f"train_{stage}.py"), *flags(stage, folder), *more]


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> SimpleNamespace:
    """All five stages, two tiny epochs each: their `folder`, and `checkpoint(stage)`, the latest's path."""
    folder = tmp_path_factory.mktemp("trained")
    for stage in STAGES:
        assert train(stage, folder) == 0
    return SimpleNamespace(folder=folder, checkpoint=lambda stage: folder / stage / STAGES[stage].latest)
