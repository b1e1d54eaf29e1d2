"""A run compares its metric with the reference run, and README.md shows the same values."""

import importlib
import re
from pathlib import Path

import pytest

from HW3.support.reference import REFERENCES, VAE_FLAGS, compare
from HW3.support.stages import STAGES

README = " ".join((Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8").split())


def compared(stage: str, epoch: int, factor: float, *flags: str, kl_weight: float = 0.5) -> str:
    """Return what a run says whose figure is a multiple of the expected one, or of 1 where none is known."""
    parse_args = importlib.import_module(f"train_{stage}").parse_args
    usual = ["--kl-weight=0.5"] if stage == "vae" else []
    reference = REFERENCES[stage]
    earlier = {**VAE_FLAGS, "embed_dim": 128, "kl_weight": kl_weight, "seed": 1}
    metrics = [{"epoch": epoch, reference.name: reference.reached.get(epoch, 1) * factor}]
    return compare(stage, metrics, parse_args([*usual, *flags]), parse_args(usual), earlier)


@pytest.mark.parametrize("stage", REFERENCES)
def test_verdicts(stage):
    less, more = ("worse", "better") if stage == "clip" else ("better", "worse")
    for factor, verdict in ((1, "as expected"), (0.9, less), (1.1, more)):
        assert compared(stage, 1, factor).endswith(f": {verdict}")
    assert "after epoch 2; the reference run had" in compared(stage, 2, 0.5)
    assert not compared(stage, 2, 0.5).endswith("better")


@pytest.mark.parametrize(
    ("stage", "flags", "named"),
    [
        ("vae", ["--kl-weight=2", "--dataset=kmnist"], "--dataset mnist, --kl-weight 0.5"),
        ("vae", ["--limit-batches=3"], "no --limit-batches"),
        ("diffusion", ["--beta-end=0.001"], "no --beta-end"),
        ("diffusion", ["--lr=1e-6"], "--lr 0.0001"),
        ("diffusion", ["--base-channels=8"], "--base-channels 16"),
        ("tiny_sd", ["--vae_ckpt=x.pt"], "no --vae-ckpt"),
    ],
)
def test_other_flags_are_not_compared(stage, flags, named):
    assert compared(stage, 5, 1, *flags) == f"Not comparable with the reference run, which had {named}"


def test_flags_that_do_not_matter_do_not_hinder():
    flags = ["--seed=1", "--precision=fp32", "--out-dir=x", "--num-workers=2", "--vae_ckpt=elsewhere.pt"]
    assert compared("latent_diffusion", 5, 1, *flags).endswith("as expected")


def test_width_that_is_read_from_the_earlier_stage_may_be_given():
    assert compared("latent_diffusion", 5, 1, "--latent-dim=100").endswith("as expected")
    assert compared("tiny_sd", 5, 1, "--embed-dim=128").endswith("as expected")


def test_losses_in_another_latent_space_are_not_compared():
    expected = "Not comparable with the reference run, whose earlier stage had --kl-weight 0.5"
    assert compared("latent_diffusion", 5, 1, kl_weight=2.0) == expected


@pytest.mark.parametrize("stage", STAGES.values(), ids=lambda stage: stage.name)
def test_readme_shows_the_same_values(stage):
    section = README.split(f"## Stage {stage.number}: ")[1].split(" ## ")[0]
    reached = REFERENCES[stage.name].reached
    *epochs, last = reached
    line = section.split(f"after {', '.join(map(str, epochs))} and {last} epochs:")[1][:150]
    numbers = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", line)]
    expected = [round(100 * value, 2) if stage.name == "clip" else value for value in reached.values()]
    assert [number for number in numbers if number in expected] == expected, line


def test_every_stage_has_its_values():
    assert set(REFERENCES) == set(STAGES)
