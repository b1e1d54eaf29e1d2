"""The judge's end of the sandbox: start a worker, ask it, end it with everything that it left behind."""

import os
import select
import signal
import socket
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from tests.grading.ask import StudentError
from tests.instructors.autograder import keeper, wire, worker
from tests.instructors.autograder.results import one_line

MAX_DISK = 2**28  # bytes of files
TICK = 0.2  # seconds between looks at the memory
MAX_PRINTED = 1000  # characters of what the submission prints that are kept
PAGE = os.sysconf("SC_PAGE_SIZE")  # bytes


class SandboxError(Exception):
    """The sandbox does not work on this machine, for reasons that are none of the submission's."""


class Sandbox:
    """A place where the code of a submission runs, part by part; one worker at a time.

    It must be made before any check is imported: workers are forks of the process that makes it.

    Args:
        files: the submission, text by path, such as HW3/vae.py.

    Raises:
        SandboxError: if a worker can't be started, or does not answer.
    """

    def __init__(self, files: dict[str, str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="submission-"))
        self.folder.chmod(0o755)
        self.box = self.folder / "box"
        for name, text in files.items():
            path = self.box / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
        self.uid = keeper.free_uid() if os.geteuid() == 0 else None
        if self.uid is None:  # then nobody but root may look into this process
            worker.prctl(worker.PR_SET_DUMPABLE, 0)
        worker.warm_up()
        self.control, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stdout.flush()
        sys.stderr.flush()
        self.keeper = os.fork()
        if self.keeper == 0:
            try:
                self.control.close()
                keeper.keep(other, self.folder, self.uid)
            finally:
                os._exit(70)
        other.close()
        self.control.settimeout(3 * keeper.PATIENCE)
        self.questions = self.answers = self.output = self.pidfd = None
        self.printed = b""
        try:
            self.start()
            self.ask(None, {}, time.monotonic() + 60)
        except StudentError as error:  # although nothing of the submission was imported yet
            printed = self.printed.decode(errors="replace")
            self.close()
            raise SandboxError(f"a worker can't be started: {error.message}\n{printed}") from None
        self.stop()

    def start(self) -> None:
        """Start a fresh worker.

        Raises:
            StudentError: if that is not possible, because of what the submission did before.
        """
        theirs_in, self.questions = os.pipe()
        self.answers, theirs_out = os.pipe()
        self.output, theirs_err = os.pipe()
        self.printed = b""
        theirs = [theirs_in, theirs_out, theirs_err]
        for fd in (self.questions, self.answers, self.output):
            os.set_blocking(fd, False)
        try:
            socket.send_fds(self.control, [b"start"], theirs)
            self.pid = int(self.control.recv(32))
        except (OSError, ValueError):
            self.pid = 0
        finally:
            for fd in theirs:
                os.close(fd)
        if not self.pid:
            raise StudentError(
                "Died", "no process can be started for the submission, after what it did before"
            )
        with suppress(OSError):  # then its end is noticed although others hold its pipes
            self.pidfd = os.pidfd_open(self.pid)

    def stop(self) -> int:
        """End the worker and all that it started; return the worker's wait status, 0 if it is not known."""
        for fd in (self.questions, self.answers, self.output, self.pidfd):
            if fd is not None:
                os.close(fd)
        self.questions = self.answers = self.output = self.pidfd = None
        try:
            self.control.send(b"stop")
            return int(self.control.recv(32))
        except (OSError, ValueError):
            return 0

    def close(self) -> None:
        """End everything and delete what the submission wrote."""
        self.control.close()
        until = time.monotonic() + 3 * keeper.PATIENCE
        while os.waitpid(self.keeper, os.WNOHANG) == (0, 0):
            if time.monotonic() > until:
                os.kill(self.keeper, signal.SIGKILL)
            time.sleep(0.01)
        keeper.delete(self.folder)

    def ask(self, probe: str | None, inputs: dict, until: float):
        """Return what a probe returns.

        Args:
            probe, inputs: its name and arguments.
            until: time.monotonic() at which the worker is given up.

        Raises:
            StudentError: if the submission's code fails, takes too long, or ends its process.
        """
        seconds = until - time.monotonic()
        question = {"probe": probe, "inputs": inputs, "seconds": max(1, int(seconds / 2))}
        try:
            reply = self._exchange(wire.encode(question), until)
        except wire.WireError as error:
            raise StudentError("Died", f"its process sent something that is no answer: {error}") from None
        if isinstance(reply, dict) and "result" in reply:
            return reply["result"]
        if not isinstance(reply, dict) or not isinstance(reply.get("message"), str):
            raise StudentError("Died", "its process sent something that is no answer")
        kind, file, line = reply.get("kind"), reply.get("file"), reply.get("line")
        known = isinstance(file, str) and isinstance(line, int)
        raise StudentError(
            one_line(kind, 100), reply["message"], *((one_line(file, 200), line) if known else ())
        )

    def _exchange(self, question: bytes, until: float):
        """Send a question and return the answer; take what is printed, and watch time and memory."""
        answer, needed, seen = bytearray(), wire.SIZES.size, time.monotonic()
        while True:
            now = time.monotonic()
            if now > until:
                raise StudentError("TimeLimit", "it was not done in time")
            if now - seen > TICK:
                seen = now
                self._watch()
            ready = [fd for fd in (self.answers, self.output, self.pidfd) if fd is not None]
            readable, writable, _ = select.select(ready, [self.questions] if question else [], [], TICK)
            if self.output in readable:
                self._take_output()
            if writable:
                with suppress(BlockingIOError):
                    try:
                        question = question[os.write(self.questions, question[: 2**16]) :]
                    except BrokenPipeError:
                        question = b""
            if self.answers in readable:
                piece = os.read(self.answers, min(2**16, needed - len(answer)))
                if not piece:
                    raise StudentError("Died", self._how_it_ended())
                answer += piece
            elif self.pidfd in readable:
                raise StudentError("Died", self._how_it_ended())
            if len(answer) == needed == wire.SIZES.size:
                header, body = wire.body_sizes(bytes(answer))
                needed += header + body
            if len(answer) == needed:
                return wire.decode(
                    bytes(answer[wire.SIZES.size :][:header]), bytes(answer[wire.SIZES.size + header :])
                )

    def _take_output(self) -> None:
        with suppress(BlockingIOError):
            piece = os.read(self.output, 2**16)
            self.printed += piece[: MAX_PRINTED - len(self.printed)]
            if not piece:
                os.close(self.output)
                self.output = None

    def _watch(self) -> None:
        """End a submission that takes too much with many processes or files; each alone has its own limit."""
        whose = {"ancestor": self.keeper} if self.uid is None else {"uid": self.uid}
        pids, shared = keeper.processes(**whose), keeper.pages(self.keeper)  # torch
        memory = sum(max(0, keeper.pages(pid) - shared) for pid in pids) * PAGE
        memory += sum(size for *_, size in keeper.ipc(self.uid)) if self.uid is not None else 0
        count, files = keeper.files_of(self.folder, self.uid, pids)
        if count > keeper.MAX_FILES:
            raise StudentError("MemoryError", f"it made more than {keeper.MAX_FILES} files and folders")
        for taken, allowed, what in ((memory, worker.MEMORY, "memory"), (files, MAX_DISK, "files")):
            if taken > allowed:
                raise StudentError("MemoryError", f"it took {taken >> 20} MB of {what}")

    def _how_it_ended(self) -> str:
        if self.pidfd is not None:
            select.select([self.pidfd], [], [], 0.5)  # a process closes its pipes before it is gone
        status = self.stop()
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
            return f"its process was ended by {name}" + {
                "SIGSEGV": ", as by an endless recursion or a wrong use of memory",
                "SIGKILL": ", perhaps because it took too much memory",
            }.get(name, "")
        return f"it ended its process, with exit code {os.waitstatus_to_exitcode(status)}"
