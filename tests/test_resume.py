"""Resuming: a run that is interrupted and resumed is the run that never was interrupted, bit for bit."""

import fcntl
import os
import pty
import random
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import pytest
import torch

from HW3.support import checkpoint, run_folder
from tests.conftest import STAGES, command, train


def assert_same_run(folder: Path, other: Path, stage: str) -> None:
    """Assert that two runs of a stage left the same pictures, weights, averages, moments and metrics."""
    pictures = sorted(file.name for file in other.glob("*.png"))
    assert sorted(file.name for file in folder.glob("*.png")) == pictures
    for name in pictures:
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name
    for name in sorted(file.name for file in other.glob("*.pt")):
        saved, expected = (checkpoint.load(path / name, stage) for path in (folder, other))
        for key in ("model_state", "raw_state", "optimizer_state"):
            assert_equal(saved[key], expected[key], f"{name}: {key}")
        assert saved["ema_updates"] == expected["ema_updates"]
        assert without_seconds(saved["metrics"]) == without_seconds(expected["metrics"])
    rows, expected = ((path / "metrics.csv").read_text().splitlines() for path in (folder, other))
    assert [row.rsplit(",", 1)[0] for row in rows] == [row.rsplit(",", 1)[0] for row in expected]


def assert_equal(value, other, where: str) -> None:
    if isinstance(value, dict):
        assert value.keys() == other.keys(), where
        for key in value:
            assert_equal(value[key], other[key], f"{where}.{key}")
    elif isinstance(value, torch.Tensor):
        assert torch.equal(value, other), where
    else:
        assert value == other, where


def without_seconds(metrics: list[dict]) -> list[dict]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in metrics]


def borrow_earlier_stages(trained, folder: Path, stage: str) -> None:
    for earlier in {"vae", "clip"} - {stage}:
        (folder / earlier).symlink_to(trained.folder / earlier)


@pytest.mark.parametrize("stage", STAGES)
def test_resumed_run_equals_an_uninterrupted_one(trained, tmp_path, stage):
    borrow_earlier_stages(trained, tmp_path, stage)
    assert train(stage, tmp_path, "--epochs=1") == 0
    assert train(stage, tmp_path, "--resume") == 0
    assert_same_run(tmp_path / stage, trained.folder / stage, stage)


@pytest.mark.parametrize("stage", ["vae", "clip"])
def test_memory_format_of_a_checkpoint_does_not_matter(trained, tmp_path, stage):
    """Fused Adam walks weights and moments in the order of memory; earlier versions stored another one."""

    def laid_out(value):
        if isinstance(value, dict):
            return {key: laid_out(member) for key, member in value.items()}
        return value.contiguous() if isinstance(value, torch.Tensor) else value

    assert train(stage, tmp_path, "--epochs=1") == 0
    latest = tmp_path / stage / STAGES[stage].latest
    former = torch.load(latest, weights_only=True)
    assert any(not weight.is_contiguous() for weight in former["raw_state"].values())
    checkpoint.save(latest, laid_out(former))
    assert train(stage, tmp_path, "--resume") == 0
    saved, expected = (torch.load(path, weights_only=True) for path in (latest, trained.checkpoint(stage)))
    for key in ("model_state", "raw_state", "optimizer_state"):
        assert_equal(saved[key], expected[key], key)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_any_moment_and_resumed_until_done_equals_an_uninterrupted_run(trained, tmp_path, stage):
    """Epochs of some tenths of a second, and a kill -9 at a random moment of each attempt."""
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    for folder in (straight, killed):
        folder.mkdir()
        borrow_earlier_stages(trained, folder, stage)
    flags = ["--epochs=12", "--limit-batches=4"]
    subprocess.run(command(stage, straight, *flags), check=True, stdout=subprocess.DEVNULL, timeout=120)
    dice, kills = random.Random(stage), 0
    latest = killed / stage / STAGES[stage].latest
    while True:
        resume = ["--resume"] if latest.exists() else []
        run = subprocess.Popen(command(stage, killed, *flags, *resume), stdout=subprocess.PIPE, text=True)
        run.stdout.readline()  # torch is loaded, the run begins
        try:
            run.wait(dice.uniform(0, 1) if kills < 6 else 120)
            break
        except subprocess.TimeoutExpired:
            run.kill()
            kills += 1
        finally:
            run.communicate()
    assert run.returncode == 0 and kills > 0
    assert_same_run(killed / stage, straight / stage, stage)
    assert not list((killed / stage).glob(".*.tmp"))


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--lr=1e-3", "--lr 0.001 (was --lr 0.0002)"),
        ("--batch-size=8", "--batch-size 8 (was --batch-size 16)"),
        ("--seed=1", "--seed 1 (was --seed 42)"),
        ("--latent-dim=7", "--latent-dim 7 (was --latent-dim 100)"),
        ("--kl-weight=2", "--kl-weight 2.0 (was --kl-weight 1.0)"),
        ("--dataset=kmnist", "--dataset kmnist (was --dataset synthetic)"),
        ("--limit-batches=3", "--limit-batches 3 (was --limit-batches 2)"),
    ],
)
def test_resuming_with_another_flag_is_refused_by_name(trained, capsys, monkeypatch, flag, said):
    monkeypatch.setattr("train_vae.get_mnist_dataloaders", lambda *_, **__: tiny_loaders())
    assert train("vae", trained.folder, "--resume", "--epochs=3", flag) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("stage", ["latent_diffusion", "tiny_sd"])
