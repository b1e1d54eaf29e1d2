"""Write one page that shows all runs in a folder: `python -m HW3.gallery result` writes result/index.html.

Each run has a panel: a slider over the epochs of its grids, its curves, times, flags and checkpoints. Stages
without a run are listed with the command that makes one. The scripts refresh the page after every epoch,
from what lies on disk alone: metrics.csv, flags.json and the names of the pictures; no checkpoint is opened.
It is next to the folder of the run: result/index.html for result/vae.

The page needs no network and no server. It shows the pictures that lie beside it, unless it is written with
--embed, for handing in or sending away. Its looks and behaviour are in gallery.html.
"""

import argparse
import base64
import csv
import io
import json
import math
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

if not __package__:  # run as a file, as by an editor's button: the package is in the folder above
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from HW3.support.process import RunError, UsageError, exit_codes

from HW3.support import flags
from HW3.support.files import visible, write_whole
from HW3.support.run_folder import earlier_runs
from HW3.support.stages import STAGES, Stage

TEMPLATE = Path(__file__).with_suffix(".html")
MARK = '<meta name="generator" content="HW3.gallery">'
RELOADING = 1800  # seconds for which an open page reloads: until the next epoch, or the next stage, is there


def command(stage: Stage, root: Path, needed: dict[str, Any] | None = None, dataset: str = "mnist") -> str:
    """Return the command that trains a stage in a folder of root.

    Args:
        stage: which.
        root: folder of the runs.
        needed: the run of the stage that it builds on, whose data set it takes; None if there is none.
        dataset: where it builds on no run.
    """
    here = from_here(root)
    needs_path = ""
    if stage.needs:
        name = needed["name"] if needed else stage.needs
        needs_path = quoted(here / name / STAGES[stage.needs].latest)
    if needed:
        dataset = needed["dataset"]
    text = stage.command(needs_path)
    if dataset != "mnist":
        text += f" --dataset {dataset}"
    if here != Path("result"):
        text += f" --out_dir {quoted(here / stage.name)}"
    return text


def from_here(path: Path) -> Path:
    """Return a path as one types it in the present folder."""
    path = Path(os.path.abspath(path))
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def quoted(path: Path) -> str:
    """Return a path as the shell wants it."""
    text = path.as_posix()
    return subprocess.list2cmdline([text]) if os.name == "nt" else shlex.quote(text)


