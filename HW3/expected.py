"""What to expect: the figures of the runs shown in README.md, for a run to compare its own with.

Measured on MNIST with seed 42; README.md's table "What to expect" shows the same numbers.
"""

from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from HW3 import checkpoint


@dataclass(frozen=True)
class Figure:
    """A column of metrics.csv, and what README.md's run of the stage reached.

    Args:
        name: of the column.
        reached: its value after some epochs.
        tolerance: a relative difference that is called as expected.
        more_is_better: as for an accuracy.
        earlier: flags of the stage that it builds on, where they move the figure.
    """

    name: str
    reached: dict[int, float]
    tolerance: float = 0.03
    more_is_better: bool = False
    earlier: dict[str, object] = field(default_factory=dict)


VAE_FLAGS = {
    "dataset": "mnist",
    "epochs": 40,
    "batch_size": 128,
    "lr": 2e-4,
    "limit_batches": None,
    "latent_dim": 100,
    "kl_weight": 0.5,
    "loss_type": "mse",
}
FIGURES = {
    "vae": Figure("val_rec", {1: 28.3, 5: 14.9, 40: 9.8}),
    "diffusion": Figure("loss", {1: 0.0365, 5: 0.0173, 20: 0.0162}),
    "latent_diffusion": Figure("loss", {1: 0.139, 5: 0.109, 40: 0.092}, earlier=VAE_FLAGS),
    "clip": Figure("val_accuracy", {1: 0.9893, 5: 0.9942, 10: 0.9940}, 0.003, more_is_better=True),
    "tiny_sd": Figure("loss", {1: 0.0322, 5: 0.0176, 40: 0.0164}, earlier={"embed_dim": 128}),
}
COMPARABLE = checkpoint.FREE_FLAGS | {"seed", "precision"}  # flags that may differ
FROM_EARLIER = {"latent_dim", "embed_dim"}  # read from the earlier stage, and only checked where given


def compare(
    stage: str, metrics: list[dict], args: Namespace, usual: Namespace, earlier: dict[str, Any] | None = None
) -> str:
    """Return the line in which a run says how its figure compares with that of README.md's run.

    Args:
        stage: key of FIGURES.
        metrics: a row per completed epoch.
        args: the flags of the run.
        usual: the flags of README.md's run.
        earlier: the flags of the run of the stage that it builds on.
    """
    figure = FIGURES[stage]
    other = [
        checkpoint.flag(name, value)
        for name, value in vars(usual).items()
        if name not in COMPARABLE
        and not (value is None and name in FROM_EARLIER)
        and differ(value, getattr(args, name))
    ]
    if other:
        return f"Not comparable with README.md's run, which had {', '.join(other)}"
    other = [checkpoint.flag(*item) for item in figure.earlier.items() if item not in (earlier or {}).items()]
    if other:
        return f"Not comparable with README.md's run, whose earlier stage had {', '.join(other)}"
    epoch, value = metrics[-1]["epoch"], metrics[-1][figure.name]
    past = ", ".join(f"{reached:g} after {n}" for n, reached in figure.reached.items())
    line = f"{figure.name} {value:.4g} after epoch {epoch}; README.md's run had {past}"
    if epoch not in figure.reached:
        return line
    gain = (value / figure.reached[epoch] - 1) * (1 if figure.more_is_better else -1)
    verdict = "as expected" if abs(gain) <= figure.tolerance else "better" if gain > 0 else "worse"
    return f"{line}: {verdict}"


def differ(a: object, b: object) -> bool:
    """Tell whether two values of a flag differ; where an earlier stage's checkpoint lies does not matter."""
    return not (isinstance(a, Path) and isinstance(b, Path)) and a != b
