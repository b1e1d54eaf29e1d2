"""What can go wrong around a run: disks, damaged files, flags, divergence, folders, signals.

Every fault ends in one line that names what is wrong, the documented exit code, and whole files.
"""

import errno
import os
import pickle
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from HW3.support.process import RunError, UsageError

import pytest
import torch

import train_diffusion
import train_vae
from HW3.diffusion import GaussianDiffusion
from HW3.ema import EMA
from HW3.support import checkpoint, run_folder
from tests.conftest import EMPTY, ROOT, STAGES, command, train


def one_line(capsys) -> str:
    """Return what a run said on stderr, which must be a single line."""
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.endswith("\n"), error
    return error


def is_whole(path: Path, epoch: int) -> bool:
    return checkpoint.load(path, "vae")["epoch"] == epoch


def hidden_files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.glob(".*"))


# Saving


def test_full_disk_leaves_the_former_file(tmp_path, monkeypatch):
    path = tmp_path / "x.pt"
    checkpoint.save(path, EMPTY)

    def fail(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RunError, match=r"x\.pt can't be written: No space left on device"):
        checkpoint.save(path, EMPTY | {"epoch": 2})
    assert is_whole(path, 1) and [file.name for file in tmp_path.iterdir()] == ["x.pt"]


@pytest.mark.parametrize("save", range(1, 8))
def test_full_disk_in_mid_run(tmp_path, capsys, monkeypatch, save):
    """The disk is full from the n-th file of the second epoch on: 2 pictures, best, latest, metrics, page."""
    saves, fsync = iter(range(1, 100)), os.fsync

    def fail(descriptor):
        if next(saves) >= 7 + save:  # the run's flags and the first epoch are seven files
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    code = train("vae", tmp_path)
    if save >= 5:  # no training ends because of what is written again later
        assert code == 0
        note = {5: "metrics.csv can't be written", 6: "note: the gallery"}.get(save, "")
        assert note in (said := capsys.readouterr().err) and bool(said) == bool(note)
        return
    assert code == 1
    assert "No space left on device" in (said := one_line(capsys)) and str(tmp_path / "vae") in said
    assert is_whole(tmp_path / "vae/convae_latest.pt", 1)
    assert is_whole(tmp_path / "vae/convae_best.pt", 2 if save >= 4 else 1)
    assert hidden_files(tmp_path / "vae") == [".lock"]


@pytest.mark.slow
def test_file_that_may_not_grow_further(tmp_path):
    """A real refusal of the system, in the middle of a write."""
    limit = "import resource, signal; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))"
    call = f"{limit}; import sys, train_vae; sys.exit(train_vae.main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", call, *command("vae", tmp_path)[2:]], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "convae_best.pt can't be written: File too large" in done.stderr
    assert hidden_files(tmp_path / "vae") == [".lock"]


# Damaged checkpoints


