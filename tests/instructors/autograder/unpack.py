"""Read what was handed in, into memory: nothing of it is trusted, followed, extracted or run here."""

import os
import stat
import zipfile
from contextlib import suppress
from pathlib import Path, PurePosixPath

WANTED = {".py": 200_000, ".ipynb": 5_000_000, ".zip": 300_000_000}  # bytes that such a file may have
MAX_ENTRIES, MAX_DEPTH = 20_000, 20
MAX_TOTAL = 40_000_000  # bytes of all .py and .ipynb
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
        self._entries = self._bytes = 0

    def count(self) -> bool:
        """Count an entry; tell whether there may be another one."""
        self._entries += 1
        if self._entries == MAX_ENTRIES:
            self.notes.append(f"There are more than {MAX_ENTRIES} files; the others were not looked at.")
        return self._entries < MAX_ENTRIES

    def add(self, path: PurePosixPath, data: bytes) -> None:
        """Keep a file, unless there is too much already."""
        self._bytes += len(data)
        if self._bytes > MAX_TOTAL:
            self.notes.append(f"{path} was left out: there is too much.")
        else:
            self.files[path] = data

    def too_large(self, path: PurePosixPath, size: int) -> bool:
        """Tell whether a file is larger than one of its kind may be, and note it."""
        allowed = WANTED[path.suffix.lower()]
        if size > allowed:
            self.notes.append(f"{path} was left out: it is larger than {allowed:,} bytes.")
        return size > allowed


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
        elif not contents.too_large(path, status.st_size):
            if path.suffix.lower() == ".zip":
                _read_zip(contents, file, path)
            else:
                contents.add(path, file.read())


def _read_zip(contents: Contents, file, place: PurePosixPath) -> None:
    """Read the code in a zip; a size that it claims is not believed."""
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
                    or path.suffix == ".zip"
                ):
                    continue
                with archive.open(info) as member:
                    data = member.read(WANTED[path.suffix.lower()] + 1)
                if not contents.too_large(path, len(data)):
                    contents.add(path, data)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, ValueError, EOFError) as error:
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
