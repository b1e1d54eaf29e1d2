"""The bookkeeping of a training run, before, between and after its epochs."""

import os
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from HW3 import gallery
from HW3.ema import EMA
from HW3.support import checkpoint, reference, runtime
from HW3.support.files import note_once
from HW3.support.run_folder import open_run_folder, write_metrics
from HW3.support.stages import STAGES, open_exercises


class Run:
    """A training run: its folder, and the metrics of its completed epochs.

    With `--resume` its state is loaded into model, EMA and optimizer; otherwise an earlier run in the folder
    moves aside.

    Args:
        stage: name of the stage.
        args: the flags.
        model, ema, optimizer: what is trained.
        rebuild: what rebuilds the model from a checkpoint, for `HW3.support.restore`.
        saved: the checkpoint to resume, if the script has read it already.

    Attributes:
        folder, latest, best: paths of the run's folder and of its two checkpoints.
        metrics: a dict per completed epoch, the rows of metrics.csv.
    """

    def __init__(
        self,
        stage: str,
        args: Namespace,
        model: nn.Module,
        ema: EMA,
        optimizer: torch.optim.Optimizer,
        rebuild: dict[str, Any],
        saved: dict[str, Any] | None = None,
    ) -> None:
        self.stage, self.args, self.rebuild = STAGES[stage], args, rebuild
        self.model, self.ema, self.optimizer = model, ema, optimizer
        saved = saved or checkpoint.load_resumed(stage, args)
        self.metrics = checkpoint.restore_training(saved, model, ema, optimizer) if saved else []
        self.folder = open_run_folder(args.out_dir, stage, self.metrics, checkpoint.plain_flags(args))
        self.latest = self.folder / self.stage.latest
        self.best = self.folder / self.stage.best

    def announce(self, device: torch.device, autocast: torch.autocast, loader: DataLoader) -> None:
        """Print the line that a run begins with: device, precision, data set, parameters, epochs to do."""
        done, epochs = len(self.metrics), self.args.epochs
        if done >= epochs:
            print(f"Nothing left to do: {done} of {epochs} epochs are done; --epochs N asks for more")
            return
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        with autocast:
            precision = "bf16" if torch.is_autocast_enabled(device.type) else "fp32"
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        print(
            f"{name}, {precision}, {torch.get_num_threads()} threads | {self.args.dataset}, "
            f"{len(loader.dataset):,} images, {len(loader)} steps an epoch | {parameters:,} parameters | "
            f"epochs {done + 1} to {epochs}",
            flush=True,
        )
        for exercise in open_exercises():
            note_once(f"not written yet, and this run may need it: {exercise}")

    @property
    def epochs_left(self) -> range:
        """The numbers of the epochs to train, from 1 if none is completed."""
        return range(len(self.metrics) + 1, self.args.epochs + 1)

    def draws_after(self, epoch: int) -> bool:
        """Tell whether --sample-every asks for grids after an epoch; after the last one it always does."""
        return epoch % self.args.sample_every == 0 or epoch == self.args.epochs

    def start_epoch(self, epoch: int, loader: DataLoader, *losses: str) -> runtime.Losses:
        """Derive all randomness of an epoch from its number, start the clock, and return where losses go."""
        self.start = time.perf_counter()
        runtime.seed_epoch(self.args.seed, epoch)
        loader.sampler.set_epoch(epoch)
        return runtime.Losses(epoch, self.args.epochs, self.latest, *losses)

    def finish_epoch(
        self, metrics: dict[str, float], *, look_at: Path | None = None, is_best: bool = False
    ) -> None:
        """Save the checkpoint, write metrics.csv, print the line of the epoch and refresh the page.

        Args:
            metrics: of the epoch.
            look_at: the picture to name in the line.
            is_best: write the second checkpoint, too.
        """
        epoch = len(self.metrics) + 1
        metrics = {name: checkpoint.plain_number(value) for name, value in metrics.items()}
        seconds = round(time.perf_counter() - self.start, 1)
        self.metrics.append({"epoch": epoch, **metrics, "seconds": seconds})
        state = {
            "stage": self.stage.name,
            **self.rebuild,
            **checkpoint.training_state(self.model, self.ema, self.optimizer, self.args, self.metrics),
        }
        if is_best:
            checkpoint.save(self.best, state)
        checkpoint.save(self.latest, state)
        write_metrics(self.folder, self.metrics)
        numbers = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        where = f"  {look_at}" if look_at else ""
        print(f"epoch {epoch}/{self.args.epochs}  {numbers}  {seconds} s{where}", flush=True)
        gallery.refresh(self.folder)

    def finish(self, standard: Namespace, earlier: dict[str, Any] | None = None) -> None:
        """Compare the run with the reference run, and print where its checkpoints are and what comes next.

        Args:
            standard: the flags of the reference run.
            earlier: the flags of the run of the stage that this one builds on.
        """
        print(reference.compare(self.stage.name, self.metrics, self.args, standard, earlier))
        files = [str(path) for path in (self.latest, self.best) if path.exists()]
        print(f"Done: {', '.join(files)}. Next: {', '.join(self._next_commands())}")

    def _next_commands(self) -> list[str]:
        """Return the commands of the next stage and of those that build on this one, on the same data set."""
        root, this = Path(os.path.abspath(self.folder)).parent, self.stage
        me = {"name": self.folder.name, "dataset": self.args.dataset}
        commands = [
            gallery.command(stage, root, me if stage.needs == this.name else None, self.args.dataset)
            for stage in STAGES.values()
            if stage.number == this.number + 1 or stage.needs == this.name
        ]
        prompt = " --prompt 31415" if "class_embeddings" in self.rebuild else ""
        return commands or [f"python -m HW3.sample {self.latest}{prompt}"]
