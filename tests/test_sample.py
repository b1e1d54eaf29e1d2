"""`python -m HW3.sample`: prompts, pictures of every stage, the way from noise to digits, and wrong uses."""

import numpy as np
import pytest
import torch
from PIL import Image

from HW3 import sample
from HW3.clip import prompt_to_labels
from HW3.support import boards, checkpoint
from HW3.support.data_files import class_names
from HW3.support.restore import DRAWING_STAGES, Sampling, count_steps, restore


def run(*flags: object) -> int:
    """Call the command in this process; return its exit code."""
    try:
        return sample.main([str(flag) for flag in flags])
    except SystemExit as stop:  # argparse's way out
        return stop.code


def pixels(path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(picture.convert("L"))


@pytest.mark.parametrize(
    ("dataset", "prompt", "labels"),
    [
        ("mnist", "31415", [3, 1, 4, 1, 5]),
        ("mnist", "seven three nine", [7, 3, 9]),
        ("mnist", "a photo of the digit four", [4]),
        ("mnist", "Zero, 12 and EIGHT!", [0, 1, 2, 8]),
        ("synthetic", "one-two", [1, 2]),
        ("fashion_mnist", "ankle boot, bag", [9, 8]),
        ("fashion_mnist", "a T-shirt, top; 7", [0, 0, 7]),
        ("kmnist", "tsu wo 10", [3, 9, 1, 0]),
        ("fashion_mnist", "T-shirt/top and t-SHIRT/Tops", [0, 0]),
        ("fashion_mnist", "Ankle boots, dresses, trousers", [9, 3, 1]),
        ("mnist", "draw me a 7, please", [7]),
        ("mnist", "zeros, sixes and 1s", [0, 6, 1]),
        ("fashion_mnist", "bag, shirts", [8, 6]),
        ("mnist", "\uff17 \u0663\u0661", [7, 3, 1]),
    ],
)
def test_prompts_are_understood(dataset, prompt, labels):
    assert prompt_to_labels(prompt, class_names(dataset)) == labels


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ("a photo of a cat", "'cat'"),
        ("seven dogs, two cats", "'dogs', 'cats'"),
        ("3x", "'3x'"),
        ("1.5e3", "'5e3'"),
        ("½", "'½'"),
        ("two zeros", "'two zeros'"),
        ("10 of the sevens", "'0 sevens'"),
        ("", "names no class"),
        ("a photo of the", "names no class"),
    ],
)
def test_prompts_that_are_not_understood(trained, tmp_path, capsys, prompt, named):
    out = tmp_path / "new/x.png"
    assert run(trained.checkpoint("tiny_sd"), f"--prompt={prompt}", f"--out={out}") == 2
    error = capsys.readouterr().err
    assert named in error and "seven" in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("stage", "tiles"), [*((s, (8, 8)) for s in DRAWING_STAGES[:3]), ("tiny_sd", (10, 8))]
)
def test_every_stage_draws_the_same_for_the_same_seed(trained, tmp_path, stage, tiles):
    first, again, other = (tmp_path / f"{name}.png" for name in ("first", "again", "other"))
    for out, seed in ((first, 1), (again, 1), (other, 2)):
        assert run(trained.checkpoint(stage), f"--seed={seed}", f"--out={out}") == 0
    height, width = pixels(first).shape
    assert ((width - 2) / 34, (height - 2) / 34) == tiles
    assert np.array_equal(pixels(first), pixels(again)) and not np.array_equal(pixels(first), pixels(other))


@pytest.mark.parametrize(("timesteps", "steps"), [(6, 6), (50, 50), (1000, 50)])
def test_steps_are_fifty_or_all_there_are(timesteps, steps):
    saved = {"diffusion_config": {"timesteps": timesteps}}
    assert count_steps(saved, Sampling()) == steps
    assert count_steps(saved, Sampling("ddpm", steps=5)) == timesteps


