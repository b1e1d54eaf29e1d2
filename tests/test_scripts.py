"""The five scripts as a user runs them: what they write, what they say, and how they end."""

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import train_diffusion
import train_vae
from HW3 import data, synthetic
from HW3.diffusion import DiffusionConfig
from HW3.Unet import UNet
from HW3.vae import ConvVAE
from tests.conftest import CHECKPOINTS, STAGES, train

ROOT = Path(__file__).parents[1]
EPOCHS = ("001", "002")
FILES = {
    "vae": {f"{kind}_epoch_{e}.png" for kind in ("samples", "recon") for e in EPOCHS}
    | {"convae_latest.pt", "convae_best.pt"},
    "diffusion": {f"samples_{s}_epoch_{e}.png" for s in ("ddpm", "ddim") for e in EPOCHS}
    | {"diffusion_latest.pt"},
    "latent_diffusion": {f"samples_{s}_epoch_{e}.png" for s in ("ddpm", "ddim") for e in EPOCHS}
    | {"latent_diffusion_latest.pt"},
    "clip": {"clip_latest.pt", "clip_best.pt"},
    "tiny_sd": {f"samples_epoch_{e}.png" for e in EPOCHS} | {"tiny_sd_latest.pt"},
}


@pytest.mark.parametrize("stage", STAGES)
def test_leaves_exactly_the_named_files(trained, stage):
    assert {file.name for file in (trained.folder / stage).iterdir()} == FILES[stage] | {"metrics.csv"}


def test_grids_have_the_documented_shape(trained):
    def tiles(path):
        with Image.open(trained.folder / path) as grid:
            return (grid.width - 2) / 34, (grid.height - 2) / 34  # 32 pixels and a border of 2 between

    assert tiles("vae/samples_epoch_001.png") == tiles("diffusion/samples_ddpm_epoch_001.png") == (8, 8)
    assert tiles("vae/recon_epoch_001.png") == (8, 8)
    assert tiles("tiny_sd/samples_epoch_002.png") == (10, 8)


def test_grid_of_reconstructions_has_originals_over_them(trained):
    with Image.open(trained.folder / "vae/recon_epoch_001.png") as picture:
        grid = torch.from_numpy(np.array(picture.convert("L")))
    originals, _ = synthetic.load(False)
    for row, first in ((0, 0), (2, 8)):
        top = 2 + 34 * row
        assert torch.equal(grid[top + 2 : top + 30, 4:32], originals[first])


