"""Where students are: folders with other things in them, lesser file systems, Windows, old and new Pythons.

Windows, file systems without locks and mount points are simulated, by the errors that they raise.
"""

import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from HW3.support.process import RunError, UsageError

import numpy as np
import pytest
import torch

import train_vae
from HW3 import evaluate, explain, gallery, sample
from HW3.support import checkpoint, files, process, run_folder
from tests.conftest import EMPTY, ROOT, STAGES, command, train
from tests.test_gallery import data_of

ONE_EPOCH = "--epochs=1"


def fail_with(number: int, applies=lambda *args: True, function=lambda *args: None):
    """Return a function that fails with an error of the system where that applies."""

    def fail(*args):
        if applies(*args):
            raise OSError(number, os.strerror(number), *map(str, args[:1]))
        return function(*args)

    return fail


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(autouse=True)
def every_note_is_new():
    files.note_once.cache_clear()


# What else is in a folder

LITTER = {
    "._convae_latest.pt": b"\0\5\26\7",
    "._samples_epoch_001.png": b"\0\5\26\7",
    ".DS_Store": b"\0",
    "~$metrics.csv": b"",
    "~$clip_latest.pt": b"",
    "~recon_epoch_001.png": b"",
    "samples_epoch_001.png~": b"",
    "#metrics.csv#": b"",
    "Thumbs.db": b"\0",
    "good_latest.pt": b"a backup",
    "clip_latest.pt.bak": b"",
}


@pytest.fixture
def littered(trained, tmp_path) -> Path:
    """A folder with a VAE's run, in which systems, editors and its owner left other things."""
    folder = tmp_path / "vae"
    shutil.copytree(trained.folder / "vae", folder)
    for name, content in LITTER.items():
        (folder / name).write_bytes(content)
    (folder / "backup.pt").symlink_to("nowhere")
    (tmp_path / "._vae").write_bytes(b"\0\5\26\7")
    (tmp_path / ".Trashes").mkdir()
    return folder


def test_other_things_in_a_folder_stop_no_training(littered, tmp_path, capsys):
    assert train("vae", tmp_path, "--epochs=3", "--resume") == 0
    assert train("vae", tmp_path, ONE_EPOCH) == 0
    assert capsys.readouterr().err == ""
    assert set(LITTER) | {"backup.pt"} <= set(names(littered))  # only what is ours moves aside
    assert set(names(tmp_path / "vae.1")).isdisjoint(LITTER)


def test_other_things_in_a_folder_are_no_checkpoints_and_no_pictures(littered, tmp_path):
    out = tmp_path / "out.png"
    assert sample.main([str(littered), "--n=4", f"--out={out}"]) == 0 and out.exists()
    gallery.build(tmp_path)
    vae = data_of(tmp_path / "index.html")["parts"][0]
    assert set(vae["grids"]) == {"samples", "recon"}
    assert [text.split()[0] for text in vae["checkpoints"]] == [
        "convae_best.pt",
        "convae_latest.pt",
        "good_latest.pt",
    ]


def test_folder_of_two_runs_gives_the_checkpoint_of_the_stage_that_is_wanted(trained, tmp_path):
    for stage in STAGES:
        shutil.copy(trained.checkpoint(stage), tmp_path)
    for stage in STAGES:
        assert checkpoint.load(tmp_path, stage)["stage"] == stage


def test_run_of_another_stage_is_still_noticed(trained, tmp_path, capsys):
    shutil.copytree(trained.folder / "clip", tmp_path / "vae")
    assert train("vae", tmp_path) == 2
    assert "holds another stage's clip_latest.pt" in capsys.readouterr().err


# File systems that lack something


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EIO])
def test_file_system_without_locks_is_noted(tmp_path, capsys, monkeypatch, number):
    monkeypatch.setattr(run_folder.fcntl, "lockf", fail_with(number))
    assert train("vae", tmp_path) == 0
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("note: this file system has no locks")


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP])
def test_file_system_that_does_not_flush_is_noted(tmp_path, capsys, monkeypatch, number):
    monkeypatch.setattr(os, "fsync", fail_with(number))
    assert train("vae", tmp_path) == 0
    assert capsys.readouterr().err.count("can't flush to disk") == 1
    assert checkpoint.load(tmp_path / "vae", "vae")["epoch"] == 2


