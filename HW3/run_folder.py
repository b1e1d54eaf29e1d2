"""The folder of a run: made, locked, cleared of an earlier run; and files in it that are written whole."""

import csv
import io
import itertools
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from HW3.exits import RunError, UsageError

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt

    fcntl = None


def open_run_folder(
    out_dir: str | os.PathLike, name: str, metrics: list[dict], flags: dict[str, Any]
) -> Path:
    """Make the folder of a run and lock it; unless a run there is resumed, it moves to a numbered folder.

    Args:
        out_dir: the folder.
        name: prefix of the checkpoints, `name_latest.pt` and `name_best.pt`.
        metrics: rows of the run that is resumed; without any a new one begins.
        flags: of the run, for flags.json.

    Raises:
        UsageError: if the folder can't be made or written to, holds a run of another stage, or another
            process trains in it.
    """
    folder = Path(out_dir)
    patterns = (f"{name}_latest.pt", f"{name}_best.pt", "*_epoch_[0-9]*.png", "metrics.csv", "flags.json")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        others = [file.name for file in folder.glob("*_latest.pt") if file.name != f"{name}_latest.pt"]
        if others:
            raise UsageError(f"the output folder {folder} holds another stage's {others[0]}; choose another")
        _lock(folder)
        for leftover in (file for pattern in patterns for file in folder.glob(f".{pattern}.*.tmp")):
            leftover.unlink()
        earlier = [file for pattern in patterns for file in sorted(folder.glob(pattern))]
        # A run that was ended in its first epoch left its flags alone.
        if not metrics and any(file.name != "flags.json" for file in earlier):
            numbered = (Path(f"{folder.resolve()}.{n}") for n in itertools.count(1))
            aside = next(path for path in numbered if not path.exists())
            aside.mkdir()
            for file in earlier:
                file.rename(aside / file.name)
            print(f"Moved the earlier run in {folder} aside to {aside}")
        tempfile.TemporaryFile(dir=folder).close()  # better to fail now than after the first epoch
    except OSError as error:
        reason = f"{error.strerror}: {error.filename}"
        raise UsageError(f"the output folder {folder} can't be used: {reason}") from error
    write_whole(folder / "flags.json", json.dumps(flags, indent=1).encode())
    if metrics:
        write_metrics(folder, metrics)  # the run may have been killed between its checkpoint and this file
    return folder


_lock_descriptor = -1  # open, and thereby locked, until the process ends or begins its next run


def _lock(folder: Path) -> None:
    """Lock a run folder against other processes; the system unlocks it when this one ends, even killed."""
    global _lock_descriptor
    if _lock_descriptor >= 0:
        os.close(_lock_descriptor)
    _lock_descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if fcntl:
            fcntl.lockf(_lock_descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            msvcrt.locking(_lock_descriptor, msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError) as error:
        raise UsageError(f"another run is training in the output folder {folder}; choose another") from error


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that nobody ever sees half of it: beside its place, flushed to disk, then renamed.

    Raises:
        RunError: if it can't be written; the former file is left as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise RunError(f"{path} can't be written: {error.strerror}; a former one is unharmed") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_metrics(folder: Path, metrics: list[dict]) -> None:
    """Write metrics.csv anew, a row per epoch, so that a resumed run leaves no gap and no double."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=metrics[0], lineterminator="\n")
    writer.writeheader()
    for row in metrics:
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
    write_whole(folder / "metrics.csv", text.getvalue().encode())
