"""Time an epoch of every stage by its parts, in the scripts themselves, and project the whole homework.

    python -m tests.benchmarks.epochs --data-dir data                # the real thing, a quarter of an hour
    python -m tests.benchmarks.epochs --data-dir data --limit-batches 50    # an estimate in a few minutes

Each script runs for two epochs in a process of its own; the second is reported. If it is limited, what is
done for each batch counts as often as in a whole epoch. A part's seconds do not contain those of another part
within it: a grid's PNG counts as saving, not as drawing. Forward is what remains; on a GPU, which replays a
step as a whole, that is the step. The training step of a textbook UNet is timed before and after, because
machines differ, and change.
"""

import importlib
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import torch
from torch.utils.data.dataloader import _BaseDataLoaderIter

from HW3.diffusion import DiffusionConfig
from HW3.ema import EMA
from HW3.optim import Muon
from HW3.support import flags, grids, runtime
from HW3.support.run import Run
from HW3.support.stages import STAGES
from tests.benchmarks.usual import UsualUNet

OPTIMIZERS = {"diffusion": Muon, "clip": torch.optim.AdamW, "tiny_sd": Muon}  # Adam where not named
PER_BATCH = ("data", "forward", "backward", "optimizer", "EMA")
PARTS = (*PER_BATCH, "evaluation", "drawing", "saving")


class Stopwatch:
    """Sum up the wall and processor seconds spent in functions, each without those called within it."""

    def __init__(self) -> None:
        self.parts = defaultdict(lambda: [0.0, 0.0])
        self.first: dict[str, float] = {}  # when a part was first done
        self.current, self.since = "forward", self._now()

    def time(self, part: str, owner: object, name: str) -> None:
        """Replace a function of an object by one that is timed."""
        function = getattr(owner, name)

        def timed(*args, **kwargs):
            outer = self._switch(part)
            try:
                return function(*args, **kwargs)
            finally:
                self._switch(outer)
                self.first.setdefault(part, time.time())

        setattr(owner, name, timed)

    def _switch(self, part: str) -> str:
        now = self._now()
        for kind in range(2):
            self.parts[self.current][kind] += now[kind] - self.since[kind]
        former, self.current, self.since = self.current, part, now
        return former

    @staticmethod
    def _now() -> tuple[float, float]:
        if torch.cuda.is_available() and not torch.cuda.is_current_stream_capturing():
            torch.cuda.synchronize()
        return time.perf_counter(), time.process_time()

    def lap(self) -> dict[str, list[float]]:
        """Return the seconds since the last lap."""
        self._switch(self.current)
        parts = {name: list(seconds) for name, seconds in self.parts.items()}
        self.parts.clear()
        return parts


def run_stage(stage: str, started: float, report: Path, argv: list[str]) -> None:
    """Run a training script under the stopwatch and write what it showed."""
    script = importlib.import_module(f"train_{stage}")
    watch, laps = Stopwatch(), []
    watch.time("data", _BaseDataLoaderIter, "__next__")
    watch.time("backward", torch.Tensor, "backward")
    watch.time("optimizer", OPTIMIZERS.get(stage, torch.optim.Adam), "step")
    watch.time("EMA", EMA, "update")
    for part, name in (
        ("evaluation", "evaluate"),
        ("evaluation", "accuracy"),
        ("drawing", "draw_grids"),
        ("drawing", "draw_class_grid"),
    ):
        if hasattr(script, name):
            watch.time(part, script, name)
    for module in (script, grids):
        if hasattr(module, "save_grid"):
            watch.time("saving", module, "save_grid")
    watch.time("saving", Run, "finish_epoch")
    finish_epoch = Run.finish_epoch

    def lap(*args, **options) -> None:
        finish_epoch(*args, **options)
        laps.append(watch.lap())

    Run.finish_epoch = lap
    shares = []
    get_loaders = script.get_mnist_dataloaders

    def note_share(*args, **options):
        loaders = get_loaders(*args, **options)
        whole = math.ceil(len(loaders[0].dataset) / loaders[0].sampler.batch_size)
        shares.append(len(loaders[0]) / whole)
        return loaders

    script.get_mnist_dataloaders = note_share
    code = script.main(argv)
    if code:
        sys.exit(code)
    memory = largest_memory()
    start = watch.first["EMA"] - started  # the first training step is done
    parts = {
        name: [value / shares[0] if name in PER_BATCH else value for value in seconds]
        for name, seconds in laps[-1].items()
    }
    report.write_text(json.dumps({"parts": parts, "start": start, "memory": memory}), encoding="utf-8")