def read_run(folder: Path, root: Path, *, embed: bool) -> dict[str, Any] | None:
    """Return what the page shows of a run, or None if the folder holds none with a completed epoch.

    Args:
        folder: of the run.
        root: folder of the page.
        embed: put the pictures themselves in, as data URLs, instead of links to them.
    """
    stage = next((each for each in STAGES.values() if (folder / each.latest).exists()), None)
    if stage is None:
        return None
    name = folder.relative_to(root).as_posix()
    run = {"name": name, "stage": stage.name, "title": title(stage), "aside": False}
    file = folder / "metrics.csv"
    try:
        run["metrics"] = metrics = read_metrics(file)
        run["seconds"] = metrics[-1]["seconds"]
        file = folder / "flags.json"
        flags = dict(json.loads(file.read_text(encoding="utf-8-sig"))) if file.exists() else {}
        run |= {"dataset": str(flags.get("dataset", "mnist")), "epochs": int(flags.get("epochs", 0))}
        run["flags"] = {flag: json.dumps(value, allow_nan=False) for flag, value in flags.items()}
        run["aside"] = moved_aside(folder, Path(flags.get("out_dir", folder)))
    except (OSError, ValueError, TypeError, OverflowError, RecursionError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        return run | {"problem": f"{file.name} is damaged: {reason}", "dataset": "mnist", "seconds": 0}
    grids: dict[str, dict[int, str]] = {}
    for picture in visible(folder, "*.png"):
        named = re.fullmatch(r"(\w+)_epoch_(\d+)\.png", picture.name)
        if named and picture.is_file():
            grids.setdefault(named[1], {})[int(named[2])] = source(picture, root, embed=embed)
    sizes = {path.name: path.stat().st_size / 1e6 for path in visible(folder, "*.pt") if path.is_file()}
    checkpoints = [f"{name} ({megabytes:.1f} MB)" for name, megabytes in sizes.items()]
    if not stage.draws:
        run["board"] = f"python -m HW3.sample {quoted(from_here(folder / stage.latest))}"
    return run | {"grids": grids, "checkpoints": checkpoints}


def read_metrics(file: Path) -> list[dict[str, float]]:
    """Return the rows of a metrics.csv in the order of their epochs; a spreadsheet may have saved it anew.

    Raises:
        ValueError: if something in it makes no sense; the message says what.
    """
    table = csv.DictReader(io.StringIO(file.read_text(encoding="utf-8-sig"), newline=""))
    if missing := {"epoch", "seconds"} - set(table.fieldnames or ()):
        raise ValueError(f"it has no column {' and no column '.join(sorted(missing))}")
    rows = []
    for number, cells in enumerate(table, 2):
        row = {}
        for name, cell in cells.items():
            try:
                row[name] = float(cell)
            except (TypeError, ValueError):
                row[name] = math.nan
            if name is None or not math.isfinite(row[name]):
                raise ValueError(f"row {number}, column {name}: {cell!r} is not a finite number")
        rows.append(row)
    rows.sort(key=lambda row: row["epoch"])
    epochs = [row["epoch"] for row in rows]
    if not rows or any(epoch != int(epoch) or epoch < 1 for epoch in epochs) or len(set(epochs)) < len(rows):
        raise ValueError("the epochs are not different whole numbers from 1")
    return rows


def title(stage: Stage) -> str:
    """Return the heading of a stage."""
    return f"Stage {stage.number}: {stage.title}"


def moved_aside(folder: Path, out_dir: Path) -> bool:
    """Tell whether a run that was written to out_dir has moved aside for a later one: vae.1 beside vae."""
    former = re.sub(r"\.\d+$", "", folder.name)
    has_later = folder.with_name(former).is_dir() or folder.parent.name == former
    return former == out_dir.name != folder.name and has_later


def source(picture: Path, root: Path, *, embed: bool) -> str:
    """Return the URL of a picture for the page in root, or one that holds the picture itself."""
    if embed:
        return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()
    return quote(os.fsencode(picture.relative_to(root).as_posix()))


def build(root: Path, *, embed: bool = False) -> Path:
    """Write the page of all runs in the folders of root, and return its path.

    Raises:
        UsageError: if an index.html is there that is not this page, or no run.
        RunError: if it can't be written.
    """
    page = root / "index.html"
    if page.exists() and MARK not in page.read_text(errors="replace"):
        raise UsageError(f"{page} is not a page of this gallery; it is left as it is")
    folders = [path for path in visible(root) if path.is_dir() and os.access(path, os.R_OK | os.X_OK)]
    # Those of a mount point are within it.
    folders += [run for folder in folders for run in earlier_runs(folder) if run.parent == folder]
    runs = [run for folder in folders if (run := read_run(folder, root, embed=embed))]
    if not runs:
        raise UsageError(f"no folder in {root} holds a run; make one, as with: python train_clip.py")
    dataset = runs[0]["dataset"]
    parts: list[dict[str, Any]] = []
    latest: dict[str, dict] = {}  # the run of each stage that a later one builds on
    for stage in STAGES.values():
        found = sorted((run for run in runs if run["stage"] == stage.name), key=lambda run: run["aside"])
        if found:
            latest[stage.name] = found[0]
        recipe = command(stage, root, latest.get(stage.needs), dataset)
        needs = f"stage {STAGES[stage.needs].number}" if stage.needs else ""
        parts += found or [{"title": title(stage), "needs": needs, "command": recipe}]
    now = time.time()
    patience = min(max(RELOADING, *(5 * run["seconds"] for run in runs)), 24 * 3600)
    data = {
        "folder": Path(os.path.abspath(root)).name,
        "written": now,
        "reload_until": 0 if embed else now + patience,
        "parts": parts,
    }
    # "</script>" in a name must not end the script.
    text = json.dumps(data, allow_nan=False).replace("<", r"\u003c")
    write_whole(page, TEMPLATE.read_text(encoding="utf-8").replace("{{DATA}}", text).encode(), patience=0)
    return page


def refresh(folder: Path) -> None:
    """Refresh the page beside a run's folder; a page that can't be written stops no training."""
    try:
        build(Path(os.path.abspath(folder)).parent)  # of a link, where it is, not where it leads
    except (UsageError, RunError, OSError) as error:
        print(f"note: the gallery was not refreshed: {error}", file=sys.stderr)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = flags.Parser(__doc__)
    parser.add_argument(
        "folder", type=flags.path, nargs="?", default=Path("result"), help="folder that holds the runs"
    )
    parser.add_argument("--embed", action="store_true", help="embed the pictures in the page")
    return parser.parse_args(argv)


@exit_codes
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if not args.folder.is_dir():
        raise UsageError(f"{args.folder} is not a folder; train first, as with: python train_clip.py")
    print(build(args.folder, embed=args.embed))


if __name__ == "__main__":
    sys.exit(main())
