"""A run says how its figure compares with README.md's, and README.md shows the same figures."""

import re
from argparse import Namespace
from pathlib import Path

import pytest

from HW3.expected import FIGURES, SHARED_FLAGS, compare

README = (Path(__file__).parents[1] / "README.md").read_text()
NAMES = {"vae": "VAE", "latent_diffusion": "latent diffusion", "clip": "CLIP", "tiny_sd": "tiny SD"}


def compared(stage: str, epoch: int, factor: float, **flags) -> str:
    figure = FIGURES[stage]
    value = figure.reached[epoch] * factor if epoch in figure.reached else factor
    args = Namespace(**(SHARED_FLAGS | figure.flags | flags))
    return compare(stage, [{"epoch": epoch, figure.name: value}], args)


@pytest.mark.parametrize("stage", FIGURES)
def test_verdicts(stage):
    less, more = ("worse", "better") if stage == "clip" else ("better", "worse")
    for factor, verdict in ((1, "as expected"), (0.9, less), (1.1, more)):
        assert compared(stage, 5, factor).endswith(f": {verdict}")
    assert "after epoch 3" in compared(stage, 3, 0.5) and not compared(stage, 3, 0.5).endswith("better")


def test_other_flags_are_not_compared():
    line = compared("vae", 5, 1, kl_weight=2.0, dataset="kmnist", limit_batches=3)
    assert line.endswith("--dataset mnist, no --limit-batches, --kl-weight 0.5")


@pytest.mark.parametrize("stage", FIGURES)
def test_readme_shows_the_same_figures(stage):
    section = README[README.index("## What to expect") : README.index("## Speed")]
    row = re.search(rf"^\| {NAMES.get(stage, stage)} .*$", section, re.MULTILINE)[0]
    for value in FIGURES[stage].reached.values():
        shown = f"{value:.2%}".replace("%", " %") if stage == "clip" else f"{value:g}"
        assert re.search(rf"(?<![\d.]){re.escape(shown)}", row), f"{shown} is not in {row}"