def test_resumed_run_is_compared_whatever_the_place_of_the_earlier_stage(trained, tmp_path, capsys, stage):
    shutil.copytree(trained.folder / stage, tmp_path / stage)
    flag = {"latent_diffusion": "--vae-ckpt", "tiny_sd": "--clip-ckpt"}[stage]
    assert train(stage, tmp_path, "--resume", "--epochs=3") == 0
    assert "reference run" in (said := capsys.readouterr().out) and flag not in said.split("Done:")[0]


def tiny_loaders():
    from HW3.data import get_mnist_dataloaders

    return get_mnist_dataloaders("", dataset="synthetic")


@pytest.mark.parametrize(("stage", "flag"), [("latent_diffusion", "--vae-ckpt"), ("tiny_sd", "--clip-ckpt")])
def test_resuming_asks_for_no_earlier_stage(trained, tmp_path, stage, flag):
    shutil.copytree(trained.folder / stage, tmp_path / stage)
    assert train(stage, tmp_path, "--resume", "--epochs=3", f"{flag}=not/here/any/more.pt") == 0
    former, resumed = (
        torch.load(folder / stage / STAGES[stage].latest, weights_only=True)["args"]
        for folder in (trained.folder, tmp_path)
    )
    name = flag[2:].replace("-", "_")
    assert resumed[name] == former[name]  # what it really builds on


def test_run_on_pixels_goes_on_in_no_latent_space(trained, tmp_path, capsys):
    flags = [f"--clip-ckpt={trained.checkpoint('clip')}", "--base-channels=16", "--channel-mults=1,2,3,4"]
    assert train("tiny_sd", tmp_path, *flags, "--epochs=1") == 0
    assert train("tiny_sd", tmp_path, *flags, "--resume", "--vae-ckpt=x.pt") == 2
    assert "--vae-ckpt x.pt (was no --vae-ckpt)" in capsys.readouterr().err


def test_nothing_to_resume_is_wrong_use(tmp_path, capsys):
    assert train("vae", tmp_path, "--resume") == 2
    assert "leave --resume out to start a run\n" in capsys.readouterr().err


def test_resuming_in_vain_names_the_run_that_was_moved_aside(trained, tmp_path, capsys):
    shutil.copytree(trained.folder / "vae", tmp_path / "vae.1")
    assert train("vae", tmp_path, "--resume") == 2
    assert f"--out-dir {tmp_path / 'vae.1'}" in capsys.readouterr().err


def test_nothing_left_to_do_is_success(trained, capsys):
    assert train("vae", trained.folder, "--resume") == 0
    assert "Nothing left to do" in capsys.readouterr().out


def test_metrics_come_from_the_checkpoint(tmp_path):
    """A run may be killed between its checkpoint and its metrics.csv, or in mid-epoch after its pictures."""
    assert train("vae", tmp_path) == 0
    metrics = tmp_path / "vae/metrics.csv"
    whole = metrics.read_bytes()
    metrics.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    assert train("vae", tmp_path, "--resume") == 0
    assert metrics.read_bytes() == whole


def test_damaged_latest_is_not_resumed(tmp_path, capsys):
    assert train("vae", tmp_path) == 0
    latest = tmp_path / "vae/convae_latest.pt"
    latest.write_bytes(latest.read_bytes()[:-100])
    assert train("vae", tmp_path, "--resume", "--epochs=3") == 2
    assert "convae_latest.pt is not a whole checkpoint" in capsys.readouterr().err


