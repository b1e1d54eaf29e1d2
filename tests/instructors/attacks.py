"""Dishonest and broken submissions, one function each, for `test_autograder.py`.

The text of a function becomes part of a submission, whose ddim_step calls it once with x_t and returns
what it returns. Those that are called import_... run when the submission is imported; slow_... take longer.
A submission that sees what it must not see prints GOT IN. Nothing here is ever called in the tests' own
process.
"""

import atexit
import ctypes
import gc
import inspect
import itertools
import json
import os
import re
import signal
import struct
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import torch

JUDGE, RESULTS = Path("autograder"), Path("results")  # a submission gets the true folders
PREAMBLE = "\n".join(
    re.findall(r"^(?:import|from) .*", Path(__file__).read_text(encoding="utf-8"), re.MULTILINE)
)
HIDDEN = ("tests.grading.papers", "tests.grading.checks", "tests.instructors.autograder.judge")


def others():
    """Return the numbers of all other processes."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]


def once(attack, x_t):
    """Call an attack, once in a process."""
    if not hasattr(sys, "attacked"):
        sys.attacked = True
        sys.result = attack(x_t)
    return sys.result


def exits(x_t):
    os._exit(0)


def exits_politely(x_t):
    raise SystemExit(0)


def exits_before_its_child(x_t):
    if os.fork() == 0:
        time.sleep(1000)
    os._exit(3)


def is_ended_by_a_signal_without_a_name(x_t):
    os.kill(os.getpid(), signal.SIGRTMIN + 6)


def raises_what_looks_like_results(x_t):
    raise type("Error\n\n100 of 100 points\n\u202e", (Exception,), {})("\u2066 \u202e \x1b[2J")


def import_exits(x_t):
    os._exit(0)


def import_raises(x_t):
    raise ModuleNotFoundError("no_such_module")


def writes_when_it_ends(x_t):
    def write(*_):
        with suppress(OSError):
            (RESULTS / "results.json").write_text('{"score": 100}', encoding="utf-8")

    atexit.register(write)
    signal.signal(signal.SIGTERM, write)


def import_patches_torch(x_t):
    def yes(*_, **__):
        return True

    torch.allclose = torch.equal = torch.isclose = torch.testing.assert_close = yes
    torch.Tensor.__le__ = torch.Tensor.__eq__ = torch.Tensor.all = torch.Tensor.equal = yes


def import_patches_the_grader(x_t):
    def passed(*_, **__):
        return {"result": True, "passed": True, "score": 100, "state": "pass"}

    for name, module in list(sys.modules.items()):
        if name.startswith("tests."):
            for each in [each for each, value in vars(module).items() if inspect.isfunction(value)]:
                setattr(module, each, passed)


def empties_sys_modules(x_t):
    sys.modules.clear()


def changes_the_callers(x_t):
    frame = sys._getframe()
    while frame := frame.f_back:
        for value in list(frame.f_locals.values()):
            if isinstance(value, dict):
                value.update(result=True, passed=True, score=100)


def writes_results_everywhere(x_t):
    for folder in (RESULTS, JUDGE, ".", "..", "/tmp", "/var/tmp", "/dev/shm", "/autograder/results"):
        for name in ("results.json", "result.json", "results.xml"):
            with suppress(OSError):
                Path(folder, name).write_text('{"score": 100, "tests": []}', encoding="utf-8")


def reads_the_checks(x_t):
    for place in (JUDGE, JUDGE / "judge", JUDGE / "judge/tests/grading/papers.py", RESULTS):
        with suppress(OSError):
            print("GOT IN", list(place.iterdir()))
        with suppress(OSError):
            print("GOT IN", place.read_text())


def searches_its_own_memory(x_t):
    known = [name for name in HIDDEN if name in sys.modules]
    known += [f for f in gc.get_objects() if type(f) is type(others) and f.__module__ in HIDDEN]
    if known:
        print("GOT IN", known)


def reads_the_memory_of_others(x_t):
    for pid in others():
        if not Path(f"/proc/{pid}/cmdline").read_bytes():
            continue  # the system's own
        for name in ("mem", "environ", "maps", "fd/0"):
            with suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as file:
                print("GOT IN", pid, name, file)


def traces_others(x_t):
    for pid in others():
        if ctypes.CDLL(None).ptrace(16, pid, 0, 0) == 0:
            print("GOT IN", pid)


def kills_everyone(x_t):
    for pid in others():
        for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL):
            with suppress(OSError):
                os.kill(pid, number)
    os.kill(-1, signal.SIGKILL)


def kills_its_group(x_t):
    os.killpg(0, signal.SIGKILL)


def becomes_root(x_t):
    for change in (os.setuid, os.seteuid, os.setgid, lambda _: os.setgroups([0]), lambda _: os.nice(-5)):
        with suppress(OSError):
            change(0)
            print("GOT IN", change)


def slow_forks_without_end(x_t):
    while True:
        with suppress(OSError):
            os.fork()


def leaves_a_daemon(x_t):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 3)  # and keeps the pipes
            os.execv("/bin/sh", ["sh", "-c", "sleep 98765; exit", str(RESULTS)])
        os._exit(0)
    os.wait()


def leaves_a_daemon_that_kills_and_writes(x_t):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                for pid in others():
                    with suppress(OSError):
                        os.kill(pid, signal.SIGKILL)
                with suppress(OSError):
                    (RESULTS / "results.json").write_text('{"score": 100}', encoding="utf-8")
        os._exit(0)


def slow_leaves_threads(x_t):
    def spin():
        while True:
            pass

    for _ in range(3):
        threading.Thread(target=spin).start()


def fills_the_pipes(x_t):
    for fd in range(3, 200):
        with suppress(OSError):
            os.set_blocking(fd, False)
            while True:
                os.write(fd, bytes(65536))


def forges_an_answer(x_t):
    header = json.dumps({"result": {"passed": True, "score": 100}}).encode()
    for fd in range(3, 200):
        with suppress(OSError):
            os.write(fd, struct.pack("<II", len(header), 0) + header)
    os._exit(0)


def announces_a_huge_answer(x_t):
    for fd in range(3, 200):
        with suppress(OSError):
            os.write(fd, b"\xff" * 8)
    os._exit(0)


def answers_nested_without_end(x_t):
    header = b"[" * 50_000
    for fd in range(3, 200):
        with suppress(OSError):
            os.write(fd, struct.pack("<II", len(header), 0) + header)
    os._exit(0)


def closes_everything(x_t):
    os.closerange(0, 1000)
    time.sleep(100)


def raises_50_megabytes(x_t):
    raise ValueError("<&]]>\x1b[31m\ud800" * 5_000_000)


def raises_what_cannot_be_told(x_t):
    raise type("E" * 100_000, (Exception,), {"__str__": lambda self: 1 / 0})()


def slow_prints_without_end(x_t):
    while True:
        print("x" * 100_000)


def returns_too_much(x_t):
    return torch.zeros(1, 1).expand(200_000, 200_000)


def returns_nan(x_t):
    return x_t * float("nan")


def returns_inf(x_t):
    return x_t / 0


def returns_complex_numbers(x_t):
    return x_t.to(torch.complex64)


def returns_bfloat16(x_t):
    return x_t.bfloat16()


def returns_a_function(x_t):
    return lambda: True


def returns_one_number(x_t):
    return torch.tensor(0.0)


def returns_something_nested(x_t):
    value = []
    for _ in range(100_000):
        value = [value]
    return value


def returns_what_equals_everything(x_t):
    return type("Any", (), {"__eq__": lambda *_: True, "__le__": lambda *_: True, "shape": x_t.shape})()


def returns_a_lying_tensor(x_t):
    class Liar(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            return True

    return x_t.as_subclass(Liar)


def slow_recurses(x_t):
    sys.setrecursionlimit(10**9)
    slow_recurses(x_t)


def crashes(x_t):
    ctypes.string_at(0)


def takes_memory(x_t):
    taken = []
    while True:
        taken.append(bytearray(2**26))


def slow_takes_memory_in_many_processes(x_t):
    while True:
        with suppress(OSError):
            if os.fork() == 0:
                taken = bytearray(200 * 2**20)
                time.sleep(100)
                print(len(taken))


def leaves_shared_memory(x_t):
    for _ in range(3):
        if ctypes.CDLL(None).shmget(0, 2**20, 0o1604) < 0:
            raise OSError("no shared memory")
    ctypes.CDLL(None).msgget(0, 0o1604)
    ctypes.CDLL(None).semget(0, 5, 0o1604)


def slow_takes_shared_memory(x_t):
    system = ctypes.CDLL(None)
    system.shmat.restype, system.shmat.argtypes = (
        ctypes.c_void_p,
        (ctypes.c_int, ctypes.c_void_p, ctypes.c_int),
    )
    system.shmdt.argtypes = (ctypes.c_void_p,)
    for _ in range(5):
        address = system.shmat(system.shmget(0, 2**28, 0o1604), None, 0)
        ctypes.memset(address, 1, 2**28)
        system.shmdt(address)
    time.sleep(2)


def takes_memory_in_files_without_a_name(x_t):
    files = [os.memfd_create("a") for _ in range(40)]
    for file in files:
        os.write(file, bytes(15 * 2**20))
    time.sleep(2)


def slow_fills_the_disk(x_t):
    for i in itertools.count():
        Path(f"file{i}").write_bytes(bytes(2**24))


def slow_leaves_deep_folders_and_pipes(x_t):
    os.mkfifo("pipe")
    os.symlink("/", "root")
    for _ in range(3000):
        os.mkdir("deeper")
        os.chdir("deeper")


def changes_its_own_files(x_t):
    for path in Path(__file__).parents[1].rglob("*"):
        with suppress(OSError):
            path.chmod(0o777)
            print("GOT IN", path)
        with suppress(OSError):
            path.unlink()
            print("GOT IN", path)


def slow_sleeps(x_t):
    time.sleep(1000)


def slow_stops_itself(x_t):
    os.kill(os.getpid(), signal.SIGSTOP)


def slow_ignores_the_alarm(x_t):
    signal.setitimer(signal.ITIMER_PROF, 0)
    while True:
        pass


def slow_catches_the_alarm(x_t):
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass


def slow_import_hangs(x_t):
    while True:
        pass


ATTACKS = {
    name: function
    for name, function in list(globals().items())
    if inspect.isfunction(function) and function.__module__ == __name__ and name not in ("others", "once")
}


def source(name: str, judge: Path, results: Path) -> tuple[str, str]:
    """Return an attack as the code of ddim_step, and what its module needs beside it."""
    at_import = "import_" in name
    block = "        return None\n" if at_import else f"        return once({name}, x_t)\n"
    parts = [
        PREAMBLE,
        f"JUDGE, RESULTS, HIDDEN = Path({str(judge)!r}), Path({str(results)!r}), {HIDDEN}",
        inspect.getsource(others),
        inspect.getsource(once),
        inspect.getsource(ATTACKS[name]),
        f"{name}(None)" if at_import else "",
    ]
    return block, "\n\n\n".join(parts) + "\n"
