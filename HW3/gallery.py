"""Write one page that shows all runs in a folder: `python -m HW3.gallery result` writes result/index.html.

Each run has a panel: a slider over the epochs of its grids, its curves, times, flags and checkpoints. Stages
without a run stand there with the command that makes one. The scripts refresh the page after every epoch,
from what lies on disk alone: metrics.csv, flags.json and the names of the pictures; no checkpoint is opened.
It lies beside the folder of the run: result/index.html for result/vae.

The page needs no network and no server. It shows the pictures that lie beside it, unless it is written with
--embed, for handing in or sending away. How it looks and behaves stands in gallery.html.
"""

import argparse
import base64
import csv
import io
import json
import os
import re
import shlex
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from HW3 import exits

if __name__ == "__main__":
    exits.guard_loading()  # torch takes seconds to load, and Ctrl-C shall be one line then, too

from HW3 import cli
from HW3.run_folder import write_whole

TEMPLATE = Path(__file__).with_suffix(".html")
MARK = '<meta name="generator" content="HW3.gallery">'
RELOADING = 1800  # seconds for which an open page reloads: until the next epoch, or the next stage, is there
STAGES = {  # the name before _latest.pt: title, the stage it builds on, command of the quickstart
    "convae": ("Stage 1: VAE", "", "python train_vae.py --epochs 40 --kl-weight 0.5"),
    "diffusion": ("Stage 2: diffusion on pixels", "", "python train_diffusion.py"),
    "latent_diffusion": (
        "Stage 3: latent diffusion",
        "stage 1",
        "python train_latent_diffusion.py --epochs 40 --vae_ckpt {root}/vae/convae_latest.pt",
    ),
    "clip": ("Stage 4: CLIP", "", "python train_clip.py --epochs 10"),
    "tiny_sd": (
        "Stage 5: tiny Stable Diffusion",
        "stage 4",
        "python train_tiny_sd.py --epochs 40 --clip_ckpt {root}/clip/clip_latest.pt",
    ),
}


def command(stage: str, root: Path, dataset: str = "mnist") -> str:
    """Return the command that trains a stage in a folder of root, on the stages that are there."""
    here = from_here(root)
    text = STAGES[stage][2].format(root=shlex.quote(here.as_posix()))
    if dataset != "mnist":
        text += f" --dataset {dataset}"
    if here != Path("result"):
        text += f" --out_dir {shlex.quote((here / stage.replace('convae', 'vae')).as_posix())}"
    return text


def from_here(path: Path) -> Path:
    """Return a path as one types it in the present folder."""
    path = path.resolve()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def read_run(folder: Path, *, embed: bool) -> dict[str, Any] | None:
    """Return what the page shows of a run, or None if the folder holds none with a completed epoch.

    Args:
        folder: of the run.
        embed: put the pictures themselves in, as data URLs, instead of links to them.
    """
    stage = next((name for name in STAGES if (folder / f"{name}_latest.pt").exists()), None)
    if stage is None or not (folder / "metrics.csv").exists():
        return None
    run = {"name": folder.name, "stage": stage, "title": STAGES[stage][0], "aside": False}
    try:
        table = csv.DictReader(io.StringIO((folder / "metrics.csv").read_text()))
        metrics = [{name: float(value) for name, value in row.items()} for row in table]
        flags = json.loads((folder / "flags.json").read_text()) if (folder / "flags.json").exists() else {}
        run |= {"metrics": metrics, "seconds": metrics[-1]["seconds"]}
        run |= {"flags": dict(flags), "epochs": int(flags.get("epochs", 0))}
        run["aside"] = moved_aside(folder, Path(flags.get("out_dir", folder)))
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        return run | {"problem": f"metrics.csv or flags.json is damaged: {error}"}
    grids: dict[str, dict[int, str]] = {}
    for picture in sorted(folder.glob("*.png")):
        if named := re.fullmatch(r"(.+)_epoch_(\d+)\.png", picture.name):
            grids.setdefault(named[1], {})[int(named[2])] = source(picture, embed=embed)
    sizes = {file.name: file.stat().st_size / 1e6 for file in sorted(folder.glob("*.pt"))}
    checkpoints = [f"{name} ({megabytes:.1f} MB)" for name, megabytes in sizes.items()]
    if stage == "clip":  # which draws no grids
        latest = from_here(folder / "clip_latest.pt").as_posix()
        run["board"] = f"python -m HW3.sample {shlex.quote(latest)}"
    return run | {"grids": grids, "checkpoints": checkpoints}


def moved_aside(folder: Path, out_dir: Path) -> bool:
    """Tell whether a run that was written to out_dir has moved aside for a later one: vae.1 beside vae."""
    former = re.sub(r"\.\d+$", "", folder.name)
    return former == out_dir.name != folder.name and folder.with_name(former).is_dir()


def source(picture: Path, *, embed: bool) -> str:
    """Return the URL of a picture for the page beside its folder, or one that holds the picture itself."""
    if embed:
        return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()
    return quote(os.fsencode(f"{picture.parent.name}/{picture.name}"))


def build(root: Path, *, embed: bool = False) -> Path:
    """Write the page of all runs in the folders of root, and return its path.

    Raises:
        UsageError: if an index.html is there that is not this page, or no run.
        RunError: if it can't be written.
    """
    page = root / "index.html"
    if page.exists() and MARK not in page.read_text(errors="replace"):
        raise exits.UsageError(f"{page} is not a page of this gallery; it is left as it is")
    folders = [
        path for path in sorted(root.iterdir()) if path.is_dir() and os.access(path, os.R_OK | os.X_OK)
    ]
    runs = [run for folder in folders if (run := read_run(folder, embed=embed))]
    if not runs:
        raise exits.UsageError(f"no folder in {root} holds a run; make one, as with: python train_clip.py")
    dataset = runs[0].get("flags", {}).get("dataset", "mnist")
    parts: list[dict[str, Any]] = []
    for stage, (title, needs, _) in STAGES.items():
        found = sorted((run for run in runs if run["stage"] == stage), key=lambda run: run["aside"])
        parts += found or [{"title": title, "needs": needs, "command": command(stage, root, dataset)}]
    now = time.time()
    patience = max(RELOADING, *(5 * run.get("seconds", 0) for run in runs))
    data = {
        "folder": root.resolve().name,
        "written": now,
        "reload_until": 0 if embed else now + patience,
        "parts": parts,
    }
    text = json.dumps(data).replace("<", r"\u003c")  # "</script>" in a name must not end the script
    write_whole(page, TEMPLATE.read_text(encoding="utf-8").replace("{{DATA}}", text).encode())
    return page


def refresh(folder: Path) -> None:
    """Refresh the page beside a run's folder; a page that can't be written stops no training."""
    try:
        build(folder.resolve().parent)
    except (exits.UsageError, exits.RunError, OSError) as error:
        print(f"note: the gallery was not refreshed: {error}", file=sys.stderr)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the flags."""
    parser = cli.Parser(__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("result"), help="which holds the runs")
    parser.add_argument("--embed", action="store_true", help="put the pictures into the page")
    return parser.parse_args(argv)


@exits.exit_codes
def main(argv: list[str] | None = None) -> None:
    """Write the page, and say where."""
    args = parse_args(argv)
    if not args.folder.is_dir():
        raise exits.UsageError(f"{args.folder} is not a folder; train first, as with: python train_clip.py")
    print(build(args.folder, embed=args.embed))


if __name__ == "__main__":
    sys.exit(main())