def test_default_place_of_the_picture(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(trained.checkpoint("vae")) == 0
    assert (tmp_path / "result/sample/vae.png").exists()


def test_prompt_decides_what_is_drawn(trained, tmp_path):
    """From the same noise a digit looks the same whatever its neighbours are, and another digit differs."""
    drawn = {}
    for prompt in ("33", "34", "44"):
        out = tmp_path / f"{prompt}.png"
        assert run(trained.checkpoint("tiny_sd"), f"--prompt={prompt}", f"--out={out}") == 0
        drawn[prompt] = np.hsplit(pixels(out)[2:34, 2:], 2)
    assert np.allclose(drawn["33"][0], drawn["34"][0], atol=1) and np.allclose(
        drawn["34"][1], drawn["44"][1], atol=1
    )
    assert not np.allclose(drawn["33"][1], drawn["34"][1], atol=1)


def test_prompt_is_repeated_up_to_n(trained):
    saved = checkpoint.load(trained.checkpoint("tiny_sd"), "tiny_sd")
    labels, columns = sample.choose_labels(saved, "271", 7)
    assert (labels.tolist(), columns) == ([2, 7, 1, 2, 7, 1, 2], 3)
    assert sample.choose_labels(saved, "271", 2)[0].tolist() == [2, 7]


@pytest.mark.parametrize("stage", DRAWING_STAGES[1:])
@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_watching_changes_nothing_and_sees_every_step(trained, stage, sampler):
    saved = checkpoint.load(trained.checkpoint(stage), stage)
    draw = restore(saved, Sampling(sampler, steps=4), torch.device("cpu"))
    labels, seen = torch.arange(3), []
    alone = draw(labels, torch.Generator().manual_seed(0))
    watched = draw(labels, torch.Generator().manual_seed(0), lambda t, show: seen.append((t, *show())))
    assert torch.equal(alone, watched)
    assert torch.equal(alone, draw(labels, torch.Generator().manual_seed(0)))
    assert [t for t, _, _ in seen] == ([5, 4, 3, 2, 1, 0] if sampler == "ddpm" else [5, 3, 2, 0])
    for _, x_t, x0_pred in seen:
        assert x_t.shape == x0_pred.shape == alone.shape
    torch.testing.assert_close(seen[-1][2], alone)  # the last step lands on the prediction of x0


def test_animation_and_strip_end_in_the_picture(trained, tmp_path):
    out = tmp_path / "x.png"
    assert run(trained.checkpoint("diffusion"), "--n=3", "--gif", "--strip", f"--out={out}") == 0
    with Image.open(tmp_path / "x.gif") as animation:
        assert animation.n_frames == 7  # x_t of six steps, and the digits
        first = np.array(animation.convert("L"))
        animation.seek(6)
        last = np.array(animation.convert("L"))
    enlarged = np.kron(pixels(out)[2:34, 2:34], np.ones((2, 2)))
    assert np.abs(last[4:68, 4:68] - enlarged).max() <= 2
    assert not np.array_equal(first, last)
    strip = pixels(tmp_path / "x_strip.png")
    assert np.abs(strip[20:84, -68:-4] - enlarged).max() <= 1  # the last column, "drawn"


def test_animation_keeps_every_grey(tmp_path):
    generator = torch.Generator().manual_seed(0)
    stages = [(spread * torch.randn(8, 1, 32, 32, generator=generator)).clamp(0, 1) for spread in (1, 3, 10)]
    frames = [boards.board(stage, 8).convert("L") for stage in stages]
    boards.save_animation(frames, tmp_path / "x.gif")
    with Image.open(tmp_path / "x.gif") as animation:
        for i, frame in enumerate(frames):
            animation.seek(i)
            assert np.array_equal(np.array(animation.convert("L")), np.array(frame))


def test_long_walks_are_thinned_out():
    trace = sample.Trace(1000)
    for t in reversed(range(1000)):
        trace(t, lambda: (torch.zeros(1), torch.zeros(1)))
    steps = [t for t, _, _ in trace.frames]
    assert len(steps) == sample.NUM_FRAMES and (steps[0], steps[-1]) == (999, 0)


def test_board_of_clip_says_what_it_predicts(trained, tmp_path, capsys):
    out = tmp_path / "board.png"
    assert run(trained.checkpoint("clip"), f"--out={out}") == 0
    printed = capsys.readouterr().out
    assert str(out) in printed and "of 2,000 test images are correct" in printed
    with Image.open(out) as picture:
        colours = picture.convert("RGB").getcolors(2**24)
    assert any(colour == (192, 0, 0) for _, colour in colours), "two steps of training make mistakes: red"


@pytest.mark.parametrize(
    ("stage", "flags", "named"),
    [
        ("vae", ["--prompt=3"], "--prompt"),
        ("diffusion", ["--prompt=3"], "--prompt"),
        ("vae", ["--gif"], "--gif"),
        ("clip", ["--strip"], "--strip"),
        ("diffusion", ["--steps=7"], "--steps 7"),
        ("diffusion", ["--steps=0"], "--steps"),
        ("diffusion", ["--n=0"], "--n"),
        ("diffusion", ["--eta=2"], "--eta"),
        ("tiny_sd", ["--guidance_scale=-1"], "--guidance-scale"),
        ("vae", ["--sampler=euler"], "--sampler"),
        ("vae", ["--sampler=ddpm"], "--sampler means nothing to vae"),
        ("clip", ["--steps=3"], "--steps means nothing to clip"),
        ("diffusion", ["--sampler=ddpm", "--eta=0"], "--eta means nothing to DDPM"),
        ("latent_diffusion", ["--guidance_scale=3"], "--guidance-scale means nothing to latent_diffusion"),
        ("vae", ["--seed=-1"], "--seed"),
        ("vae", ["--out=x.jpg"], "--out"),
        ("vae", [f"--out={'x' * 300}.png"], "can't be written"),
        ("vae", ["--out=/dev/null/x.png"], "can't be written"),
        ("tiny_sd", [f"--prompt={'7' * 1001}"], "at most 1000 digits, got 1001"),
    ],
)
def test_wrong_use_is_refused(trained, tmp_path, capsys, monkeypatch, stage, flags, named):
    monkeypatch.chdir(tmp_path)
    assert run(trained.checkpoint(stage), *flags) == 2
    captured = capsys.readouterr()
    assert named in captured.err and captured.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_missing_checkpoint_is_explained(tmp_path, capsys):
    assert run(tmp_path / "none.pt") == 2
    assert "none.pt does not exist" in capsys.readouterr().err


def test_weights_of_another_version_are_explained(trained, tmp_path, capsys):
    saved = torch.load(trained.checkpoint("latent_diffusion"), weights_only=True)
    del saved["model_state"]["head.bias"]
    torch.save(saved, tmp_path / "old.pt")
    assert run(tmp_path / "old.pt") == 2
    assert "do not fit EpsMLP" in capsys.readouterr().err


def test_folder_of_a_run_stands_for_its_latest_checkpoint(trained, tmp_path):
    assert run(trained.folder / "vae", f"--out={tmp_path / 'x.png'}") == 0
