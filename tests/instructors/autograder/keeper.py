"""The process that starts and ends workers: it has torch loaded, and can end whatever a submission started.

It is forked from the grader before any check is imported, so that a worker, its fork, holds nothing worth
knowing, and starts at once. It runs with the grader's rights and never runs code of the submission. Where the
grader is root, each worker's processes belong to a user of their own and are found by that; otherwise by
their descent.
"""

import errno
import itertools
import os
import pwd
import secrets
import signal
import socket
import stat
import subprocess
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from tests.instructors.autograder import worker

PR_SET_CHILD_SUBREAPER, IPC_RMID = 36, 0
SHARED = ("/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/run/lock")  # where any user may write
MAX_FILES = 20_000  # files and folders that a submission may have
PATIENCE = 5  # seconds to end processes, or to delete files


def free_uid() -> int:
    """Return the number of a user who is not there and has no process, as is the next one, see `kill_as`."""
    taken = {entry.pw_uid for entry in pwd.getpwall()}
    while True:
        uid = 20_000 + secrets.randbelow(40_000)
        if not any(each in taken or processes(uid=each) for each in (uid, uid + 1)):
            return uid


def processes(*, uid: int | None = None, ancestor: int | None = None) -> set[int]:
    """Return the running processes of a user, or the descendants of a process."""
    parents, owners = {}, {}
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError, KeyError):  # some are no processes, some are gone by now
            pid = int(folder.name)
            lines = (folder / "status").read_text(encoding="ascii", errors="replace").splitlines()
            status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
            if status["State"][0] not in "ZX":
                parents[pid], owners[pid] = int(status["PPid"]), int(status["Uid"].split()[0])
    if uid is not None:
        return {pid for pid, owner in owners.items() if owner == uid}
    found = new = {ancestor}
    while new:
        new = {pid for pid, parent in parents.items() if parent in found} - found
        found = found | new
    return found - {ancestor}


