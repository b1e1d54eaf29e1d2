"""In Jupyter, with a real kernel: `%run`, `main([...])`, the interrupt button, and signals given back."""

import time
from contextlib import suppress

import pytest
from jupyter_client.manager import start_new_kernel

from tests.conftest import ROOT, flags

HANDLERS = "[signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)]"
FOREVER = "print('waiting', flush=True)\nimport time\nwhile True: time.sleep(0.01)"


class Kernel:
    """A Jupyter kernel in the repository's folder.

    Args:
        manager, client: of jupyter_client.
    """

    def __init__(self, manager, client) -> None:
        self.manager, self.client = manager, client

    def run(self, code: str, *, interrupt_after: str | None = None, timeout: int = 120) -> dict[str, str]:
        """Run a cell; return its "stdout", "stderr" and the name of its "error", if any.

        Args:
            code: of the cell.
            interrupt_after: press the interrupt button as soon as the cell has printed this.
            timeout: seconds after which no reply is a TimeoutError.
        """
        seen = {"stdout": "", "stderr": "", "error": ""}
        pressed = 0.0

        def output(message) -> None:
            nonlocal pressed
            content = message["content"]
            if message["msg_type"] == "stream":
                seen[content["name"]] += content["text"]
            if message["msg_type"] == "error":
                seen["error"] = content["ename"]
            # Python may lose an interrupt, in a __del__; a person would press again.
            if interrupt_after and interrupt_after in seen["stdout"] and time.monotonic() > pressed + 5:
                pressed = time.monotonic()
                self.manager.interrupt_kernel()

        self.client.execute_interactive(code, timeout=timeout, output_hook=output)
        return seen

    def value(self, expression: str) -> str:
        """Return what an expression is, as text."""
        return self.run(f"print({expression})")["stdout"].strip()


@pytest.fixture(scope="module")
def kernel():
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(ROOT), startup_timeout=120)
    kernel = Kernel(manager, client)
    # As in a terminal: whoever runs the tests may ignore some signals.
    kernel.run("import signal\nfor s in (signal.SIGTERM, signal.SIGHUP): signal.signal(s, signal.SIG_DFL)")
    kernel.run(f"import signal\nhandlers = {HANDLERS}")
    yield kernel
    client.stop_channels()
    manager.shutdown_kernel(now=True)


@pytest.fixture(autouse=True)
def signals_are_given_back(kernel):
    yield
    assert kernel.value(f"handlers == {HANDLERS}") == "True"
    interrupted = kernel.run(FOREVER, interrupt_after="waiting")
    assert interrupted["error"] == "KeyboardInterrupt"
    assert kernel.value("1 + 1") == "2"  # it is alive


def words(tmp_path, *more: str) -> list[str]:
    return [*flags("vae", tmp_path), *more]


def test_run_magic_trains_and_shows_progress(kernel, tmp_path):
    seen = kernel.run(f"%run train_vae.py {' '.join(words(tmp_path))}")
    assert seen["error"] == "" and "Done: " in seen["stdout"]
    assert "epoch 1/2:" in seen["stderr"] and "images/s" in seen["stderr"]
    assert (tmp_path / "vae/convae_latest.pt").exists()


def test_run_magic_with_a_wrong_flag(kernel):
    seen = kernel.run("%run train_vae.py --epochs 0")
    assert "train_vae.py: argument --epochs: must be an integer" in seen["stderr"]
    assert seen["error"] in ("", "SystemExit")


def test_run_magic_of_a_tool(kernel):
    assert "does not exist" in kernel.run("%run -m HW3.sample no_such_run")["stderr"]
    assert "does not exist" in kernel.run("%run HW3/sample.py no_such_run")["stderr"]


def test_main_returns_the_exit_code(kernel, tmp_path):
    kernel.run("import train_vae")
    assert kernel.value(f"train_vae.main({words(tmp_path)})").splitlines()[-1] == "0"
    for wrong in (["--epochs", "0"], ["--resume", f"--out-dir={tmp_path / 'none'}"]):
        assert kernel.value(f"train_vae.main({wrong})") == "2"


def test_main_without_arguments_does_not_read_those_of_the_kernel(kernel, tmp_path):
    """It takes the defaults: here CLIP of a folder that is nowhere."""
    kernel.run(f"import os, train_tiny_sd; os.makedirs({str(tmp_path)!r}, exist_ok=True)")
    seen = kernel.run(
        f"here = os.getcwd(); os.chdir({str(tmp_path)!r})\nprint(train_tiny_sd.main())\nos.chdir(here)"
    )
    assert seen["stdout"].strip() == "2" and "result/clip/clip_latest.pt does not exist" in seen["stderr"]


@pytest.mark.parametrize(
    "way", ["%run train_vae.py {shell}", "import train_vae\nprint(train_vae.main({list}))"]
)
def test_interrupt_button_ends_the_training_and_not_the_kernel(kernel, tmp_path, way):
    arguments = words(tmp_path, "--epochs=100000")
    seen = kernel.run(way.format(shell=" ".join(arguments), list=arguments), interrupt_after="epoch 2/")
    assert "interrupted; --resume continues the training" in seen["stderr"]
    assert seen["error"] in ("", "SystemExit")
    assert seen["stdout"].strip().endswith("130") or way.startswith("%run")


def test_interrupts_in_quick_succession_do_not_end_the_kernel(kernel, tmp_path):
    arguments = words(tmp_path, "--epochs=100000")
    press = kernel.manager.interrupt_kernel

    def press_thrice() -> None:
        for _ in range(3):
            press()
            time.sleep(0.02)

    kernel.manager.interrupt_kernel = press_thrice
    cell = f"import train_vae\ntrain_vae.main({arguments})"
    try:
        # A kernel that is interrupted while it sends its reply loses it, whatever ran in it.
        with suppress(TimeoutError):
            kernel.run(cell, interrupt_after="epoch 2/", timeout=40)
    finally:
        kernel.manager.interrupt_kernel = press
    assert kernel.manager.is_alive() and kernel.value("1 + 1") == "2"
