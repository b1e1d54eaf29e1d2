"""The five scripts as a user runs them: what they write, what they say, and how they end."""

import csv
import importlib
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
from HW3 import data
from HW3.diffusion import DiffusionConfig
from HW3.support import synthetic
from HW3.Unet import UNet
from HW3.vae import ConvVAE
from tests import demo
from tests.conftest import STAGES, train

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
    assert {file.name for file in (trained.folder / stage).iterdir()} == FILES[stage] | {
        "metrics.csv",
        "flags.json",
        ".lock",
    }


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
    originals, _ = synthetic.load(train=False)
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


def test_tiny_sd_runs_in_latent_space(trained, tmp_path, capsys):
    flags = [f"--vae-ckpt={trained.checkpoint('vae')}", f"--clip-ckpt={trained.checkpoint('clip')}"]
    flags += ["--base-channels=16", "--channel-mults=1,2,3,4"]  # the defaults: there is no UNet
    assert train("tiny_sd", tmp_path, *flags) == 0
    saved = torch.load(tmp_path / "tiny_sd/tiny_sd_latest.pt", weights_only=True)
    assert saved["model_config"]["latent_dim"] == 100 and saved["vae"]["mean"].abs().sum() > 0
    capsys.readouterr()
    assert train("tiny_sd", tmp_path, *flags[1:], "--epochs=3", "--resume") == 0  # needs no VAE any more
    assert "no --vae-ckpt" in capsys.readouterr().out  # README.md's run drew pixels


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
        ("vae", ["--epoch=3"], "--epoch"),  # no abbreviations
        ("diffusion", ["--beta-start=0.5", "--beta-end=0.1"], "--beta-start"),
        ("diffusion", ["--timesteps=1000", "--beta-start=0.5"], "--beta-start"),
        ("diffusion", ["--timesteps=4000", "--beta-end=0.3"], "--beta-end"),
        ("tiny_sd", ["--cond-drop-prob=0"], "--cond-drop-prob"),
        ("latent_diffusion", ["--latent-dim=7"], "--latent-dim 7: "),
        ("latent_diffusion", ["--vae-ckpt=no/such.pt"], "python train_vae.py"),
        ("tiny_sd", ["--clip-ckpt=no/such.pt"], "python train_clip.py"),
        ("tiny_sd", ["--embed-dim=64"], "--embed-dim 64: "),
        ("tiny_sd", ["--vae-ckpt=x.pt"], "--vae-ckpt: there is no UNet then"),
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
    assert "stage clip; make one with: python train_vae.py" in capsys.readouterr().err


def test_other_data_set_of_an_earlier_stage_is_said(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(data, "load_images", lambda data_dir, dataset, **_: synthetic.load(train=False))
    flags = [f"--vae-ckpt={trained.checkpoint('vae')}", "--dataset=mnist"]
    assert train("latent_diffusion", tmp_path, *flags) == 0
    assert "trained on synthetic, this run trains on mnist" in capsys.readouterr().out


def test_folder_of_another_stage_is_refused(trained, capsys):
    assert train("clip", trained.folder, f"--out-dir={trained.folder / 'vae'}") == 2
    assert "convae_latest.pt" in capsys.readouterr().err


def test_best_is_the_epoch_with_the_least_loss(tmp_path, monkeypatch):
    losses = iter([3.0, 1.0, 2.0])
    monkeypatch.setattr(train_vae, "evaluate", lambda *_: {"val_loss": next(losses)})
    assert train("vae", tmp_path, "--epochs=3") == 0
    best, latest = (
        torch.load(tmp_path / f"vae/convae_{k}.pt", weights_only=True) for k in ("best", "latest")
    )
    assert (best["epoch"], latest["epoch"]) == (2, 3)


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
    assert (tmp_path / stage / STAGES[stage].latest).exists()


def test_commands_of_the_readmes_are_understood():
    """Every command of the READMEs parses, in code blocks and in running text; so its flags exist."""
    readmes = (ROOT / name for name in ("README.md", "HW3/README.md", "tests/benchmarks/README.md"))
    text = "\n".join(readme.read_text(encoding="utf-8").replace("\\\n", " ") for readme in readmes)
    text = re.sub(
        r"(?<!`)`([^`]+)`(?!`)", lambda code: code[0].replace("\n", " "), text
    )  # running text is wrapped
    scripts = re.findall(r"python (train_\w+)\.py([^`\n]*)", text)
    commands = re.findall(r"python -m ((?:HW3|tests\.benchmarks)\.\w+)([^`\n]*)", text)
    assert {name for name, _ in scripts} == {f"train_{stage}" for stage in STAGES}
    assert {name for name, _ in commands} > {f"HW3.{name}" for name in ("sample", "explain", "evaluate")}
    for name, flags in scripts + commands:
        argv = shlex.split(flags, comments=True)
        if argv or name not in ("HW3.sample", "HW3.explain", "HW3.evaluate"):  # without flags only a name
            importlib.import_module(name).parse_args(argv)


def test_flags_of_the_demo_are_understood():
    assert list(demo.FLAGS) == list(STAGES)
    for stage, flags in demo.FLAGS.items():
        importlib.import_module(f"train_{stage}").parse_args(flags)


def test_both_spellings_give_the_same():
    flags = {"batch-size": "64", "out-dir": "x", "ddim-steps": "20", "limit-batches": "3"}
    hyphens = train_diffusion.parse_args([f"--{name}={value}" for name, value in flags.items()])
    underscores = train_diffusion.parse_args(
        [f"--{name.replace('-', '_')}={value}" for name, value in flags.items()]
    )
    assert hyphens == underscores and hyphens.ddim_steps == 20


def test_ddim_takes_no_more_steps_than_there_are():
    assert train_diffusion.parse_args([]).ddim_steps == 200
    assert train_diffusion.parse_args(["--timesteps=100"]).ddim_steps == 100


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