class Hostile:
    """A pickle that would create a file if it were executed."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def cut(share: float):
    return lambda path: path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def flip(path: Path) -> None:
    """Flip one bit in the weights."""
    content = bytearray(path.read_bytes())
    weights = checkpoint.load(path, "vae")["model_state"]["encoder.0.weight"].numpy().tobytes()
    content[content.index(weights) + 1000] ^= 1
    path.write_bytes(content)


def replace(make):
    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


def with_nan(path: Path) -> None:
    saved = torch.load(path, weights_only=True)
    saved["model_state"]["encoder.0.weight"][0, 0] = float("nan")
    torch.save(saved, path)


def without(name: str, instead: object = None):
    def damage(path: Path) -> None:
        torch.save(torch.load(path, weights_only=True) | {name: instead}, path)

    return damage


DAMAGES = {
    "cut at 10 %": (cut(0.1), "is not a whole checkpoint"),
    "cut at 50 %": (cut(0.5), "is not a whole checkpoint"),
    "cut at 99.9 %": (cut(0.999), "is not a whole checkpoint"),
    "empty": (cut(0), "is not a whole checkpoint"),
    "text": (lambda path: path.write_text("text"), "is not a whole checkpoint"),
    "pickle": (lambda path: path.write_bytes(pickle.dumps({"stage": "vae"})), "is not a whole checkpoint"),
    "hostile": (
        lambda path: torch.save(Hostile(path.with_name("executed")), path),
        "is not a whole checkpoint",
    ),
    "flipped bit": (flip, "is damaged (wrong checksum of "),
    "not finite": (with_nan, "holds numbers that are not finite"),
    "missing": (Path.unlink, "does not exist"),
    "folder": (replace(Path.mkdir), "is not a file"),
    "/dev/null": (replace(lambda path: path.symlink_to("/dev/null")), "is not a file"),
    "FIFO": (replace(os.mkfifo), "is not a file"),
    "link to itself": (replace(lambda path: path.symlink_to(path)), "does not exist"),
    "another's": (
        lambda path: torch.save({"model": torch.zeros(3)}, path),
        "is not a checkpoint of this homework",
    ),
    "another stage": (lambda path: torch.save({"stage": "clip"}, path), "is a checkpoint of the stage clip"),
    "a list": (lambda path: torch.save([1], path), "is not a checkpoint of this homework"),
    "no config": (without("model_config"), "is not a whole checkpoint (no model_config)"),
    "config is text": (without("model_config", "x"), "is not a whole checkpoint (no model_config)"),
    "no weights": (without("model_state", {}), "the weights in the checkpoint do not fit ConvVAE"),
    "other config": (without("model_config", {"width": 3}), "the checkpoint does not fit ConvVAE"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_checkpoint_is_wrong_use(trained, tmp_path, capsys, damage):
    path = tmp_path / "convae.pt"
    shutil.copy(trained.checkpoint("vae"), path)
    make, said = DAMAGES[damage]
    make(path)
    assert train("latent_diffusion", tmp_path, f"--vae-ckpt={path}") == 2
    line = one_line(capsys)
    assert said in line and (f"{path} {said}" in line or "train it again" in line)
    assert "python train_vae.py" in line or "train it again" in line
    assert not (tmp_path / "latent_diffusion").exists() and not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["raw_state", "ema_updates", "optimizer_state", "metrics", "model_state"])
def test_resuming_from_odd_content_is_wrong_use(trained, tmp_path, capsys, name):
    shutil.copytree(trained.folder / "vae", tmp_path / "vae")
    without(name, {} if name == "model_state" else None)(tmp_path / "vae/convae_latest.pt")
    assert train("vae", tmp_path, "--epochs=3", "--resume") == 2
    assert "train it again" in (said := one_line(capsys)) or "start it again" in said


def test_every_flipped_bit_is_noticed_or_harmless(tmp_path):
    path = tmp_path / "x.pt"
    state = EMPTY | {"model_state": {"w": torch.arange(35.0)}, "args": {"lr": 0.5}}
    checkpoint.save(path, state)
    whole = path.read_bytes()
    assert zipfile.is_zipfile(path)
    noticed = 0
    for position in random.Random(0).sample(range(8 * len(whole)), 1500):
        flipped = bytearray(whole)
        flipped[position // 8] ^= 1 << position % 8
        path.write_bytes(flipped)
        try:
            saved = checkpoint.load(path, "vae")
        except UsageError:
            noticed += 1
        else:
            assert torch.equal(saved["model_state"].pop("w"), torch.arange(35.0)), position
            assert saved == {**state, "model_state": {}}, position
    assert noticed > 500


def test_checkpoint_of_a_gpu_is_read_onto_the_cpu(tmp_path, monkeypatch):
    path = tmp_path / "x.pt"
    monkeypatch.setattr(
        torch.serialization, "location_tag", lambda storage: "cuda:0"
    )  # as a GPU's tensor says
    torch.save(EMPTY | {"w": torch.ones(3)}, path)
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="CUDA"):
            torch.load(path, weights_only=True)
    saved = checkpoint.load(path, "vae")
    assert saved["w"].device.type == "cpu" and torch.equal(saved["w"], torch.ones(3))


# Values

BAD_VALUES = {
    "vae": {
        "--epochs": "0 -1 1.5 nan inf x",
        "--batch-size": "0 -1 1.5 nan 1000000000000",
        "--lr": "0 -1 2 nan inf x",
        "--ema-decay": "-0.1 1 nan",
        "--seed": "-1 1.5 4294967296 x",
        "--num-workers": "-1 65 x",
        "--limit-batches": "0 x",
        "--latent-dim": "0 -3 1.5 1000000000",
        "--kl-weight": "-1 nan inf x",
        "--loss-type": "l1",
        "--dataset": "cifar10",
        "--device": "tpu",
        "--precision": "fp64",
    },
    "diffusion": {
        "--timesteps": "0 1 2.5 1000000000",
        "--ddim-steps": "0 -1 7 x",
        "--ddim-eta": "-0.1 1.1 nan inf",
        "--beta-start": "0 1 -1 nan",
        "--beta-end": "0 1 -1 nan 0.00001",
        "--sample-every": "0 x",
        "--base-channels": "0 12 x 1000000000",
        "--channel-mults": "0 1,x 1,,2 1,1,1,1,1,1,1 1,1000000",
        "--num-res-blocks": "0 x 1000000 1,,1",
    },
    "latent_diffusion": {
        "--time-dim": "0 3 x 1000000000",
        "--hidden-dim": "0 x 1000000000",
        "--latent-dim": "0 x",
    },
    "clip": {"--embed-dim": "0 x 1000000000", "--weight-decay": "-1 nan inf", "--val-split": "-0.1 1 nan x"},
    "tiny_sd": {"--cond-drop-prob": "-0.1 1.1 nan", "--guidance-scale": "-1 nan inf", "--embed-dim": "0 x"},
}


@pytest.mark.parametrize(
    ("stage", "flag", "value"),
    [(s, f, v) for s, flags in BAD_VALUES.items() for f, values in flags.items() for v in values.split()],
)
def test_value_out_of_range_is_wrong_use(tmp_path, capsys, monkeypatch, stage, flag, value):
    monkeypatch.setattr(f"train_{stage}.get_mnist_dataloaders", None)  # no data may be read
    assert train(stage, tmp_path, f"{flag}={value}") == 2
    line = one_line(capsys)
    assert flag in line and ("must be" in line or "choose from" in line or "invalid choice" in line)
    assert list(tmp_path.iterdir()) == []


def test_smallest_shares_leave_no_part_empty(tmp_path):
    for share in ("0.0000001", "0.9999999"):
        assert train("clip", tmp_path, f"--val-split={share}") == 0


# Divergence


def test_loss_that_is_not_finite_stops_the_run(tmp_path, capsys, monkeypatch):
    assert train("diffusion", tmp_path, "--epochs=1") == 0
    monkeypatch.setattr(train_diffusion, "to_signed", lambda x: x * float("inf"))
    assert train("diffusion", tmp_path, "--epochs=2", "--resume") == 1
    latest = tmp_path / "diffusion/diffusion_latest.pt"
    assert f"epoch 2, step 1: loss nan; the last good checkpoint is {latest}" in one_line(capsys)
    assert checkpoint.load(latest, "diffusion")["epoch"] == 1


def test_weights_that_are_not_finite_after_the_last_step_are_not_saved(tmp_path, capsys, monkeypatch):
    updates, update = iter(range(1, 100)), EMA.update

    def spoil(self, model):
        update(self, model)
        if next(updates) == 4:  # the last of epoch 2: no loss will show it
            next(model.parameters()).data.fill_(float("nan"))

    monkeypatch.setattr(EMA, "update", spoil)
    assert train("vae", tmp_path) == 1
    assert "not finite after epoch 2" in one_line(capsys)
    for name in ("convae_latest.pt", "convae_best.pt"):
        assert is_whole(tmp_path / "vae" / name, 1)


def test_held_out_loss_that_is_not_finite_is_never_best(tmp_path, capsys, monkeypatch):
    def evaluate(model, loader, args, device, losses):
        losses.add(1, *[torch.tensor(float("nan"))] * 3)

    monkeypatch.setattr(train_vae, "evaluate", evaluate)
    assert train("vae", tmp_path) == 1
    assert "val_loss nan" in one_line(capsys)
    assert not list((tmp_path / "vae").glob("*.pt"))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"), "--batch-size"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't"),
            "--batch-size",
        ),
        (MemoryError(), "--batch-size"),
        (RuntimeError("could not create a memory object"), "--batch-size"),
        (RuntimeError("unable to mmap 9 bytes: Cannot allocate memory (12)"), "--batch-size"),
        (RuntimeError("DataLoader worker (pid 9) is killed by signal: Killed. "), "--num-workers 0"),
        (NotImplementedError("the DDIM update"), "not written yet: the DDIM update, "),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_user_can_cause_is_explained(tmp_path, capsys, monkeypatch, error, said):
    def fail(*_):
        raise error

    monkeypatch.setattr(EMA, "update", fail)
    assert train("vae", tmp_path) == 1
    assert said in one_line(capsys)


def test_a_bug_shows_its_traceback(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(EMA, "update", fail)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        train("vae", tmp_path)


# Folders


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nowhere"])
def test_unusable_output_folder_is_wrong_use(tmp_path, capsys, place):
    (tmp_path / "file").write_text("not a folder")
    assert train("vae", tmp_path, f"--out-dir={tmp_path / place}") == 2
    assert "output folder" in one_line(capsys)
    assert (tmp_path / "file").read_text() == "not a folder"


def test_output_folder_that_can_not_be_written_to_is_wrong_use(tmp_path, capsys, monkeypatch):
    def fail(dir):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(dir))  # root may write anywhere

    monkeypatch.setattr(run_folder.tempfile, "TemporaryFile", fail)
    assert train("vae", tmp_path) == 2
    assert "Permission denied" in one_line(capsys)


def test_output_folder_that_vanishes_in_mid_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        train_vae, "evaluate", lambda *_: shutil.rmtree(tmp_path / "vae") or {"val_loss": 1.0}
    )
    assert train("vae", tmp_path) == 1
    assert "No such file or directory" in (said := one_line(capsys)) and str(tmp_path / "vae") in said


HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "a")
fcntl.lockf(file, fcntl.LOCK_EX)
print(flush=True)
sys.stdin.read()
"""