@pytest.mark.parametrize("number", [errno.EEXIST, errno.EOPNOTSUPP])
def test_file_system_that_does_not_rename_over_a_file_is_noted(tmp_path, capsys, monkeypatch, number):
    is_there = fail_with(number, lambda source, target: Path(target).exists(), os.rename)
    monkeypatch.setattr(os, "replace", is_there)
    assert train("vae", tmp_path) == 0
    assert capsys.readouterr().err.count("\n") == 1
    assert checkpoint.load(tmp_path / "vae", "vae")["epoch"] == 2
    assert [name for name in names(tmp_path / "vae") if name.startswith(".")] == [".lock"]


def test_failure_of_the_second_step_leaves_the_former_file(tmp_path, monkeypatch):
    path, rename = tmp_path / "x.txt", os.rename
    path.write_text("former")
    monkeypatch.setattr(os, "replace", fail_with(errno.EEXIST))
    monkeypatch.setattr(
        os, "rename", fail_with(errno.EIO, lambda source, _: str(source).endswith(".tmp"), rename)
    )
    with pytest.raises(RunError, match="the previous version is unharmed"):
        files.write_whole(path, b"later")
    assert path.read_text() == "former" and names(tmp_path) == ["x.txt"]


def across(folder: Path):
    """Tell whether a rename leaves a folder, as it does where that is a mount point."""
    return lambda source, target: not Path(target).is_relative_to(folder)


