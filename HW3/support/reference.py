"""Reference runs: what the metrics of the runs shown in README.md reached, for a run to compare its own with.

Measured on MNIST with seed 42; README.md shows the same numbers under each stage.
"""

from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from HW3.support import checkpoint


@dataclass(frozen=True)
class Reference:
    """A column of metrics.csv, and what it reached in the reference run of a stage.

    Args:
        name: of the column.
        reached: its value after some epochs.
        tolerance: a relative difference that is called as expected.
        more_is_better: as for an accuracy.
        earlier: flags of the stage that it builds on, where they move the metric.
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
REFERENCES = {
    "vae": Reference("val_rec", {1: 28.3, 5: 14.9, 40: 9.8}),
    "diffusion": Reference("loss", {1: 0.0365, 5: 0.0173, 20: 0.0162}),
    "latent_diffusion": Reference("loss", {1: 0.139, 5: 0.109, 40: 0.092}, earlier=VAE_FLAGS),
    "clip": Reference("val_accuracy", {1: 0.9887, 5: 0.9938, 10: 0.9938}, 0.003, more_is_better=True),
    "tiny_sd": Reference("loss", {1: 0.0321, 5: 0.0176, 40: 0.0165}, earlier={"embed_dim": 128}),
}
COMPARABLE = checkpoint.FREE_FLAGS | {"seed", "precision"}  # flags that may differ
FROM_EARLIER = {"latent_dim", "embed_dim"}  # read from the earlier stage, and only checked where given


def compare(
    stage: str,
    metrics: list[dict],
    args: Namespace,
    standard: Namespace,
    earlier: dict[str, Any] | None = None,
) -> str:
    """Return the line in which a run compares its metric with the reference run.

    Args:
        stage: key of REFERENCES.
        metrics: a row per completed epoch.
        args: the flags of the run.
        standard: the flags of the reference run.
        earlier: the flags of the run of the stage that it builds on.
    """
    reference = REFERENCES.get(stage)
    if reference is None:
        return "There is no reference run of this stage to compare with"
    other = [
        checkpoint.flag(name, value)
        for name, value in vars(standard).items()
        if name not in COMPARABLE
        and not (value is None and name in FROM_EARLIER)
        and differ(value, getattr(args, name))
    ]
    if other:
        return f"Not comparable with the reference run, which had {', '.join(other)}"
    other = [
        checkpoint.flag(*item) for item in reference.earlier.items() if item not in (earlier or {}).items()
    ]
    if other:
        return f"Not comparable with the reference run, whose earlier stage had {', '.join(other)}"
    epoch, value = metrics[-1]["epoch"], metrics[-1][reference.name]
    past = ", ".join(f"{reached:g} after {n}" for n, reached in reference.reached.items())
    line = f"{reference.name} {value:.4g} after epoch {epoch}; the reference run had {past}"
    if epoch not in reference.reached:
        return line
    gain = (value / reference.reached[epoch] - 1) * (1 if reference.more_is_better else -1)
    verdict = "as expected" if abs(gain) <= reference.tolerance else "better" if gain > 0 else "worse"
    return f"{line}: {verdict}"


def differ(a: object, b: object) -> bool:
    """Tell whether two values of a flag differ; where an earlier stage's checkpoint lies does not matter."""
    return not (isinstance(a, Path) and isinstance(b, Path)) and a != b