def pages(pid: int) -> int:
    """Return how many pages of memory a process takes; 0 when it is gone."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return 0


def files_of(folder: Path, uid: int | None, pids: set[int]) -> tuple[int, int]:
    """Return how many files and folders a submission has, and their bytes on disk.

    Counted are its scratch folders, its files in places for all, and the deleted ones that it keeps open.
    Counting ends beyond MAX_FILES, and after half a second, so that it takes no longer than what it watches.

    Args:
        folder: the one with the scratch folders.
        uid, pids: of the submission's processes; uid is None if the grader is not root.
    """
    count, sizes, until = 0, {}, time.monotonic() + 0.5
    places = list(SHARED) if uid is not None else []
    places += [*(f"/proc/{pid}/fd" for pid in pids), *map(str, folder.glob("scratch*"))]
    while places and count <= MAX_FILES:
        place = places.pop()
        is_fds, is_shared = place.startswith("/proc/"), place in SHARED
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if count > MAX_FILES or time.monotonic() > until:
                        break
                    try:
                        status = entry.stat(follow_symlinks=is_fds)
                    except FileNotFoundError:
                        continue
                    if (is_fds and status.st_nlink) or (is_shared and status.st_uid != uid):
                        continue
                    sizes[status.st_dev, status.st_ino] = status.st_blocks * 512
                    count += not is_fds
                    if not is_fds and stat.S_ISDIR(status.st_mode):
                        places.append(entry.path)
        except OSError as error:  # most often: it is gone
            if error.errno == errno.ENAMETOOLONG:  # folders in folders, too deep to look into
                count = MAX_FILES + 1
    return count, sum(sizes.values())


def ipc(uid: int) -> list[tuple[str, int, int]]:
    """Return the System V objects that a user made, which outlive processes: kind, number, bytes."""
    found = []
    for kind, size in (("shm", "rss"), ("msg", "cbytes"), ("sem", "nsems")):
        with suppress(OSError):
            names, *rows = Path(f"/proc/sysvipc/{kind}").read_text(encoding="ascii").splitlines()
            for row in rows:
                columns = dict(zip(names.split(), row.split(), strict=False))
                if columns.get("cuid") == str(uid):  # who made it; its owner may be changed
                    found.append((kind, int(row.split()[1]), int(columns[size])))
    return found


def tasks(uid: int) -> int:
    """Return how many processes and threads a user has."""
    count = 0
    for pid in processes(uid=uid):
        with suppress(OSError):
            count += len(os.listdir(f"/proc/{pid}/task"))
    return count


def keep(control: socket.socket, folder: Path, uid: int | None) -> NoReturn:
    """Start a worker for each request that brings three descriptors, and end it with all others.

    Args:
        control: to the judge. When the judge closes it, or dies, everything is ended.
        folder: with box/, the submission; workers get scratch folders beside it.
        uid: of the workers, or None.
    """
    os.setsid()
    worker.prctl(PR_SET_CHILD_SUBREAPER, 1)  # what loses its parent becomes this process's child
    started = scratch = None
    try:
        for number in itertools.count():
            request, fds, *_ = socket.recv_fds(control, 16, 3)
            if request == b"start":
                scratch = folder / f"scratch{number}"  # a new one, should deleting the last one take too long
                with suppress(OSError):  # as when the disk is still full; the next part may find it empty
                    started = start(control, folder / "box", scratch, uid, fds)
                for fd in fds:
                    os.close(fd)
                reply = started or 0
            elif request:
                reply, started = end_all(uid, started), None
                clean(scratch, uid)
            else:
                break
            control.send(str(reply).encode())
    finally:
        end_all(uid, started)
        os._exit(0)


def start(control: socket.socket, box: Path, scratch: Path, uid: int | None, fds: list[int]) -> int:
    """Fork a worker with an empty scratch folder; return its number."""
    scratch.mkdir(mode=0o700)
    if uid is not None:
        os.chown(scratch, uid, uid)
    allowed = worker.TASKS + (0 if uid is not None else tasks(os.getuid()))
    pid = os.fork()
    if pid == 0:
        try:
            control.close()
            worker.run(box, scratch, uid, allowed, fds)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(70)
    return pid


def end_all(uid: int | None, started: int | None) -> int:
    """Kill the worker and everything that it left behind; return the worker's wait status."""
    status, until = 0, time.monotonic() + PATIENCE
    while True:
        with suppress(ChildProcessError):  # first, so that how the worker ended by itself is not lost
            while (reaped := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                status = reaped[1] if reaped[0] == started else status
        left = processes(ancestor=os.getpid()) if uid is None else processes(uid=uid)
        if not left or time.monotonic() > until:
            return status
        if uid is not None:
            kill_as(uid)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)


def kill_as(uid: int) -> None:
    """Kill all processes of a user at once, so that none is born meanwhile.

    The process that does it has the user's rights over others, but is another user's, the next one's: they
    can't stop or kill it.
    """
    child = os.fork()
    if child == 0:
        try:
            os.setresuid(uid + 1, uid, uid + 1)
            os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    until = time.monotonic() + 1
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.001)


def clean(scratch: Path | None, uid: int | None) -> None:
    """Delete what a submission wrote."""
    found = [scratch] if scratch else []
    for folder in SHARED if uid is not None else ():
        with suppress(OSError):
            found += [path for path in Path(folder).iterdir() if path.lstat().st_uid == uid]
    delete(*found)
    for kind, number, _ in ipc(uid) if uid is not None else ():
        if kind == "sem":
            worker.LIBC.semctl(number, 0, IPC_RMID)
        else:
            getattr(worker.LIBC, f"{kind}ctl")(number, IPC_RMID, None)


def delete(*paths: Path) -> None:
    """Delete files and folders of any depth, for which shutil has no patience."""
    if paths:
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(["rm", "-rf", "--", *paths], timeout=PATIENCE, check=False, capture_output=True)
