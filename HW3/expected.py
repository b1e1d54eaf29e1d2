"""What to expect: the figures of the runs shown in README.md, for a run to compare its own with.

Measured on MNIST with seed 42; README.md's table "What to expect" shows the same numbers and the commands.
"""

from argparse import Namespace
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Figure:
    """A column of metrics.csv, and what README.md's run of the stage reached.

    Args:
        name: of the column.
        reached: its value after some epochs.
        tolerance: relative; other seeds and machines differ by less.
        flags: of that run; with other values a comparison says nothing.
        more_is_better: as for an accuracy.
    """

    name: str
    reached: dict[int, float]
    tolerance: float
    flags: dict[str, Any] = field(default_factory=dict)
    more_is_better: bool = False


FIGURES = {
    "vae": Figure("val_rec", {1: 28.3, 5: 14.9, 20: 10.8}, 0.03, {"kl_weight": 0.5, "loss_type": "mse"}),
    "diffusion": Figure("loss", {1: 0.0545, 5: 0.0207}, 0.03, {"timesteps": 1000}),
    "latent_diffusion": Figure("loss", {1: 0.290, 5: 0.277, 40: 0.272}, 0.03, {"timesteps": 1000}),
    "clip": Figure("val_accuracy", {1: 0.9895, 5: 0.9943, 10: 0.9945}, 0.003, {"val_split": 0.1}, True),
    "tiny_sd": Figure("loss", {1: 0.0510, 5: 0.0196, 10: 0.0182}, 0.03, {"timesteps": 1000}),
}
SHARED_FLAGS = {"dataset": "mnist", "limit_batches": None}


def compare(stage: str, metrics: list[dict], args: Namespace) -> str:
    """Return the line in which a run says how its figure compares with that of README.md's run.

    Args:
        stage: key of FIGURES.
        metrics: a row per completed epoch.
        args: the flags of the run.
    """
    figure = FIGURES[stage]
    flags = SHARED_FLAGS | figure.flags
    other = [
        (f"--{name.replace('_', '-')}", value)
        for name, value in flags.items()
        if getattr(args, name) != value
    ]
    if other:
        listed = ", ".join(f"no {flag}" if value is None else f"{flag} {value}" for flag, value in other)
        return f"Not comparable with README.md's run, which had {listed}"
    epoch, value = metrics[-1]["epoch"], metrics[-1][figure.name]
    past = ", ".join(f"{reached:g} after {n}" for n, reached in figure.reached.items())
    line = f"{figure.name} {value:.4g} after epoch {epoch}; README.md's run had {past}"
    if epoch not in figure.reached:
        return line
    gain = (value / figure.reached[epoch] - 1) * (1 if figure.more_is_better else -1)
    verdict = "as expected" if abs(gain) <= figure.tolerance else "better" if gain > 0 else "worse"
    return f"{line}: {verdict}"
