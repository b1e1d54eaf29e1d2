"""Compare candidates for the noise predictor by the quality of their digits after equal minutes of training.

    python -m tests.benchmarks.trials --data-dir data                     # all, a few minutes each
    python -m tests.benchmarks.trials --data-dir data lean usual          # these two
    python -m tests.benchmarks.trials --data-dir data lean usual --epochs 4     # at equal epochs instead

The seconds of a training step are measured first, the candidates taking turns; each is then trained for as
many steps as fit into the minutes. So a machine that slows down in between changes nothing. One row per
candidate goes to result/trials/trials.csv, and its digits beside it. Who won: tests/benchmarks/README.md.
"""

import argparse
import csv
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from HW3 import evaluate
from HW3.data import all_examples, get_mnist_dataloaders, to_signed, to_unit
from HW3.diffusion import DiffusionConfig, GaussianDiffusion
from HW3.ema import EMA
from HW3.optim import Muon, width_scaled
from HW3.support import flags, runtime
from HW3.support.files import prepare_file
from HW3.support.grids import save_grid
from tests.benchmarks.trial_unet import TrialUNet
from tests.benchmarks.usual import UsualUNet

BATCH = 128
LR = 1e-4
DIGITS = 2000
DDIM_STEPS = 50


@dataclass(frozen=True)
class Candidate:
    """A network and how it is trained.

    Args:
        network: makes it.
        options: arguments of the network.
        muon: train by Muon, not by Adam.
        reference, cap: of `width_scaled`, for Adam; None trains all layers at LR.
        decays: of the EMAs that are judged; 0 stands for the weights as they are.
    """

    network: Callable[..., nn.Module] = TrialUNet
    options: dict[str, Any] = field(default_factory=dict)
    muon: bool = False
    reference: int | None = 2304
    cap: float = 10.0
    decays: tuple[float, ...] = (0.999,)


CANDIDATES = {
    "usual": Candidate(UsualUNet, reference=None, decays=(0.0, 0.999)),
    "lean": Candidate(decays=(0.99, 0.999)),
    "one lr": Candidate(reference=None),
    "reference 4608, cap 20": Candidate(reference=4608, cap=20),
    "reference 9216, cap 20": Candidate(reference=9216, cap=20),
    "add": Candidate(options={"join": "add"}),
    "24 channels": Candidate(options={"base": 24}),
    "coarse blocks": Candidate(options={"blocks": (1, 1, 2, 3)}),
    "fine blocks": Candidate(options={"blocks": (2, 2, 1, 1)}),
    "fine blocks, 4608": Candidate(options={"blocks": (2, 2, 1, 1)}, reference=4608),
    "fine blocks, 4608, 20": Candidate(options={"blocks": (2, 2, 1, 1)}, reference=4608, cap=20),
    "two blocks": Candidate(options={"blocks": (2, 2, 2, 2)}),
    "unshuffle": Candidate(options={"patch": 2, "base": 64, "mults": (1, 2, 2), "blocks": (1, 1, 1)}),
    "fine blocks, Muon, angle": Candidate(options={"blocks": (2, 2, 1, 1), "passing": "angle"}, muon=True),
}


class Run:
    """The training of a candidate, step by step."""

    def __init__(self, candidate: Candidate, device: torch.device) -> None:
        torch.manual_seed(0)
        self.model = candidate.network(**candidate.options).to(device)
        self.diffusion = GaussianDiffusion(self.model, DiffusionConfig(clip_x0=True)).to(device)
        if candidate.muon:
            self.optimizer = Muon(self.model.parameters(), LR)
        else:
            groups = [{"params": list(self.model.parameters()), "lr": LR}]
            if candidate.reference is not None:
                groups = width_scaled(self.model, LR, candidate.reference, candidate.cap)
            self.optimizer = torch.optim.Adam(groups, fused=True)
        self.emas = {decay: EMA(self.model, decay) for decay in candidate.decays}
        self.autocast = runtime.autocast(device, "auto")

    def step(self, x: torch.Tensor) -> torch.Tensor:
        with self.autocast:
            loss = self.diffusion.training_loss(to_signed(x))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        for ema in self.emas.values():
            ema.update(self.model)
        return loss.detach()