def test_second_run_in_a_folder_is_refused_and_a_killed_one_does_not_block(trained, tmp_path, capsys):
    shutil.copytree(trained.folder / "vae", tmp_path / "vae")
    before = {file: file.read_bytes() for file in (tmp_path / "vae").iterdir()}
    lock = tmp_path / "vae/.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        other.stdout.readline()
        for flags in ([], ["--resume", "--epochs=3"]):
            assert train("vae", tmp_path, *flags) == 2
            assert f"another run is training in the output folder {tmp_path / 'vae'}" in one_line(capsys)
        assert before == {file: file.read_bytes() for file in (tmp_path / "vae").iterdir()}
        other.kill()
    assert lock.exists() and train("vae", tmp_path) == 0


@pytest.mark.parametrize(
    "name",
    ["with spaces", "Zürich-東京", "x" * 200, "link", "$HOME;'\"", b"\xff".decode(errors="surrogateescape")],
)
def test_unusual_folder_names_work(tmp_path, monkeypatch, name):
    folder = tmp_path / name
    if name == "link":
        (tmp_path / "target").mkdir()
        folder.symlink_to("target")
    monkeypatch.chdir(tmp_path)
    for relative in (folder, folder.relative_to(tmp_path)):
        assert train("vae", relative) == 0
    vae = folder / "vae/convae_latest.pt"
    assert train("latent_diffusion", folder.relative_to(tmp_path), f"--vae-ckpt={vae}") == 0


