"""The five stages of the homework, in order. Whatever lists them reads this table."""

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Stage:
    """A stage: one script, and the checkpoints that it writes.

    Args:
        name: what its script, `train_NAME.py`, writes into its checkpoints as their "stage".
        title: what it trains.
        prefix: of its checkpoints, `PREFIX_latest.pt` and `PREFIX_best.pt`.
        flags: of the quickstart's command.
        needs: name of the stage that it builds on, or "".
        needs_flag: the flag that names that stage's checkpoint, or "".
        draws: whether its models draw digits.
        content: what its checkpoints hold besides what all of them do.
    """

    name: str
    title: str
    prefix: str
    flags: str = ""
    needs: str = ""
    needs_flag: str = ""
    draws: bool = True
    content: tuple[str, ...] = ()

    @property
    def number(self) -> int:
        """The place of the stage in the homework, from 1."""
        return list(STAGES).index(self.name) + 1

    @property
    def latest(self) -> str:
        """The name of the checkpoint that it writes after every epoch."""
        return f"{self.prefix}_latest.pt"

    @property
    def best(self) -> str:
        """The name of the checkpoint of the best epoch, if the stage writes one."""
        return f"{self.prefix}_best.pt"

    def command(self, needs_path: str = "") -> str:
        """Return the quickstart's command, with the path of the checkpoint that it needs."""
        needs = f"{self.needs_flag} {needs_path}" if needs_path else ""
        return " ".join(filter(None, ["python", f"train_{self.name}.py", self.flags, needs]))


STAGES = {
    stage.name: stage
    for stage in (
        Stage("vae", "VAE", "convae", "--epochs 40 --kl-weight 0.5"),
        Stage("diffusion", "diffusion on pixels", "diffusion", content=("diffusion_config",)),
        Stage(
            "latent_diffusion",
            "latent diffusion",
            "latent_diffusion",
            "--epochs 40",
            needs="vae",
            needs_flag="--vae_ckpt",
            content=("diffusion_config", "vae"),
        ),
        Stage("clip", "CLIP", "clip", "--epochs 10", draws=False),
        Stage(
            "tiny_sd",
            "tiny Stable Diffusion",
            "tiny_sd",
            "--epochs 40",
            needs="clip",
            needs_flag="--clip_ckpt",
            content=("diffusion_config", "class_embeddings"),
        ),
    )
}


def open_exercises() -> list[str]:
    """Return where exercises are not written yet, each as "HW3/NAME.py:LINE: TITLE"."""
    unwritten = re.compile(r' *raise NotImplementedError\("(.*)"\)')
    return [
        f"HW3/{path.name}:{number}: {match[1]}"
        for path in sorted(Path(__file__).parents[1].glob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if (match := unwritten.fullmatch(line))
    ]
