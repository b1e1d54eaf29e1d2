"""Draw digits from a checkpoint of any script, from which the model is rebuilt.

    python -m HW3.sample result/diffusion/diffusion_latest.pt --sampler ddpm --gif
    python -m HW3.sample result/tiny_sd/tiny_sd_latest.pt --prompt "seven three nine" --strip
    python -m HW3.sample result/clip/clip_latest.pt              # test digits with what CLIP calls them

Noise is drawn on the CPU and the networks run in fp32, so the same seed gives the same digits on every
device, up to rounding.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if not __package__:  # run as a file, as by an editor's button: the package is in the folder above
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from HW3.support.process import UsageError, exit_codes

import torch
from PIL import Image
from torch import Tensor

from HW3.clip import TinyCLIP, prompt_to_labels
from HW3.data import NUM_CLASSES, all_examples, get_mnist_dataloaders
from HW3.support import boards, checkpoint, flag_types, flags, runtime
from HW3.support.data_files import class_names
from HW3.support.files import prepare_file
from HW3.support.grids import save_grid
from HW3.support.restore import DRAWING_STAGES, choose_sampling, count_steps, restore

NUM_FRAMES, NUM_STRIP = 40, 10  # steps that an animation and a strip show
STRIP_IMAGES = 4
MOST = 1000  # digits at once; more would take much memory
BOARD_IMAGES, BOARD_MISTAKES = 50, 30


class Trace:
    """Watch a sampler, and keep the steps that an animation or a strip shows.

    Args:
        steps: number of steps that the sampler takes.
    """

    def __init__(self, steps: int) -> None:
        self.seen = 0
        last = steps - 1
        self.shown = {round(i * last / (NUM_FRAMES - 1)) for i in range(NUM_FRAMES)}
        self.frames: list[tuple[int, Tensor, Tensor]] = []

    def __call__(self, t: int, show: Callable[[], tuple[Tensor, Tensor]]) -> None:
        """Keep this step, if it is one of those to show."""
        if self.seen in self.shown:
            x_t, x0_pred = show()
            self.frames.append((t, x_t.cpu(), x0_pred.cpu()))
        self.seen += 1

    def save_animation(self, images: Tensor, path: Path, columns: int) -> None:
        """Write a GIF in which noise becomes the images (B, 1, 32, 32)."""
        stages = [x_t for _, x_t, _ in self.frames] + [images]
        boards.save_animation([boards.board(stage, columns).convert("L") for stage in stages], path)

    def save_strip(self, images: Tensor, path: Path) -> None:
        """Write a PNG of the first images with x_t and x0_pred, step by step."""
        last = len(self.frames) - 1
        indices = sorted({round(i * last / (NUM_STRIP - 1)) for i in range(NUM_STRIP)})
        chosen = [self.frames[i] for i in indices]
        tiles, rows = [], []
        for i in range(min(len(images), STRIP_IMAGES)):
            for row, kind in ((1, "x_t"), (2, "x0_pred")):
                tiles += [frame[row][i] for frame in chosen] + [images[i].cpu()]
                rows.append(kind)
        columns = [f"t = {t}" for t, _, _ in chosen] + ["drawn"]
        boards.save(boards.board(torch.stack(tiles), len(columns), rows=rows, columns=columns), path)


@torch.inference_mode()
def clip_board(
    saved: dict[str, Any], args: argparse.Namespace, device: torch.device
) -> tuple[Image.Image, str]:
    """Return a picture of test images with their predicted labels, of the mistakes, and of the confusion
    matrix; and the accuracy in words."""
    model = checkpoint.rebuild(TinyCLIP, saved["model_config"])
    checkpoint.load_weights(model, saved["model_state"])
    model = model.to(device).eval()
    dataset = saved["args"]["dataset"]
    _, _, loader = get_mnist_dataloaders(args.data_dir, 500, dataset=dataset, device=device)
    images, labels = all_examples(loader)
    predictions = torch.cat([model.predict(part) for part in images.split(500)])
    images, labels, predictions = images.cpu(), labels.cpu(), predictions.cpu()
    wrong = (predictions != labels).nonzero()[:, 0]

    def labelled(indices: Tensor) -> Image.Image:
        pairs = zip(predictions[indices].tolist(), labels[indices].tolist(), strict=True)
        captions = [
            (f"{seen}", boards.INK) if seen == label else (f"{seen}, is {label}", boards.WRONG)
            for seen, label in pairs
        ]
        return boards.board(images[indices], 10, captions=captions)

    counts = torch.zeros(NUM_CLASSES, NUM_CLASSES, dtype=torch.long)
    counts.index_put_((labels, predictions), torch.tensor(1), accumulate=True)
    accuracy = f"{1 - len(wrong) / len(labels):.2%} of {len(labels):,} test images are correct"
    names = [f"{name}  {label}" for label, name in enumerate(class_names(dataset))]
    first = torch.arange(min(args.n or BOARD_IMAGES, len(labels)))
    parts = [(f"The first {len(first)} test images, and their predicted labels", labelled(first))]
    if len(wrong):
        shown = wrong[:BOARD_MISTAKES]
        parts.append((f"Mistakes, {len(shown)} of {len(wrong)}", labelled(shown)))
    matrix = boards.confusion_matrix(counts, names)
    title = f"Row: true class; column: prediction. {accuracy}"
    columns = [boards.stack(parts), boards.stack([(title, matrix)])]
    return boards.stack([("", column) for column in columns], beside=True), accuracy


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = flags.Parser(__doc__)
    add = parser.add_argument
    add("checkpoint", type=flags.path, help="checkpoint of any stage, or the folder of a run")
    add("--out", type=flag_types.png_path, help="path of the picture; default: result/sample/STAGE.png")
    add("--prompt", help='what tiny SD should draw: 31415, or "seven three nine"; repeated up to --n')
    add("--gif", action="store_true", help="also write the denoising as an animation")
    add("--strip", action="store_true", help="also write x_t and the prediction of x0 over the steps")
    add(
        "--n",
        type=flags.integer(1, MOST),
        help="number of digits; default: 64 (tiny SD: 80, or the prompt's; CLIP: 50 test digits)",
    )
    flags.add_drawing_flags(parser, precision="fp32")
    return parser.parse_args(argv)


def choose_labels(saved: dict[str, Any], prompt: str | None, n: int | None) -> tuple[Tensor, int]:
    """Return the labels int64 (n,) to draw and the number of columns of their picture.

    Raises:
        UsageError: if the prompt is not understood, or asks for too many digits.
    """
    if prompt is None:
        columns = 10 if saved["stage"] == "tiny_sd" else 8
        n = n or 8 * columns
        return torch.arange(n) % NUM_CLASSES, min(n, columns)
    try:
        wanted = prompt_to_labels(prompt, class_names(saved["args"]["dataset"]))
    except ValueError as error:
        raise UsageError(f"--{error}") from error
    n = n or len(wanted)
    if n > MOST:
        raise UsageError(f"--prompt: at most {MOST} digits, got {n}")
    return torch.tensor(wanted).repeat(-(-n // len(wanted)))[:n], min(n, len(wanted), 16)


@exit_codes
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    device = runtime.pick_device(args.device)
    saved = checkpoint.load(args.checkpoint, *DRAWING_STAGES, "clip")
    sampling, stage = choose_sampling(saved, args), saved["stage"]
    if args.prompt is not None and stage != "tiny_sd":
        raise UsageError(f"--prompt: only tiny SD can be told what to draw; this is {stage}")
    for name in ("gif", "strip"):
        if getattr(args, name) and stage in ("vae", "clip"):
            raise UsageError(f"--{name}: {stage} takes no steps that could be shown")
    out = args.out or Path(f"result/sample/{stage}.png")
    if stage == "clip":
        prepare_file(out)
        board, accuracy = clip_board(saved, args, device)
        boards.save(board, out)
        print(f"{accuracy}: {out}")
        return

    labels, columns = choose_labels(saved, args.prompt, args.n)
    draw = restore(saved, sampling, device)
    trace = Trace(count_steps(saved, sampling)) if args.gif or args.strip else None
    prepare_file(out)
    start = time.perf_counter()
    with runtime.autocast(device, args.precision):
        images = draw(labels, runtime.seeded_generator(args.seed, "sample"), trace)
    seconds = time.perf_counter() - start
    save_grid(images, out, columns)
    written = [out]
    if args.gif:
        written.append(out.with_suffix(".gif"))
        trace.save_animation(images, written[-1], columns)
    if args.strip:
        written.append(out.with_stem(f"{out.stem}_strip"))
        trace.save_strip(images, written[-1])
    print(f"{len(labels)} digits in {seconds:.1f} s: {', '.join(map(str, written))}")


if __name__ == "__main__":
    sys.exit(main())
