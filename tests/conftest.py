"""What the tests of the scripts share: tiny runs of all five stages on the synthetic digits."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest_plugins = ["tests.grading.plugin"]  # loaded here, so that its options are always known

STAGES = ("vae", "diffusion", "latent_diffusion", "clip", "tiny_sd")
CHECKPOINTS = {stage: f"{stage}_latest.pt" for stage in STAGES} | {"vae": "convae_latest.pt"}
TINY = {
    "vae": [],
    "diffusion": ["--timesteps=6", "--ddim-steps=3", "--base-channels=8", "--channel-mults=1,2"],
    "latent_diffusion": ["--timesteps=6", "--ddim-steps=3", "--hidden-dim=32"],
    "clip": [],
    "tiny_sd": ["--timesteps=6", "--ddim-steps=3", "--base-channels=8", "--channel-mults=1,2"],
}


def train(stage: str, folder: Path, *flags: str) -> int:
    """Run a stage's script, tiny, in folder/STAGE, on the earlier stages in folder; return its exit code."""
    earlier = {
        "latent_diffusion": [f"--vae-ckpt={folder}/vae/convae_latest.pt"],
        "tiny_sd": [f"--clip-ckpt={folder}/clip/clip_latest.pt"],
    }
    common = [
        "--dataset=synthetic",
        "--limit-batches=2",
        "--batch-size=16",
        "--epochs=2",
        f"--out-dir={folder / stage}",
    ]
    main = importlib.import_module(f"train_{stage}").main
    try:
        return main([*common, *TINY[stage], *earlier.get(stage, []), *flags])
    except SystemExit as stop:  # argparse's way out
        return stop.code


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> SimpleNamespace:
    """All five stages, two tiny epochs each: their `folder`, and `checkpoint(stage)`, the latest's path."""
    folder = tmp_path_factory.mktemp("trained")
    for stage in STAGES:
        assert train(stage, folder) == 0
    return SimpleNamespace(folder=folder, checkpoint=lambda stage: folder / stage / CHECKPOINTS[stage])