def seconds_per_step(names: list[str], x: torch.Tensor, rounds: int) -> dict[str, float]:
    """Return the median seconds of a training step of each candidate; they take turns."""
    runs = {name: Run(CANDIDATES[name], x.device) for name in names}
    seconds = {name: [] for name in names}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run.step(x).item()  # waits for a GPU
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def train(run: Run, loader: DataLoader, milestones: list[int]) -> Iterator[float]:
    """Train step by step; after each of the milestones, numbers of steps, yield the mean recent loss."""
    losses, epoch = [], 0
    while True:
        epoch += 1
        runtime.seed_epoch(0, epoch)
        loader.sampler.set_epoch(epoch)
        run.model.train()
        for x, _ in loader:
            losses.append(run.step(x.to(run.diffusion.betas.device)))
            if len(losses) in milestones:
                yield torch.stack(losses[-400:]).mean().item()
            if len(losses) == max(milestones):
                return


def draw(run: Run, decay: float) -> torch.Tensor:
    """Draw DIGITS digits, the same start noise for every candidate."""
    model = run.emas[decay].model
    sampler = GaussianDiffusion(model, run.diffusion.config).to(run.diffusion.betas.device)
    generator = runtime.seeded_generator(0, "trials")
    parts = []
    with run.autocast:
        for _ in range(DIGITS // 250):
            parts.append(sampler.sample_ddim(250, sampler.betas.device, DDIM_STEPS, generator=generator))
    return to_unit(torch.cat(parts))


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CANDIDATES))
    parser.add_argument("--minutes", type=float, default=3, help="of training each (default: 3)")
    parser.add_argument("--epochs", type=int, nargs="+", help="judge after so many epochs, instead")
    parser.add_argument("--data-dir", type=flags.path, default=Path("data"))
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--out-dir", type=flags.path, default=Path("result/trials"))
    parser.add_argument(
        "--cache-dir", type=flags.path, default=Path("result/evaluate"), help="of the classifier"
    )
    parser.add_argument("--device", default="auto")
    args = parser.parse_args(argv)
    unknown = set(args.names) - set(CANDIDATES)
    if unknown:
        parser.error(f"no candidate is called {', '.join(sorted(unknown))}")
    return args


def main(argv=None) -> None:
    args = parse_args(argv)
    names = args.names or list(CANDIDATES)
    device = runtime.pick_device(args.device)
    loader, _, test_loader = get_mnist_dataloaders(args.data_dir, BATCH, dataset=args.dataset, device=device)
    train_images, _ = all_examples(loader)
    test_images, _ = all_examples(test_loader)
    classifier = evaluate.load_classifier(args.cache_dir, args.dataset, loader, device)
    test = evaluate.judge(classifier, test_images)
    prepare_file(args.out_dir / "trials.csv")

    step_seconds = seconds_per_step(names, next(iter(loader))[0].to(device), rounds=8)
    for name in names:
        run = Run(CANDIDATES[name], device)
        milestones = [round(args.minutes * 60 / step_seconds[name])]
        if args.epochs:
            milestones = sorted(len(loader) * epochs for epochs in args.epochs)
        for steps, loss in zip(milestones, train(run, loader, milestones), strict=True):
            for decay in run.emas:
                images = draw(run, decay)
                judged = evaluate.judge(classifier, images)
                metrics = evaluate.image_metrics((images, *judged), test, train_images)
                row = {
                    "candidate": name,
                    "EMA": decay,
                    "parameters": sum(parameter.numel() for parameter in run.model.parameters()),
                    "ms a step": round(step_seconds[name] * 1e3, 1),
                    "steps": steps,
                    "minutes": round(steps * step_seconds[name] / 60, 2),
                    "loss": round(loss, 5),
                    **{key: round(value, 4) for key, value in metrics.items()},
                }
                save_grid(images[:64], args.out_dir / f"{name} EMA {decay} {steps}.png")
                append(args.out_dir / "trials.csv", row)
                print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)


def append(path: Path, row: dict[str, Any]) -> None:
    """Add a row to a CSV file."""
    with open(path, "a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, row)
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    sys.exit(main())