def test_terminal_that_can_not_show_a_path(tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        command("vae", tmp_path / "東京", "--epochs=1"), env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "") and r"\u6771\u4eac" in done.stdout


# Signals: one line, exit 128 + number, whole files, within seconds


@pytest.fixture(autouse=True)
def signals_as_in_a_terminal():
    """Undo what nohup and a shell's background ignore, here and in the processes that are started."""
    former = {signum: signal.getsignal(signum) for signum in CODES}
    for signum in CODES:
        if former[signum] == signal.SIG_IGN:
            signal.signal(signum, signal.SIG_DFL)
    yield
    for signum, handler in former.items():
        signal.signal(signum, handler)


MOMENTS = {
    "training": (EMA, "update"),
    "drawing": (GaussianDiffusion, "sample_ddpm"),
    "saving": (os, "fsync"),
}
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("signum", CODES)
def test_signal_ends_a_run_in_one_line(tmp_path, capsys, monkeypatch, moment, signum):
    assert train("diffusion", tmp_path, "--epochs=1") == 0
    owner, name = MOMENTS[moment]
    function = getattr(owner, name)

    def interrupted(*args, **kwargs):
        os.kill(os.getpid(), signum)
        return function(*args, **kwargs)

    handlers = {each: signal.getsignal(each) for each in CODES}
    monkeypatch.setattr(owner, name, interrupted)
    assert train("diffusion", tmp_path, "--resume") == CODES[signum]
    assert "--resume" in one_line(capsys)
    assert handlers == {each: signal.getsignal(each) for each in CODES}
    assert checkpoint.load(tmp_path / "diffusion/diffusion_latest.pt", "diffusion")["epoch"] == 1
    assert hidden_files(tmp_path / "diffusion") == [".lock"]
    monkeypatch.undo()
    assert train("diffusion", tmp_path, "--resume") == 0