def largest_memory() -> float:
    """Return the most memory that this process has had, in GiB; the system counts KiB, on macOS bytes."""
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def usual_step(device: str) -> float:
    """Return the median seconds of a training step of the textbook UNet, in fp32."""
    from tests.benchmarks import speed  # here, for the processes of the stages have no need of it

    device = runtime.pick_device(device)
    loss_of = speed.denoising(torch.randn(speed.BATCH, 1, 32, 32, device=device), DiffusionConfig())
    fp32 = runtime.autocast(device, "fp32")
    step = speed.training_step(UsualUNet().to(device), loss_of, fp32, speed.adam_usual, usual=True)
    return speed.medians({"usual": step}, 3, speed.synchronizer(device))["usual"]


def in_a_process(call: str) -> str:
    """Return what a call in this module prints in a process of its own, whose memory is its own, too."""
    code = f"from tests.benchmarks.epochs import *; {call}"
    return subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True).stdout


def parse_args(argv=None):
    parser = flags.Parser(__doc__)
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument(
        "--limit-batches", type=flags.integer(1), help="batches of an epoch that are timed; default: all"
    )
    return parser.parse_args(argv)


def main(argv=None) -> None:
    args = parse_args(argv)
    time_usual = f"print(usual_step({args.device!r}))"
    total = 0.0
    usual = [float(in_a_process(time_usual))]
    parts = "".join(f"{part:>11}" for part in PARTS)
    print(f"{'seconds':22}{'start':>6}{parts}{'epoch':>8}{'GiB':>6}{'epochs':>8}{'minutes':>9}")
    with tempfile.TemporaryDirectory() as tmp:
        folder = Path(tmp)
        shared = ["--epochs=2", f"--data-dir={args.data_dir}", f"--dataset={args.dataset}"]
        shared += [f"--device={args.device}", f"--precision={args.precision}"]
        if args.limit_batches:
            shared.append(f"--limit-batches={args.limit_batches}")
        for stage, this in STAGES.items():
            defaults = importlib.import_module(f"train_{stage}").parse_args([])
            report = folder / f"{stage}.json"
            stage_flags = [*shared, f"--out-dir={folder / stage}"]
            if "sample_every" in defaults:
                stage_flags.append("--sample-every=2")  # the first epoch is not reported
            if this.needs:
                stage_flags.append(f"{this.needs_flag}={folder / this.needs / STAGES[this.needs].latest}")
            in_a_process(f"run_stage({stage!r}, {time.time()}, Path({str(report)!r}), {stage_flags})")
            result = json.loads(report.read_text())
            wall, cpu = ([result["parts"].get(part, (0, 0))[kind] for part in PARTS] for kind in range(2))
            minutes = (result["start"] + defaults.epochs * sum(wall)) / 60
            total += minutes
            print(f"{stage:17}{'wall':5}{result['start']:6.1f}{columns(wall)}", end="")
            print(f"{result['memory']:6.2f}{defaults.epochs:8}{minutes:9.1f}")
            print(f"{'':17}{'CPU':5}{'':6}{columns(cpu)}", flush=True)
    usual.append(float(in_a_process(time_usual)))
    print(f"A training step of the textbook UNet: {usual[0]:.2f} s before, {usual[1]:.2f} s after")
    print(f"The whole homework at its default epochs: {total:.0f} minutes", end="")
    print(f", as long as {total * 60 / statistics.mean(usual):.0f} such steps")


def columns(seconds: list[float]) -> str:
    """Return the seconds of all parts and their sum, as columns."""
    return "".join(f"{value:11.2f}" for value in seconds) + f"{sum(seconds):8.1f}"


if __name__ == "__main__":
    sys.exit(main())
