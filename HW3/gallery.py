"""Write one page that shows all runs in a folder: `python -m HW3.gallery result` writes result/index.html.

Each run has a panel: a slider over the epochs of its grids, its curves, times, flags and checkpoints. Stages
without a run stand there with the command that makes one. The scripts refresh the page after every epoch,
from what lies on disk alone: metrics.csv, flags.json and the names of the pictures; no checkpoint is opened.

The page needs no network and no server. It shows the pictures that lie beside it, unless it is written with
--embed, for handing in or sending away. How it looks and behaves stands in gallery.html.
"""

import argparse
import base64
import csv
import io
import json
import re
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from HW3 import exits
from HW3.run_folder import write_whole

TEMPLATE = Path(__file__).with_suffix(".html")
MARK = '<meta name="generator" content="HW3.gallery">'
STAGES = {  # the name before _latest.pt: title, the stage it builds on, command of the quickstart
    "convae": ("Stage 1: VAE", "", "python train_vae.py --epochs 40 --kl-weight 0.5"),
    "diffusion": ("Stage 2: diffusion on pixels", "", "python train_diffusion.py"),
    "latent_diffusion": (
        "Stage 3: latent diffusion",
        "stage 1",
        "python train_latent_diffusion.py --epochs 40 --vae_ckpt result/vae/convae_latest.pt",
    ),
    "clip": ("Stage 4: CLIP", "", "python train_clip.py --epochs 10"),
    "tiny_sd": (
        "Stage 5: tiny Stable Diffusion",
        "stage 4",
        "python train_tiny_sd.py --epochs 40 --clip_ckpt result/clip/clip_latest.pt",
    ),
}


def read_run(folder: Path, *, embed: bool) -> dict[str, Any] | None:
    """Return what the page shows of a run, or None if the folder holds none with a completed epoch.

    Args:
        folder: of the run.
        embed: put the pictures themselves in, as data URLs, instead of links to them.
    """
    stage = next((name for name in STAGES if (folder / f"{name}_latest.pt").exists()), None)
    metrics, flags = folder / "metrics.csv", folder / "flags.json"
    if stage is None or not metrics.exists():
        return None
    rows = [
        {name: float(value) for name, value in row.items()}
        for row in csv.DictReader(io.StringIO(metrics.read_text()))
    ]
    settings = json.loads(flags.read_text()) if flags.exists() else {}
    unfinished = rows[-1]["epoch"] < settings.get("epochs", 0)
    grids: dict[str, dict[int, str]] = {}
    for picture in sorted(folder.glob("*_epoch_[0-9]*.png")):
        kind, epoch = re.fullmatch(r"(.+)_epoch_(\d+)\.png", picture.name).groups()
        if embed:
            source = "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()
        else:
            source = quote(f"{folder.name}/{picture.name}")
        grids.setdefault(kind, {})[int(epoch)] = source
    return {
        "name": folder.name,
        "stage": stage,
        "title": STAGES[stage][0],
        "aside": bool(re.search(r"\.\d+$", folder.name)),
        # A run that is late by five epochs was interrupted.
        "training_until": metrics.stat().st_mtime + 5 * rows[-1]["seconds"] if unfinished else 0,
        "metrics": rows,
        "epochs": settings.get("epochs"),
        "flags": settings,
        "grids": grids,
        "checkpoints": [
            f"{file.name} ({file.stat().st_size / 1e6:.1f} MB)" for file in sorted(folder.glob("*.pt"))
        ],
    }


def build(root: Path, *, embed: bool = False) -> Path:
    """Write the page of all runs in the folders of root, and return its path.

    Raises:
        UsageError: if an index.html is there that is not this page.
        RunError: if it can't be written.
    """
    page = root / "index.html"
    if page.exists() and MARK not in page.read_text(errors="replace"):
        raise exits.UsageError(f"{page} is not a page of this gallery; it is left as it is")
    runs = [
        run for folder in sorted(root.iterdir()) if folder.is_dir() and (run := read_run(folder, embed=embed))
    ]
    parts: list[dict[str, Any]] = []
    for stage, (title, needs, command) in STAGES.items():
        found = sorted((run for run in runs if run["stage"] == stage), key=lambda run: run["aside"])
        parts += found or [{"title": title, "needs": needs, "command": command}]
    data = {
        "folder": str(root),
        "written": time.time(),
        "training_until": max((run["training_until"] for run in runs), default=0),
        "parts": parts,
    }
    text = json.dumps(data).replace("<", r"\u003c")  # "</script>" in a name must not end the script
    write_whole(page, TEMPLATE.read_text().replace("{{DATA}}", text).encode())
    return page


def refresh(folder: Path) -> None:
    """Refresh the page beside a run's folder; a page that can't be written stops no training."""
    try:
        build(folder.resolve().parent)
    except (exits.UsageError, exits.RunError, OSError) as error:
        print(f"note: the gallery was not refreshed: {error}", file=sys.stderr)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the flags."""
    from HW3.cli import Parser  # late: it loads torch, which the page itself does not need

    parser = Parser(__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("result"), help="which holds the runs")
    parser.add_argument("--embed", action="store_true", help="put the pictures into the page")
    return parser.parse_args(argv)


@exits.exit_codes
def main(argv: list[str] | None = None) -> None:
    """Write the page, and say where."""
    args = parse_args(argv)
    if not args.folder.is_dir():
        raise exits.UsageError(
            f"{args.folder} is not a folder; train first, for example: python train_vae.py"
        )
    print(build(args.folder, embed=args.embed))


if __name__ == "__main__":
    sys.exit(main())