@pytest.mark.parametrize("stage", STAGES)
def test_metrics_have_a_row_per_epoch(trained, stage):
    rows = list(csv.DictReader((trained.folder / stage / "metrics.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(float(value) >= 0 for row in rows for value in row.values())


@pytest.mark.parametrize("stage", STAGES)
def test_checkpoint_is_plain_and_whole(trained, stage):
    saved = torch.load(trained.checkpoint(stage), weights_only=True)
    assert saved["stage"] == stage and saved["epoch"] == 2
    assert {"model_state", "raw_state", "optimizer_state", "args", "metrics", "model_config"} <= saved.keys()
    assert all(value.isfinite().all() for value in saved["model_state"].values() if value.is_floating_point())


def test_checkpoints_rebuild_their_models(trained):
    vae = torch.load(trained.checkpoint("vae"), weights_only=True)
    ConvVAE(**vae["model_config"]).load_state_dict(vae["model_state"])
    sd = torch.load(trained.checkpoint("tiny_sd"), weights_only=True)
    UNet(**sd["model_config"]).load_state_dict(sd["model_state"])
    assert DiffusionConfig(**sd["diffusion_config"]).timesteps == 6
    torch.testing.assert_close(sd["class_embeddings"].norm(dim=1), torch.ones(10))


def test_draws_from_averaged_weights(trained):
    saved = torch.load(trained.checkpoint("diffusion"), weights_only=True)
    assert not torch.equal(saved["model_state"]["stem.weight"], saved["raw_state"]["stem.weight"])


def test_tiny_sd_runs_in_latent_space(trained, tmp_path):
    flags = [f"--vae-ckpt={trained.checkpoint('vae')}", f"--clip-ckpt={trained.checkpoint('clip')}"]
    assert train("tiny_sd", tmp_path, *flags) == 0
    saved = torch.load(tmp_path / "tiny_sd/tiny_sd_latest.pt", weights_only=True)
    assert saved["model_config"]["latent_dim"] == 100 and saved["vae"]["mean"].abs().sum() > 0
    assert train("tiny_sd", tmp_path, *flags, "--epochs=3", "--resume") == 0


def test_canonicalized_latents_train(trained, tmp_path):
    flags = [f"--vae-ckpt={trained.checkpoint('vae')}", "--canonicalize"]
    assert train("latent_diffusion", tmp_path, *flags) == 0


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist", "kmnist"])
def test_missing_data_is_explained(tmp_path, capsys, monkeypatch, dataset):
    from torchvision.datasets import KMNIST, MNIST, FashionMNIST

    for source in (MNIST, FashionMNIST, KMNIST):
        monkeypatch.setattr(source, "mirrors", ["http://127.0.0.1:9/"])  # nobody answers there
    flags = [f"--dataset={dataset}", f"--data-dir={tmp_path / 'data'}"]
    assert train("diffusion", tmp_path, *flags) == 2
    error = capsys.readouterr().err
    assert (
        str(tmp_path / "data") in error
        and "train-images-idx3-ubyte" in error
        and "--dataset synthetic" in error
    )
    assert "Traceback" not in error


# Wrong use: exit 2, one line that names the flag, before anything is written.
@pytest.mark.parametrize(
    ("stage", "flags", "named"),
    [
        ("vae", ["--epochs=0"], "--epochs"),
        ("vae", ["--kl-weight=nan"], "--kl-weight"),
        ("vae", ["--kl-weight=-1"], "--kl-weight"),
        ("vae", ["--loss-type=l1"], "--loss-type"),
        ("vae", ["--latent-dim=1.5"], "--latent-dim"),
        ("vae", ["--epoch=3"], "--epoch"),  # no abbreviations
        ("clip", ["--val-split=1"], "--val-split"),
        ("clip", ["--lr=0"], "--lr"),
        ("diffusion", ["--ddim-steps=7"], "--ddim-steps"),
        ("diffusion", ["--ddim_eta=1.1"], "--ddim-eta"),
        ("diffusion", ["--base-channels=12"], "--base-channels"),
        ("diffusion", ["--channel-mults=1,x"], "--channel-mults"),
        ("diffusion", ["--beta-start=0.5", "--beta-end=0.1"], "--beta-start"),
        ("diffusion", ["--timesteps=1000", "--beta-start=0.5"], "--beta-start"),
        ("diffusion", ["--timesteps=4000", "--beta-end=0.3"], "--beta-end"),
        ("diffusion", ["--channel-mults=1,1,1,1,1,1,1"], "--channel-mults"),
        ("tiny_sd", ["--cond-drop-prob=0"], "--cond-drop-prob"),
        ("diffusion", ["--batch-size=0"], "--batch-size"),
        ("diffusion", ["--seed=-1"], "--seed"),
        ("latent_diffusion", ["--latent-dim=7"], "--latent-dim 7: "),
        ("latent_diffusion", ["--time-dim=3"], "--time-dim"),
        ("latent_diffusion", ["--vae-ckpt=no/such.pt"], "python train_vae.py"),
        ("tiny_sd", ["--clip-ckpt=no/such.pt"], "python train_clip.py"),
        ("tiny_sd", ["--embed-dim=64"], "--embed-dim 64: "),
        ("tiny_sd", ["--resume"], "--resume"),
    ],
)
def test_wrong_use_is_refused(trained, tmp_path, capsys, stage, flags, named):
    vae, clip = trained.checkpoint("vae"), trained.checkpoint("clip")
    earlier = {"latent_diffusion": [f"--vae-ckpt={vae}"], "tiny_sd": [f"--clip-ckpt={clip}"]}
    assert train(stage, tmp_path, *earlier.get(stage, []), *flags) == 2
    captured = capsys.readouterr()
    assert named in captured.err and captured.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_absent_device_is_an_error(tmp_path, capsys, device):
    present = torch.cuda.is_available() if device == "cuda" else torch.backends.mps.is_available()
    if present:
        pytest.skip(f"{device} is present here")
    assert train("vae", tmp_path, f"--device={device}") == 2
    assert f"--device {device}" in capsys.readouterr().err


def test_checkpoint_of_another_stage_is_refused(trained, tmp_path, capsys):
    assert train("latent_diffusion", tmp_path, f"--vae-ckpt={trained.checkpoint('clip')}") == 2
    assert "train_clip.py" in capsys.readouterr().err


def test_other_data_set_of_an_earlier_stage_is_said(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(data, "load_images", lambda data_dir, dataset, **_: synthetic.load(False))
    flags = [f"--vae-ckpt={trained.checkpoint('vae')}", "--dataset=mnist"]
    assert train("latent_diffusion", tmp_path, *flags) == 0
    assert "trained on synthetic, this run trains on mnist" in capsys.readouterr().out


def test_folder_of_another_stage_is_refused(trained, capsys):
    assert train("clip", trained.folder, f"--out-dir={trained.folder / 'vae'}") == 2
    assert "convae_latest.pt" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("stage", "flags"),
    [
        ("vae", ["--loss-type=bce"]),
        ("vae", ["--batch-size=1"]),
        ("clip", ["--val-split=0"]),
        ("clip", ["--batch-size=1"]),
        ("diffusion", ["--sample-every=2"]),
        ("diffusion", ["--precision=fp32"]),
        ("diffusion", ["--precision=bf16"]),
    ],
)
def test_other_flags_train(tmp_path, stage, flags):
    assert train(stage, tmp_path, *flags) == 0
    assert (tmp_path / stage / CHECKPOINTS[stage]).exists()


def test_best_is_the_epoch_with_the_least_loss(tmp_path, monkeypatch):
    losses = iter([3.0, 1.0, 2.0])
    monkeypatch.setattr(train_vae, "evaluate", lambda *_: {"val_loss": next(losses)})
    assert train("vae", tmp_path, "--epochs=3") == 0
    best, latest = (
        torch.load(tmp_path / f"vae/convae_{k}.pt", weights_only=True) for k in ("best", "latest")
    )
    assert (best["epoch"], latest["epoch"]) == (2, 3)


def test_running_again_moves_the_earlier_run_aside(tmp_path, capsys):
    assert train("vae", tmp_path, "--epochs=1") == 0
    first = (tmp_path / "vae/convae_latest.pt").read_bytes()
    (tmp_path / "vae/notes.txt").write_text("mine")
    assert train("vae", tmp_path, "--epochs=1", "--kl-weight=2") == 0
    assert "aside" in capsys.readouterr().out
    assert (tmp_path / "vae.1/convae_latest.pt").read_bytes() == first
    assert (tmp_path / "vae/notes.txt").exists() and not (tmp_path / "vae.1/notes.txt").exists()


@pytest.mark.parametrize("stage", STAGES)
def test_resumed_run_equals_an_uninterrupted_one(trained, tmp_path, stage):
    for earlier in ("vae", "clip"):
        if earlier != stage:
            (tmp_path / earlier).symlink_to(trained.folder / earlier)
    assert train(stage, tmp_path, "--epochs=1") == 0
    assert train(stage, tmp_path, "--resume") == 0
    for file in sorted((tmp_path / stage).glob("*.png")):
        assert file.read_bytes() == (trained.folder / stage / file.name).read_bytes(), file.name
    straight, resumed = (
        torch.load(folder / stage / CHECKPOINTS[stage], weights_only=True)
        for folder in (trained.folder, tmp_path)
    )
    for state in ("model_state", "raw_state"):
        for name, value in straight[state].items():
            assert torch.equal(value, resumed[state][name]), f"{state}: {name}"
    for name in ("exp_avg", "exp_avg_sq", "step"):
        for index, moments in straight["optimizer_state"]["state"].items():
            assert torch.equal(moments[name], resumed["optimizer_state"]["state"][index][name])
    drop_time = [{k: v for k, v in row.items() if k != "seconds"} for row in straight["metrics"]]
    assert drop_time == [{k: v for k, v in row.items() if k != "seconds"} for row in resumed["metrics"]]


def test_resuming_with_another_flag_is_refused_by_name(trained, capsys):
    assert train("vae", trained.folder, "--resume", "--epochs=3", "--lr=1e-3") == 2
    assert "--lr 0.001 (was 0.0002)" in capsys.readouterr().err


def test_nothing_left_to_do_is_success(trained, capsys):
    assert train("vae", trained.folder, "--resume") == 0
    assert "Nothing left to do" in capsys.readouterr().out


def test_divergence_stops_the_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train_diffusion, "to_signed", lambda x: x * float("inf"))
    assert train("diffusion", tmp_path) == 1
    assert re.search(r"epoch 1, step 1: loss (nan|inf)", capsys.readouterr().err)
    assert not (tmp_path / "diffusion/diffusion_latest.pt").exists()


@pytest.mark.parametrize("variant", ["--num-workers=2", "--no-save-recon"])
def test_weights_do_not_depend_on_workers_or_pictures(trained, tmp_path, variant):
    assert train("vae", tmp_path, variant) == 0
    ours, theirs = (
        torch.load(p, weights_only=True)["raw_state"]
        for p in (tmp_path / "vae/convae_latest.pt", trained.checkpoint("vae"))
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_commands_of_the_readme_are_understood():
    """Every `python train_*.py` of the README parses; so its flags exist."""
    text = (ROOT / "README.md").read_text().replace("\\\n", " ")
    commands = re.findall(r"^\s*(?:python|\.venv/bin/python) (train_\w+)\.py(.*)$", text, flags=re.MULTILINE)
    assert {name for name, _ in commands} == {f"train_{stage}" for stage in STAGES}
    for name, flags in commands:
        __import__(name).parse_args(shlex.split(flags, comments=True))


def test_both_spellings_give_the_same():
    flags = {"batch-size": "64", "out-dir": "x", "ddim-steps": "20", "limit-batches": "3"}
    hyphens = train_diffusion.parse_args([f"--{name}={value}" for name, value in flags.items()])
    underscores = train_diffusion.parse_args(
        [f"--{name.replace('-', '_')}={value}" for name, value in flags.items()]
    )
    assert hyphens == underscores and hyphens.ddim_steps == 20


def test_script_runs_from_another_folder_without_a_warning(tmp_path):
    command = [
        sys.executable,
        "-W",
        "error",
        ROOT / "train_vae.py",
        "--dataset=synthetic",
        "--limit-batches=1",
    ]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*command, "--epochs=1"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "result/vae/convae_latest.pt").exists()
