"""Compare the VAE of this repository with the usual one, twice as wide, after equally many epochs.

    python -m tests.benchmarks.vae_width --data-dir data --epochs 10

Both are trained by train_vae.py with the quickstart's flags; what is compared is the reconstruction error and
the KL divergence on the test set, and the seconds of an epoch (the median).
"""

import argparse
import csv
import statistics
import sys
import tempfile
from pathlib import Path

import train_vae
from HW3 import vae

CONTENDERS = {"this repository": vae.WIDTHS, "usual": (64, 128, 256)}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--epochs", type=int, default=10)
    return parser.parse_args(argv)


def main(argv=None) -> None:
    args = parse_args(argv)
    rows = {}
    with tempfile.TemporaryDirectory() as tmp:
        for name, vae.WIDTHS in CONTENDERS.items():
            folder = Path(tmp, name)
            flags = [f"--data-dir={args.data_dir}", f"--dataset={args.dataset}", f"--epochs={args.epochs}"]
            if code := train_vae.main([*flags, "--kl-weight=0.5", f"--out-dir={folder}"]):
                sys.exit(code)
            with open(folder / "metrics.csv", encoding="utf-8", newline="") as file:
                rows[name] = list(csv.DictReader(file))
    print(f"\n{'':18}{'channels':>14}{'test rec':>10}{'test KL':>9}{'test loss':>11}{'s an epoch':>12}")
    for name, epochs in rows.items():
        widths = ", ".join(map(str, CONTENDERS[name]))
        last = {key: float(value) for key, value in epochs[-1].items()}
        seconds = statistics.median(float(row["seconds"]) for row in epochs)
        print(f"{name:18}{widths:>14}{last['val_rec']:10.2f}{last['val_kl']:9.2f}", end="")
        print(f"{last['val_loss']:11.2f}{seconds:12.1f}")


if __name__ == "__main__":
    sys.exit(main())