def test_running_again_moves_the_earlier_run_aside(tmp_path, capsys):
    assert train("vae", tmp_path, "--epochs=1") == 0
    first = (tmp_path / "vae/convae_latest.pt").read_bytes()
    (tmp_path / "vae/notes.txt").write_text("mine")
    assert train("vae", tmp_path, "--epochs=1", "--kl-weight=2") == 0
    assert f"aside to {tmp_path.resolve() / 'vae.1'}" in capsys.readouterr().out
    assert (tmp_path / "vae.1/convae_latest.pt").read_bytes() == first
    assert (tmp_path / "vae/notes.txt").exists() and not (tmp_path / "vae.1/notes.txt").exists()
    # A half-finished run, too: pictures, but no checkpoint yet.
    (tmp_path / "vae/convae_latest.pt").unlink()
    assert train("vae", tmp_path, "--epochs=1") == 0
    assert (tmp_path / "vae.2/samples_epoch_001.png").exists()


# Randomness: nothing but the seed, the flags that change the run, and the number of threads matters.


@pytest.mark.parametrize(
    ("stage", "flag"),
    [
        ("vae", "--seed=42"),
        ("vae", "--num-workers=2"),
        ("vae", "--no-save-recon"),
        ("diffusion", "--sample-every=2"),
    ],
)
def test_weights_do_not_depend_on_workers_or_pictures(trained, tmp_path, stage, flag):
    assert train(stage, tmp_path, flag) == 0
    saved, expected = (
        checkpoint.load(p / stage / STAGES[stage].latest, stage) for p in (tmp_path, trained.folder)
    )
    for key in ("raw_state", "model_state", "optimizer_state"):
        assert_equal(saved[key], expected[key], key)
    for picture in (tmp_path / stage).glob("*.png"):
        assert picture.read_bytes() == (trained.folder / stage / picture.name).read_bytes()


def test_another_seed_gives_other_weights(trained, tmp_path):
    assert train("vae", tmp_path, "--seed=43") == 0
    saved, expected = (checkpoint.load(p / "vae/convae_latest.pt", "vae") for p in (tmp_path, trained.folder))
    assert not torch.equal(saved["raw_state"]["encoder.0.weight"], expected["raw_state"]["encoder.0.weight"])


def test_bar_appears_on_a_terminal_and_changes_no_weight(trained, tmp_path):
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))  # rows, columns
    shown = []
    reader = threading.Thread(target=lambda: shown.extend(read_all(controller)))
    reader.start()
    run = subprocess.run(
        command("vae", tmp_path), stderr=terminal, stdout=subprocess.PIPE, text=True, timeout=120
    )
    os.close(terminal)
    reader.join()
    assert run.returncode == 0 and "epoch 1/2" in run.stdout
    assert b"images" in b"".join(shown)
    saved, expected = (checkpoint.load(p / "vae/convae_latest.pt", "vae") for p in (tmp_path, trained.folder))
    assert_equal(saved["raw_state"], expected["raw_state"], "raw_state")


def read_all(controller: int):
    while True:
        try:
            yield os.read(controller, 1000)
        except OSError:  # the other end is closed
            return


# Atomic saves

SAVER = """
import os, sys, torch
from pathlib import Path
from HW3.support import checkpoint
folder = Path(sys.argv[1])
weights = torch.zeros(20000)
for line in sys.stdin:  # one child per line, which saves until it is killed
    if (child := os.fork()) == 0:
        epoch = 0
        while True:
            epoch += 1
            state = {"stage": "vae", "epoch": epoch, "model_config": {}, "args": {}}
            state["model_state"] = {"w": weights + epoch}
            for name in ("convae_best.pt", "convae_latest.pt"):
                checkpoint.save(folder / name, state)
    print(child, flush=True)
"""


@pytest.mark.slow
def test_killed_200_times_while_saving_leaves_whole_files(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # so that it can fork
    dice, saved = random.Random(0), 0
    with subprocess.Popen(
        [sys.executable, "-c", SAVER, str(tmp_path)],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    ) as saver:  # fmt: skip
        for _ in range(200):
            saver.stdin.write("\n")
            child = int(saver.stdout.readline())
            time.sleep(dice.uniform(0.001, 0.05))
            os.kill(child, signal.SIGKILL)
            while Path(f"/proc/{child}/stat").read_text(encoding="utf-8").split()[2] not in "ZX":
                time.sleep(0.001)
            for name in ("convae_best.pt", "convae_latest.pt"):
                if (tmp_path / name).exists():
                    state = checkpoint.load(tmp_path / name, "vae")
                    assert (state["model_state"]["w"] == state["epoch"]).all()
                    saved += 1
        saver.kill()
    assert saved > 300
    run_folder.open_run_folder(tmp_path, "vae", [{"epoch": 1}], {})
    assert {file.name for file in tmp_path.iterdir()} == {
        "convae_best.pt",
        "convae_latest.pt",
        "flags.json",
        "metrics.csv",
        ".lock",
    }