def test_run_in_a_mount_point_moves_aside_within_it(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "vae"
    monkeypatch.setattr(os, "rename", fail_with(errno.EXDEV, across(folder), os.rename))
    for _ in range(3):
        assert train("vae", tmp_path, ONE_EPOCH) == 0
    assert capsys.readouterr().err == "" and names(tmp_path) == ["index.html", "vae"]
    assert checkpoint.load(folder / "vae.2", "vae")["epoch"] == 1
    parts = data_of(tmp_path / "index.html")["parts"][:3]
    assert [(part["name"], part["aside"]) for part in parts] == [
        ("vae", False),
        ("vae/vae.1", True),
        ("vae/vae.2", True),
    ]
    for url in parts[1]["grids"]["samples"].values():
        assert (tmp_path / url).exists()
    (folder / "convae_latest.pt").unlink()
    assert train("vae", tmp_path, "--resume") == 2
    assert f"--out-dir {folder}/vae." in capsys.readouterr().err


def test_run_in_a_folder_whose_parent_is_read_only_moves_aside_within_it(tmp_path, monkeypatch):
    assert train("vae", tmp_path, ONE_EPOCH) == 0
    mkdir = Path.mkdir
    refuse = fail_with(errno.EROFS, lambda path: path.parent == tmp_path, mkdir)
    monkeypatch.setattr(
        Path,
        "mkdir",
        lambda path, *args, **options: options and mkdir(path, *args, **options) or refuse(path),
    )
    aside = run_folder.move_aside(tmp_path / "vae", [tmp_path / "vae/metrics.csv"])
    assert aside == tmp_path / "vae/vae.1" and names(aside) == ["metrics.csv"]


@pytest.mark.parametrize("nth", range(1, 7))
def test_all_of_a_run_moves_aside_or_nothing(tmp_path, capsys, monkeypatch, nth):
    assert train("vae", tmp_path, ONE_EPOCH) == 0
    before, calls = names(tmp_path / "vae"), iter(range(1, 100))
    monkeypatch.setattr(os, "rename", fail_with(errno.EIO, lambda *_: next(calls) == nth, os.rename))
    assert train("vae", tmp_path, ONE_EPOCH) == 2
    assert "can't be used: Input/output error" in capsys.readouterr().err
    assert names(tmp_path / "vae") == before and not (tmp_path / "vae.1").exists()


def test_page_is_beside_the_path_that_was_given(tmp_path, monkeypatch):
    """And the earlier run, too: beside the link, not beside what it leads to."""
    (tmp_path / "scratch/vae_run").mkdir(parents=True)
    (tmp_path / "result").mkdir()
    (tmp_path / "result/vae").symlink_to(tmp_path / "scratch/vae_run")
    monkeypatch.chdir(tmp_path / "result")
    for out_dir in (tmp_path / "result/vae", "vae"):
        assert train("vae", tmp_path, ONE_EPOCH, f"--out-dir={out_dir}") == 0
    assert names(tmp_path / "result") == ["index.html", "vae", "vae.1"]
    assert names(tmp_path / "scratch") == ["vae_run"]


@pytest.mark.parametrize("nth", range(1, 6))
def test_interrupt_while_a_run_moves_aside_leaves_it_whole(tmp_path, capsys, monkeypatch, nth):
    assert train("vae", tmp_path, ONE_EPOCH) == 0
    before, calls, rename = names(tmp_path / "vae"), iter(range(1, 100)), os.rename

    def interrupted(*args):
        rename(*args)
        if next(calls) == nth:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(os, "rename", interrupted)
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert train("vae", tmp_path, ONE_EPOCH) == 130
    finally:
        signal.signal(signal.SIGINT, previous)
    assert names(tmp_path / "vae") == before and not (tmp_path / "vae.1").exists()


def test_numbered_name_that_is_taken_is_passed_over(tmp_path):
    (tmp_path / "vae.1").symlink_to("nowhere")
    for _ in range(2):
        assert train("vae", tmp_path, ONE_EPOCH) == 0
    assert (tmp_path / "vae.2/convae_latest.pt").exists()


@pytest.mark.parametrize("left", ["target", "former", "both"])
def test_renaming_in_two_steps_that_was_interrupted_is_mended(tmp_path, left):
    path = tmp_path / "convae_latest.pt"
    former = tmp_path / ".convae_latest.pt.former"
    for file in (path, former):
        checkpoint.save(file, EMPTY)
    (former if left == "target" else path).unlink() if left != "both" else None
    assert checkpoint.load(tmp_path, "vae")["epoch"] == 1
    assert names(tmp_path) == ["convae_latest.pt"]


def test_folder_is_free_when_main_has_ended(tmp_path):
    """In a notebook the process goes on, and another one may resume the run."""
    assert train("vae", tmp_path, ONE_EPOCH) == 0
    lock = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'a'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    done = subprocess.run(
        [sys.executable, "-c", lock, tmp_path / "vae/.lock"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


# Files that another program holds, as on Windows


def held(name: str, tries: float):
    """Return an os.replace that another program blocks so many times for a file of that name."""
    left = iter(range(int(min(tries, 1e6))))
    return fail_with(
        errno.EACCES, lambda _, target: Path(target).name == name and next(left, None) is not None, os.replace
    )


def test_table_that_is_open_elsewhere_is_written_later(tmp_path, capsys, monkeypatch):
    assert train("vae", tmp_path, ONE_EPOCH) == 0
    monkeypatch.setattr(os, "replace", held("metrics.csv", 1))
    assert train("vae", tmp_path, "--resume") == 0
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("note: ") and "metrics.csv can't be written" in said
    assert len((tmp_path / "vae/metrics.csv").read_text().splitlines()) == 3


def test_checkpoint_that_is_held_for_a_moment_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", held("convae_latest.pt", 3))
    assert train("vae", tmp_path) == 0
    assert checkpoint.load(tmp_path / "vae", "vae")["epoch"] == 2


def test_checkpoint_that_is_held_for_long_ends_the_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(files, "PATIENCE", 0.3)
    monkeypatch.setattr(os, "replace", held("convae_latest.pt", float("inf")))
    assert train("vae", tmp_path) == 1
    assert "convae_latest.pt can't be written: Permission denied" in capsys.readouterr().err


def test_checkpoint_that_may_not_be_read_is_not_called_damaged(trained, monkeypatch):
    monkeypatch.setattr(Path, "read_bytes", fail_with(errno.EACCES))
    monkeypatch.setattr(checkpoint, "PATIENCE", 0)
    with pytest.raises(UsageError, match="can't be read: Permission denied"):
        checkpoint.load(trained.checkpoint("vae"), "vae")


# Paths as they are typed


def test_wildcards_that_the_shell_left_are_expanded(trained, tmp_path, monkeypatch, capsys):
    for name in ("vae_1", "vae_2"):
        shutil.copytree(trained.folder / "vae", tmp_path / name)
    (tmp_path / "._vae_1").write_bytes(b"\0\5\26\7")
    monkeypatch.chdir(tmp_path)
    assert explain.parse_args(["kl", "vae_*"]).checkpoints == [Path("vae_1"), Path("vae_2")]
    assert sample.parse_args(["vae_1/convae_l*.pt"]).checkpoint == Path("vae_1/convae_latest.pt")
    for parse, argv, said in (
        (explain.parse_args, ["walk", "vae_*"], "one checkpoint, got 2"),
        (sample.parse_args, ["vae_*"], "vae_* matches 2 paths"),
    ):
        with pytest.raises(SystemExit):
            parse(argv)
        assert said in capsys.readouterr().err


def test_wildcard_in_a_flag_names_one_path(trained, tmp_path):
    assert (
        train("latent_diffusion", tmp_path, ONE_EPOCH, f"--vae-ckpt={trained.folder}/v?e/convae_l*.pt") == 0
    )


def test_name_with_a_bracket_is_no_wildcard(trained, tmp_path):
    folder = tmp_path / "run [1]"
    shutil.copytree(trained.folder / "vae", folder)
    assert sample.parse_args([str(folder)]).checkpoint == folder


TILDES = [
    ("vae", "--out-dir"),
    ("vae", "--output_dir"),
    ("vae", "--data-dir"),
    ("latent_diffusion", "--vae-ckpt"),
    ("tiny_sd", "--clip_ckpt"),
    ("tiny_sd", "--vae-ckpt"),
]


@pytest.mark.parametrize(("stage", "flag"), TILDES)
def test_tilde_is_expanded_in_every_path(stage, flag, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    module = __import__(f"train_{stage}")
    name = flag[2:].replace("-", "_").replace("output", "out")
    assert getattr(module.parse_args([f"{flag}=~/x"]), name) == tmp_path / "x"
    assert train(stage, tmp_path, f"{flag}=~nobody-of-that-name/x") == 2
    assert train(stage, tmp_path, f"{flag}=") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 2 and "there is no such home folder" in said and "must be a path" in said


@pytest.mark.parametrize(
    "argv",
    [
        ("sample", "~/x"),
        ("sample", "vae", "--out=~/x.png"),
        ("evaluate", "vae", "--cache-dir=~/x"),
        ("explain", "walk", "~/x"),
        ("explain", "walk", "vae", "--data-dir=~/x"),
        ("gallery", "~/x"),
    ],
)
def test_tilde_is_expanded_in_the_tools(argv, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    args = {"sample": sample, "evaluate": evaluate, "explain": explain, "gallery": gallery}[
        argv[0]
    ].parse_args(list(argv[1:]))
    assert str(tmp_path / "x") in str(vars(args)) and "~" not in str(vars(args))


# Numbers of other types, precision


@pytest.mark.parametrize(
    "number", [np.float64(0.5), np.float32(0.5), torch.tensor(0.5), np.int64(3), np.bool_(1)]
)
def test_number_of_another_type_in_a_metric_is_converted(tmp_path, monkeypatch, number):
    monkeypatch.setattr("train_clip.accuracy", lambda *_: number)
    monkeypatch.setattr("builtins.print", lambda *_, **__: None)
    assert train("clip", tmp_path, ONE_EPOCH) == 0
    metrics = checkpoint.load(tmp_path / "clip", "clip")["metrics"]
    assert metrics[0]["val_accuracy"] == number.item()


@pytest.mark.parametrize(
    ("value", "kind"), [(np.float64(1), "numpy.float64"), (Path("x"), "pathlib"), ({1}, "builtins.set")]
)
def test_what_could_not_be_read_again_is_not_saved(tmp_path, value, kind):
    path = tmp_path / "x.pt"
    checkpoint.save(path, EMPTY)
    with pytest.raises(RunError, match=rf"args\.x is a {kind}"):
        checkpoint.save(path, EMPTY | {"args": {"x": value}})
    assert checkpoint.load(path, "vae")["epoch"] == 1


def test_other_precision_of_a_resumed_run_is_named(tmp_path, capsys, monkeypatch):
    assert train("vae", tmp_path, ONE_EPOCH, "--precision=fp32") == 0
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert train("vae", tmp_path, "--resume", "--precision=bf16") == 2
    assert "--precision bf16 (was --precision fp32)" in capsys.readouterr().err
    assert train("vae", tmp_path, "--resume") == 0
    assert "note: the run was trained in fp32, and continues here in bf16" in capsys.readouterr().err


def test_width_of_clip_is_read_from_its_checkpoint(tmp_path, capsys):
    assert train("clip", tmp_path, "--embed-dim=24") == 0
    assert train("tiny_sd", tmp_path, ONE_EPOCH) == 0
    assert train("tiny_sd", tmp_path, "--resume", "--embed-dim=24") == 0
    capsys.readouterr()
    for flags in ([], ["--resume"]):
        assert train("tiny_sd", tmp_path, "--embed-dim=128", *flags) == 2
        assert "--embed-dim 128" in (said := capsys.readouterr().err) and "has 24" in said


def test_what_takes_minutes_is_written_to_a_place_that_was_tried(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "train_classifier", None)
    (tmp_path / "file").write_text("")
    argv = [str(trained.checkpoint("vae")), "--n=100", f"--cache-dir={tmp_path / 'file'}"]
    assert evaluate.main(argv) == 2
    assert "can't be written" in capsys.readouterr().err


# Pythons, and how a script is started


def test_old_python_is_told_in_one_line():
    """Simulated: CI has no Python that is too old."""
    pretend = "import sys; sys.version_info = (3, 9, 18); import HW3"
    done = subprocess.run([sys.executable, "-c", pretend], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr == "error: Python 3.10 or newer is needed, this is 3.9\n"


@pytest.mark.parametrize("tool", ["sample", "evaluate", "explain", "gallery"])
def test_tool_can_be_run_as_a_file(tool, tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / f"HW3/{tool}.py"), "--no-such-flag"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stderr.startswith(f"python -m HW3.{tool}: ")


@pytest.mark.parametrize(
    ("start", "guarded"),
    [
        (["script.py"], True),
        (["-m", "script"], True),
        (["-c", "import script"], False),
        (["-i", "script.py"], False),
    ],
)
def test_signals_are_answered_from_the_first_import_on(tmp_path, start, guarded):
    """And only where the script is all that the process runs."""
    lines = ("import signal", "from HW3.support import process", "print(signal.getsignal(signal.SIGTERM))")
    (tmp_path / "script.py").write_text("\n".join(lines))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *start],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL),
    )
    assert ("_end_at_once" in done.stdout) == guarded, done.stdout + done.stderr


def test_main_of_an_imported_script_reads_no_command_line(monkeypatch):
    """In a notebook it is that of the kernel."""
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "kernel.json"])
    seen = []
    process.exit_codes(lambda argv: seen.append(argv))()
    process.exit_codes(lambda argv: seen.append(argv))(["--epochs", "3"])
    assert seen == [[], ["--epochs", "3"]]


def test_wrong_flag_ends_no_session(capsys):
    assert gallery.main(["--no-such-flag"]) == 2 and gallery.main(["--help"]) == 0
    assert capsys.readouterr().err.startswith("python -m HW3.gallery: ")


def test_arguments_of_main_may_be_numbers_and_paths(tmp_path):
    words = [int(word) if word.isdecimal() else word for word in ("--epochs", "1", "--limit-batches", "1")]
    assert train_vae.main(["--dataset=synthetic", "--out-dir", tmp_path / "vae", *words]) == 0


@pytest.mark.parametrize("method", sorted(set(multiprocessing.get_all_start_methods()) - {"fork"}))
def test_workers_are_started_in_any_way(tmp_path, method):
    """Windows and macOS spawn processes, and Python 3.14 has a server fork them."""
    words = command("vae", tmp_path, ONE_EPOCH, "--num-workers=1", "--limit-batches=1", "--no-save-recon")
    start = (
        f"import multiprocessing, runpy, sys; multiprocessing.set_start_method({method!r}); "
        'del sys.argv[0]; runpy.run_path(sys.argv[0], run_name="__main__")'
    )
    done = subprocess.run([sys.executable, "-c", start, *words[1:]], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_text_is_read_and_written_in_utf8_whatever_the_system_prefers():
    """An EncodingWarning marks each place that would use the code page of a Windows machine."""
    argv = [
        sys.executable,
        "-X",
        "warn_default_encoding",
        "-W",
        "error::EncodingWarning",
        "-m",
        "HW3.gallery",
    ]
    done = subprocess.run([*argv, "nowhere"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "EncodingWarning" not in done.stderr
