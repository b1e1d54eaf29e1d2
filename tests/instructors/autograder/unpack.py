"""Read what was handed in, into memory: nothing of it is trusted, followed, extracted or run here."""

import os
import stat
import zipfile
from contextlib import suppress
from pathlib import Path, PurePosixPath

WANTED = {".py": 200_000, ".ipynb": 5_000_000, ".zip": 300_000_000}  # bytes that such a file may have
MAX_ENTRIES, MAX_DEPTH = 20_000, 20
MAX_TOTAL = {".py": 20_000_000, ".ipynb": 20_000_000, ".zip": 600_000_000}  # bytes of all such files
SKIPPED = {"__MACOSX", "__pycache__", "node_modules", "site-packages", "venv", "env"}


class Contents:
    """The files of a submission.

    Attributes:
        files: bytes by path; a zip counts as a folder of its name.
        names: what lies at the top, for messages.
        notes: lines about what was left out.
    """

    def __init__(self) -> None:
        self.files: dict[PurePosixPath, bytes] = {}
        self.names: list[str] = []
        self.notes: list[str] = []
        self._entries = 0
        self._left = dict(MAX_TOTAL)

    def count(self) -> bool:
        """Count an entry; tell whether there may be another one."""
        self._entries += 1
        if self._entries == MAX_ENTRIES:
            self.notes.append(f"There are more than {MAX_ENTRIES} files; the others were not looked at.")
        return self._entries < MAX_ENTRIES

    def accepts(self, path: PurePosixPath, size: int) -> bool:
        """Tell whether a file is to be read, by its kind's limits for one and for all; note it if not."""
        kind = path.suffix.lower()
        if size > WANTED[kind]:
            self.notes.append(f"{path} was left out: it is larger than {WANTED[kind]:,} bytes.")
            return False
        self._left[kind] -= size
        if self._left[kind] < 0:
            self.notes.append(f"{path} was left out: there is too much.")
        return self._left[kind] >= 0


def is_wanted(path: PurePosixPath) -> bool:
    """Tell whether a path is that of code, and not of another program's folder."""
    hidden = any(name in SKIPPED or name.startswith(".") for name in path.parts)
    return path.suffix.lower() in WANTED and not hidden and len(path.parts) <= MAX_DEPTH


def read(submission: Path) -> Contents:
    """Read a folder, or a zip."""
    contents = Contents()
    if submission.is_file():
        contents.names.append(submission.name)
        _read_file(contents, submission, PurePosixPath(submission.name))
        return contents
    folders = [(submission, PurePosixPath())]
    while folders:
        folder, place = folders.pop(0)
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                path = place / entry.name
                if len(path.parts) == 1:
                    contents.names.append(entry.name[:100])
                if not contents.count():
                    return contents
                if entry.is_dir(follow_symlinks=False):
                    if len(path.parts) < MAX_DEPTH and entry.name not in SKIPPED:
                        folders.append((Path(entry.path), path))
                elif is_wanted(path):
                    _read_file(contents, Path(entry.path), path)
    return contents


def _read_file(contents: Contents, source: Path, path: PurePosixPath) -> None:
    """Read a regular file, without following a link or waiting for a pipe."""
    try:
        fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        contents.notes.append(f"{path} was left out: it is a link, or can't be read.")
        return
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            contents.notes.append(f"{path} was left out: it is no ordinary file.")
        elif contents.accepts(path, status.st_size):
            if path.suffix.lower() == ".zip":
                _read_zip(contents, file, path)
            else:
                contents.files[path] = file.read(status.st_size)


def _read_zip(contents: Contents, file, place: PurePosixPath) -> None:
    """Read the code in a zip; no more of a file is unpacked than the size that the zip claims."""
    if _entries_of_zip(file) > MAX_ENTRIES:
        contents.notes.append(f"{place} was left out: it has more than {MAX_ENTRIES} files, or is no zip.")
        return
    try:
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                path = place.with_suffix("") / info.filename.replace("\\", "/").lstrip("/")
                is_link = stat.S_ISLNK(info.external_attr >> 16)
                if not contents.count():
                    return
                if (
                    info.is_dir()
                    or is_link
                    or ".." in path.parts
                    or not is_wanted(path)
                    or path.suffix.lower() == ".zip"
                ):
                    continue
                if contents.accepts(path, info.file_size):
                    with archive.open(info) as member:
                        contents.files[path] = member.read(info.file_size)
    except Exception as error:  # a zip that is broken, or needs a password, raises errors of many kinds
        contents.notes.append(f"{place} can't be read: {str(error)[:200]}")


def _entries_of_zip(file) -> int:
    """Return how many files a zip has by its last record, before zipfile makes an object for each."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 2**16 - 22))
    record = file.read().rpartition(b"PK\5\6")[2]
    file.seek(0)
    directory = int.from_bytes(record[8:12], "little")  # its size in bytes; 46 or more for each file
    return (
        max(int.from_bytes(record[6:8], "little"), directory // 300) if len(record) >= 18 else MAX_ENTRIES + 1
    )
