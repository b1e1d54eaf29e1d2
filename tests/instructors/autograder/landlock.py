"""Linux's Landlock: a process gives up rights for good, without being root.

After `restrict`, a process and all that it starts can read little, write to one folder alone, open no TCP
connection, and neither trace nor signal a process outside. Version 6, which can do all of this, came with
Linux 6.12.
"""

import ctypes
import os
import struct
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # system calls
GET_VERSION, PATH_BENEATH = 1, 1
READ = 0b1101  # execute, read files, list folders
WRITE_FILE = 0b10
ALL_BY_VERSION = {1: 2**13 - 1, 2: 2**14 - 1, 3: 2**15 - 1, 4: 2**15 - 1}  # rights that there are; later: 16
ALL_NET, ALL_SCOPES = 0b11, 0b11
SCOPES = 6  # the version that keeps signals within


def version() -> int:
    """Return the version of Landlock that this system has, 0 for none."""
    return max(0, LIBC.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(GET_VERSION)))


def restrict(readable: list[Path], writable: Path) -> None:
    """Restrict this process, as far as this system can.

    Args:
        readable: files and folders to read; those that are not there are skipped.
        writable: the one folder to write to.
    """
    have = version()
    if have == 0:
        return
    everything = ALL_BY_VERSION.get(have, 2**16 - 1)
    rights = struct.pack("QQQ", everything, ALL_NET, ALL_SCOPES)[
        : 8 if have < 4 else 16 if have < SCOPES else 24
    ]
    ruleset = LIBC.syscall(CREATE_RULESET, rights, ctypes.c_size_t(len(rights)), ctypes.c_uint32(0))
    allow(ruleset, writable, everything)
    allow(ruleset, Path("/dev"), READ | WRITE_FILE)
    for path in readable:
        if os.path.exists(path):  # False, too, where this user may not look
            allow(ruleset, path, READ if path.is_dir() else READ & ~0b1000)
    if LIBC.syscall(RESTRICT_SELF, ruleset, ctypes.c_uint32(0)) != 0:
        raise OSError(ctypes.get_errno(), "Landlock")
    os.close(ruleset)


def allow(ruleset: int, path: Path, rights: int) -> None:
    """Allow a file, or all that is in a folder."""
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    rule = struct.pack("=Qi", rights, fd)
    if LIBC.syscall(ADD_RULE, ruleset, PATH_BENEATH, rule, ctypes.c_uint32(0)) != 0:
        raise OSError(ctypes.get_errno(), f"Landlock: {path}")
    os.close(fd)
