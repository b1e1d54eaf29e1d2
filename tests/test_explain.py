"""`python -m HW3.explain`: the maths of the walks, every picture, and wrong uses."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from HW3 import evaluate, explain
from HW3.data import all_examples, get_mnist_dataloaders
from HW3.support import checkpoint
from HW3.support.restore import restore_vae


def run(*flags: object) -> int:
    """Call the command in this process; return its exit code."""
    try:
        return explain.main([str(flag) for flag in flags])
    except SystemExit as stop:  # argparse's way out
        return stop.code


def test_slerp_turns_evenly_and_grows_evenly():
    a, b = torch.tensor([2.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 6.0])
    for share in (0.0, 0.25, 0.5, 1.0):
        point = explain.slerp(a, b, share)
        angle, length = share * math.pi / 2, 2 + 4 * share
        expected = length * torch.tensor([math.cos(angle), 0, math.sin(angle)])
        torch.testing.assert_close(point, expected)


def test_slerp_of_vectors_in_one_direction_is_straight():
    a = torch.tensor([1.0, 2.0])
    torch.testing.assert_close(explain.slerp(a, 3 * a, 0.5), 2 * a)
    torch.testing.assert_close(explain.slerp(a, a, 0.3), a)


@pytest.mark.parametrize(
    ("picture", "stages", "size"),
    [
        ("walk", ["vae"], (10, 9)),
        ("traverse", ["vae"], (11, 8)),
        ("steps", ["diffusion"], (12, 2)),  # of the tiny run's 6 timesteps: DDIM 5 and DDPM
        ("steps", ["latent_diffusion"], (12, 2)),
        ("steps", ["tiny_sd"], (12, 2)),
    ],
)
def test_picture_has_a_tile_for_each_step(trained, tmp_path, picture, stages, size):
    out = tmp_path / "new/folder/x.png"
    assert run(picture, *(trained.checkpoint(stage) for stage in stages), f"--out={out}") == 0
    columns, rows = size
    with Image.open(out) as drawn:
        assert drawn.height - 68 * rows in (4, 20) and drawn.width >= 68 * columns


def tiles(path, columns: int) -> np.ndarray:
    """Return the images of a board, (rows, columns, 32, 32) in 0..255, that has a label at each row."""
    with Image.open(path) as drawn:
        board = np.array(drawn.convert("L"))
    top = board.shape[0] % 68 if board.shape[0] % 68 > 4 else 4
    board = board[top:, board.shape[1] - 68 * columns :]
    return board.reshape(-1, 68, columns, 68).swapaxes(1, 2)[:, :, :64:2, :64:2]


def test_walk_goes_from_digit_to_digit(trained, tmp_path):
    assert run("walk", trained.checkpoint("vae"), f"--out={tmp_path / 'x.png'}") == 0
    walk = tiles(tmp_path / "x.png", 10)
    vae = restore_vae(checkpoint.load(trained.checkpoint("vae"), "vae"))
    _, _, loader = get_mnist_dataloaders("", dataset="synthetic")
    images, labels = all_examples(loader)
    for label in (0, 5):
        recon = vae.decode(vae.encode(images[labels == label][:1])[0])
        assert np.allclose(walk[label, 0], 255 * recon[0, 0].detach().numpy(), atol=1)
    assert np.allclose(walk[0, -1], walk[1, 0], atol=1) and not np.array_equal(walk[0, 0], walk[0, 5])


def test_traverse_changes_the_image_along_each_row(trained, tmp_path):
    assert run("traverse", trained.checkpoint("vae"), f"--out={tmp_path / 'x.png'}") == 0
    rows = tiles(tmp_path / "x.png", 11)
    assert rows.shape[:2] == (8, 11) and all(not np.array_equal(row[0], row[-1]) for row in rows)


def test_samplers_start_from_one_noise_and_end_apart(trained, tmp_path):
    assert run("steps", trained.checkpoint("diffusion"), f"--out={tmp_path / 'x.png'}") == 0
    ddim, ddpm = tiles(tmp_path / "x.png", 12)
    assert not np.array_equal(ddim, ddpm)


def test_kl_puts_runs_beside_one_another(trained, tmp_path, capsys):
    out = tmp_path / "x.png"
    assert run("kl", trained.folder / "vae", trained.checkpoint("vae"), f"--out={out}") == 0
    with Image.open(out) as drawn:
        assert drawn.width >= 3 * 6 * 68
        two_boards = drawn.height
    latent_diffusion = trained.checkpoint("latent_diffusion")
    assert run("kl", trained.checkpoint("vae"), latent_diffusion, f"--out={out}") == 0
    with Image.open(out) as drawn:
        assert drawn.height - two_boards >= 5 * 68 and drawn.width < 3 * 6 * 68
    assert run("kl", latent_diffusion, latent_diffusion, f"--out={out}") == 2
    assert "is in the space of none of these VAEs" in capsys.readouterr().err


def test_guidance_counts_right_digits(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(evaluate, "CLASSIFIER_EPOCHS", 1)
    monkeypatch.setattr(explain, "GUIDANCE_SCALES", (0.0, 2.0))
    out = tmp_path / "x.png"
    flags = ["--n=20", f"--cache-dir={tmp_path}", f"--out={out}"]
    assert run("guidance", trained.checkpoint("tiny_sd"), *flags) == 0
    assert capsys.readouterr().out.count("of 20 digits are the requested ones") == 2
    assert out.exists()


@pytest.mark.parametrize(
    ("picture", "stages", "flags", "named"),
    [
        ("dance", ["vae"], [], "picture"),
        ("walk", ["vae", "vae"], [], "walk takes one checkpoint, got 2"),
        ("kl", ["vae"], [], "kl takes two or more checkpoints, got 1"),
        ("walk", ["diffusion"], [], "stage diffusion; make one with: python train_vae.py"),
        ("guidance", ["diffusion"], [], "stage diffusion; make one with: python train_tiny_sd.py"),
        ("walk", ["vae"], ["--out=x"], "--out"),
        ("walk", ["vae"], ["--n=50"], "--n: means nothing to walk"),
        ("guidance", ["tiny_sd"], ["--n=5"], "--n"),
    ],
)
def test_wrong_use_is_refused(trained, tmp_path, capsys, monkeypatch, picture, stages, flags, named):
    monkeypatch.chdir(tmp_path)
    assert run(picture, *(trained.checkpoint(stage) for stage in stages), *flags) == 2
    captured = capsys.readouterr()
    assert named in captured.err and captured.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
