"""Files as they are on other people's machines: hidden, held by another program, on lesser file systems.

Systems and editors leave files of their own beside ours (`._NAME`, `.DS_Store`, `~$NAME`, `NAME~`). On
Windows a file that another program has open can be neither replaced nor renamed. Some file systems of
clusters and clouds have no locks, no flush to disk, or no renaming over a file that is there.
"""

import errno
import functools
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from HW3.support.process import RunError, UsageError

PATIENCE = 5.0  # seconds for which a file that another program holds is tried again
NOT_OFFERED = {getattr(errno, name) for name in ("ENOSYS", "EOPNOTSUPP", "ENOTSUP", "ENOLCK", "EINVAL")}


@functools.cache
def note_once(text: str) -> None:
    """Print a note to stderr, the first time."""
    print(f"note: {text}", file=sys.stderr)


def expand(path: str | os.PathLike) -> Path:
    """Return a path whose leading `~` or `~user` has become that home folder.

    Raises:
        UsageError: if there is no such user, or the path is empty.
    """
    if not os.fspath(path):
        raise UsageError("must be a path, got ''")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{path}: there is no such home folder") from error


def visible(folder: Path, pattern: str = "*") -> list[Path]:
    """Return what matches in a folder, sorted, without what systems and editors leave there."""
    found = sorted(folder.glob(pattern))
    return [path for path in found if not path.name.startswith((".", "~", "#")) and path.name[-1] != "~"]


def prepare_file(path: Path) -> None:
    """Make the folder of a file that will be written later, and try to write there now.

    Raises:
        UsageError: if that is not possible.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}."):
            pass
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}") from error


def write_whole(path: Path, content: bytes, *, patience: float | None = None) -> None:
    """Write a file so that nobody ever sees half of it: beside its place, flushed to disk, then renamed.

    Args:
        path: the file.
        content: all of it.
        patience: seconds to wait for another program that holds the file; PATIENCE when None.

    Raises:
        RunError: if it can't be written; the previous file is left as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            flush_to_disk(file.fileno())
        replace(temporary, path, PATIENCE if patience is None else patience)
    except OSError as error:
        raise RunError(
            f"{path} can't be written: {error.strerror}; the previous version is unharmed"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def flush_to_disk(descriptor: int) -> None:
    """Flush an open file to disk, where the file system offers that."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NOT_OFFERED:
            raise
        note_once(
            f"this file system can't flush to disk ({error.strerror}): a power cut may cost a checkpoint"
        )


def replace(source: Path, target: Path, patience: float) -> None:
    """Rename source to target, over a file that may be there; without such renaming, in two steps."""
    try:
        return patiently(patience, os.replace, source, target)
    except OSError as error:
        if error.errno not in NOT_OFFERED | {errno.EEXIST}:
            raise
        note_once(f"this file system can't rename over a file ({error.strerror}): it is done in two steps")
    recover(target)
    former = _former(target)
    os.rename(target, former)
    try:
        os.rename(source, target)
    finally:
        recover(target)  # on Ctrl-C, too


def recover(target: Path) -> None:
    """Undo or complete a renaming in two steps that was interrupted: the previous file gets its name back."""
    former = _former(target)
    if former.is_file():
        if target.exists():
            former.unlink()
        else:
            os.rename(former, target)


def _former(target: Path) -> Path:
    return target.with_name(f".{target.name}.former")


def patiently(patience: float, call: Callable, *args):
    """Call, and try again for some seconds where another program holds the file (a PermissionError)."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return call(*args)
        except PermissionError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.1)