def test_ignored_signal_stays_ignored(tmp_path, monkeypatch):
    """As under nohup, which ignores SIGHUP."""
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    update = EMA.update
    monkeypatch.setattr(EMA, "update", lambda *args: os.kill(os.getpid(), signal.SIGHUP) or update(*args))
    try:
        assert train("vae", tmp_path) == 0
    finally:
        signal.signal(signal.SIGHUP, former)


def test_debugging_shows_the_traceback(tmp_path, monkeypatch):
    monkeypatch.setenv("HW3_DEBUG", "1")
    with pytest.raises(UsageError):
        train("latent_diffusion", tmp_path, "--vae-ckpt=no/such.pt")


def start(*words: str, **options) -> subprocess.Popen:
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **options
    )


def group_is_gone(pid: int) -> bool:
    """Wait for the last process of a group to end; torch's workers look for their parent every 5 s."""
    deadline = time.monotonic() + 8
    while time.monotonic() < deadline:
        try:
            os.killpg(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def wait_until_signals_are_answered(pid: int) -> None:
    """Wait until a process has a handler for SIGTERM: Python is up, and the first import is done."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        caught = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))[1]
        if int(caught, 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.002)
    raise TimeoutError("no handler of SIGTERM was installed")


@pytest.mark.slow
@pytest.mark.parametrize("signum", CODES)
@pytest.mark.parametrize("delay", [0, 0.3, 0.8, 1.5])
@pytest.mark.parametrize("stage", ["vae", "clip"])
def test_signal_while_loading(tmp_path, signum, delay, stage):
    run = start(*command(stage, tmp_path, "--epochs=100000"))
    wait_until_signals_are_answered(run.pid)
    time.sleep(delay)
    run.send_signal(signum)
    _, error = run.communicate(timeout=30)
    assert run.returncode == CODES[signum] and error.count("\n") == 1
    assert "Traceback" not in error


@pytest.mark.slow
@pytest.mark.parametrize("whole_group", [False, True])
@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("signum", CODES)
def test_signal_in_a_run_with_workers(tmp_path, signum, times, whole_group):
    run = start(*command("vae", tmp_path, "--epochs=100000", "--num-workers=2"))
    for _ in range(3):
        run.stdout.readline()
    for _ in range(times):
        (os.killpg if whole_group else os.kill)(run.pid, signum)
        time.sleep(0.1)
    _, error = run.communicate(timeout=30)
    assert run.returncode == CODES[signum]
    assert error.count("\n") == 1 and "--resume" in error
    assert group_is_gone(run.pid)
    checkpoint.load(tmp_path / "vae/convae_latest.pt", "vae")
    checkpoint.load(tmp_path / "vae/convae_best.pt", "vae")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shell", "code"),
    [
        ("{} | head -1", None),
        ("{} >&-", 0),
        ("{} 2>&-", 0),
        ("{} >/dev/full", 1),
        ("{} >&- 2>&- </dev/null", 0),
    ],
)
def test_closed_streams(tmp_path, shell, code):
    line = shell.format(shlex.join(command("vae", tmp_path, "--epochs=5")))
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr, done.stderr
    if code is None:
        assert "broken pipe" in done.stderr and done.stderr.count("\n") == 1
    else:
        assert done.returncode == code
    if code == 1:
        assert "No space left on device" in done.stderr and done.stderr.count("\n") == 1
    else:
        checkpoint.load(tmp_path / "vae/convae_latest.pt", "vae")


def test_every_stage_is_covered_by_the_flags_above():
    assert set(BAD_VALUES) == set(STAGES)
