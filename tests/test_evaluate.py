"""The metrics of `python -m HW3.evaluate`: right on cases with a known answer, and drawn from every stage."""

import pytest
import torch

from HW3 import evaluate
from HW3.support import checkpoint, synthetic
from HW3.support.restore import DRAWING_STAGES, restore_vae


def test_frechet_distance_of_known_gaussians():
    """For covariances that commute the distance is |mean difference|^2 + sum (std_a - std_b)^2."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(200_000, 3, generator=generator) for _ in range(2))
    scale, shift = torch.tensor([1.0, 2.0, 0.5]), torch.tensor([0.0, 3.0, -1.0])
    expected = shift.square().sum() + (scale - 1).square().sum()
    assert evaluate.frechet_distance(a, b * scale + shift) == pytest.approx(expected.item(), rel=0.01)
    assert evaluate.frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator)).Q
    turned = evaluate.frechet_distance(a @ turn, (b * scale + shift) @ turn)
    assert turned == pytest.approx(expected.item(), rel=0.01)


def test_precision_falls_with_strangers_and_recall_with_gaps():
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(300, 2, generator=generator) + shift for shift in (-10.0, 10.0))
    real = torch.cat([left, right])
    also_left = torch.randn(300, 2, generator=generator) - 10
    precision, recall = evaluate.precision_recall(real, also_left)
    assert precision > 0.9 and 0.4 < recall < 0.52
    precision, recall = evaluate.precision_recall(left, torch.cat([also_left, right]))
    assert 0.4 < precision < 0.52 and recall > 0.9


def test_distance_to_the_nearest():
    images = torch.zeros(2, 1, 4, 4)
    others = torch.stack([torch.full((1, 4, 4), value) for value in (0.5, 1.0)])
    assert evaluate.nearest_distance(images, others) == pytest.approx(2.0)  # sqrt(16 * 0.25)


def test_accuracy_has_its_bootstrap_error(capsys):
    wanted = torch.arange(1000) % 10
    evaluate.report_accuracy(wanted, torch.where(torch.arange(1000) < 100, 10, wanted), seed=0)
    printed = capsys.readouterr().out
    assert "90.00% +- 0.9" in printed and "0: 90.0%" in printed  # sqrt(0.9 * 0.1 / 1000) = 0.0095


def test_images_are_encoded_and_decoded(trained):
    vae = restore_vae(checkpoint.load(trained.checkpoint("vae"), "vae"))
    images, _ = synthetic.generate(3, seed=0)
    x = torch.nn.functional.pad(images[:, None] / 255, (2, 2, 2, 2))
    torch.testing.assert_close(evaluate.reconstruct(vae, x), vae.decode(vae.encode(x)[0]).detach())


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("stage", DRAWING_STAGES)
def test_every_stage_is_drawn_and_judged(trained, cache, capsys, monkeypatch, stage):
    monkeypatch.setattr(evaluate, "CLASSIFIER_EPOCHS", 1)
    flags = ["--n=100", f"--cache-dir={cache}"] + ["--steps=3"] * (stage != "vae")
    assert evaluate.main([str(trained.checkpoint(stage)), *flags]) == 0
    printed = capsys.readouterr().out
    assert "100 digits" in printed and "Frechet distance" in printed
    assert ("as requested" in printed) == (stage == "tiny_sd")
    assert ("decoded" in printed) == (stage in ("vae", "latent_diffusion"))


def test_more_steps_than_there_are_is_refused(trained, capsys):
    assert evaluate.main([str(trained.checkpoint("diffusion")), "--steps=7"]) == 2
    assert "--steps 7" in capsys.readouterr().err


def test_a_stage_that_draws_nothing_is_refused(trained, capsys):
    assert evaluate.main([str(trained.checkpoint("clip"))]) == 2
    assert "is a checkpoint of the stage clip" in capsys.readouterr().err
