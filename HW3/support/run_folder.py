"""The folder of a run: made, locked, cleared of an earlier run; its metrics.csv and flags.json."""

import csv
import errno
import glob
import io
import itertools
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from HW3.support.process import RunError, UsageError, at_exit

from HW3.support.files import PATIENCE, note_once, patiently, visible, write_whole
from HW3.support.stages import STAGES

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt

    fcntl = None


def open_run_folder(
    out_dir: str | os.PathLike, stage: str, metrics: list[dict], flags: dict[str, Any]
) -> Path:
    """Make the folder of a run and lock it; unless a run there is resumed, it moves to a numbered folder.

    Args:
        out_dir: the folder.
        stage: name of the run's stage.
        metrics: rows of the run that is resumed; without any a new one begins.
        flags: of the run, for flags.json.

    Raises:
        UsageError: if the folder can't be made or written to, holds a run of another stage, or another
            process trains in it.
    """
    folder = Path(out_dir)
    prefix = STAGES[stage].prefix
    patterns = (f"{prefix}_latest.pt", f"{prefix}_best.pt", "*_epoch_[0-9]*.png", "metrics.csv", "flags.json")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        others = [each.latest for each in STAGES.values() if each.name != stage]
        for other in others:
            if (folder / other).exists():
                raise UsageError(f"the output folder {folder} holds another stage's {other}; choose another")
        _lock(folder)
        for leftover in (file for pattern in patterns for file in folder.glob(f".{pattern}.*.tmp")):
            if leftover.is_file():
                leftover.unlink()
        earlier = [file for pattern in patterns for file in visible(folder, pattern)]
        # A run that was ended in its first epoch left its flags alone.
        if not metrics and any(file.name != "flags.json" for file in earlier):
            print(f"Moved the earlier run in {folder} aside to {move_aside(folder, earlier)}")
        tempfile.TemporaryFile(dir=folder).close()  # better to fail now than after the first epoch
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        reason = f"{error.strerror}{place}"
        raise UsageError(f"the output folder {folder} can't be used: {reason}") from error
    write_whole(folder / "flags.json", json.dumps(flags, indent=1).encode())
    if metrics:
        write_metrics(folder, metrics)  # the run may have been killed between its checkpoint and this file
    return folder


# Earlier runs: vae.1, vae.2, ... beside vae, or within it where vae is a mount point


def _homes(folder: Path) -> tuple[Path, Path]:
    """Return where a folder's earlier runs may lie, without following a link: beside it, and within it."""
    whole = Path(os.path.abspath(folder))
    return whole.parent, whole


def earlier_runs(folder: Path) -> list[Path]:
    """Return the numbered folders to which earlier runs in a folder have moved aside."""
    beside, within = _homes(folder)
    pattern = f"{glob.escape(within.name)}.[0-9]*"
    return [path for home in (beside, within) for path in visible(home, pattern) if path.is_dir()]


# Another file system, or one that is read-only or full.
OTHER_FILE_SYSTEM = {errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT}


def move_aside(folder: Path, files: list[Path]) -> Path:
    """Move all files of a run, or none of them, to a new numbered folder, and return that.

    It is within the folder where it can't be beside it: a mount point is a file system of its own.

    Raises:
        OSError: if it is not possible; then everything is where it was.
    """
    beside, within = _homes(folder)
    try:
        return _move_to(beside, within.name, files)
    except OSError as error:
        if error.errno not in OTHER_FILE_SYSTEM:
            raise
    return _move_to(within, within.name, files)


def _move_to(home: Path, name: str, files: list[Path]) -> Path:
    numbered = (home / f"{name}.{n}" for n in itertools.count(1))
    aside = next(path for path in numbered if not os.path.lexists(path))
    aside.mkdir()
    done = False
    try:
        for file in files:
            patiently(PATIENCE, os.rename, file, aside / file.name)
        done = True
        return aside
    finally:
        if not done:  # on Ctrl-C, too
            for file in files:
                if os.path.lexists(aside / file.name):
                    os.rename(aside / file.name, file)
            with suppress(OSError):
                aside.rmdir()


def _lock(folder: Path) -> None:
    """Lock a run folder against other processes until the script ends, however it ends."""
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    at_exit.callback(os.close, descriptor)
    try:
        if fcntl:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError) as error:
        raise UsageError(f"another run is training in the output folder {folder}; choose another") from error
    except OSError as error:
        note_once(f"this file system has no locks ({error.strerror}); start no second run in {folder}")


def write_metrics(folder: Path, metrics: list[dict]) -> None:
    """Write metrics.csv anew, a row per epoch, so that a resumed run leaves no gap and no double.

    Where it can't be written, as while a spreadsheet on Windows has it open, the next epoch writes it.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=metrics[0], lineterminator="\n")
    writer.writeheader()
    for row in metrics:
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
    try:
        write_whole(folder / "metrics.csv", text.getvalue().encode(), patience=0)
    except RunError as error:
        note_once(f"{error}; the rows are in the checkpoint, the next epoch or --resume writes them")
