"""Train a convolutional VAE on images: compress a digit to a Gaussian over latents, and decode it again.

Paper: Kingma and Welling 2014, "Auto-Encoding Variational Bayes".

    python train_vae.py --epochs 40 --kl-weight 0.5
    python train_vae.py --epochs 40 --kl-weight 0.5 --resume     # continue after an interruption

Writes to result/vae/: samples_epoch_XXX.png (64 decodings of the same prior samples every epoch),
recon_epoch_XXX.png (test digits, each row above its reconstructions), convae_latest.pt, convae_best.pt
(lowest loss on the test set), metrics.csv, flags.json.
"""

import argparse
import sys

from HW3.support.process import exit_codes

import torch

from HW3.data import get_mnist_dataloaders
from HW3.ema import EMA
from HW3.support import flags, runtime
from HW3.support.cuda_graph import graphed_step
from HW3.support.grids import save_grid
from HW3.support.run import Run
from HW3.vae import ConvVAE, vae_loss

NUM_SAMPLES = 64
NUM_RECON = 32
COLUMNS = 8


def parse_args(argv=None):
    parser = flags.Parser(__doc__)
    flags.add_run_flags(
        parser, data_dir="data/MNIST", out_dir="result/vae", epochs=40, batch_size=128, lr=2e-4
    )
    add = parser.add_argument
    add("--latent-dim", type=flags.WIDTH, default=100, help="latent dimensions")
    add("--kl-weight", type=flags.real(0), default=1.0, help="weight of the KL divergence in the loss")
    add("--loss-type", choices=("mse", "bce"), default="mse", help="reconstruction loss")
    add("--save-recon", action=argparse.BooleanOptionalAction, default=True, help="draw reconstructions")
    add("--no-cuda", dest="device", action="store_const", const="cpu", help="the same as --device cpu")
    return parser.parse_args(argv)


@torch.inference_mode()
def evaluate(model, loader, args, device, losses):
    """Return the mean losses per image on held-out images."""
    for x, _ in loader:
        x = x.to(device)
        recon, mu, logvar = model(x)
        parts = vae_loss(recon, x, mu, logvar, args.kl_weight, args.loss_type)
        losses.add(len(x), *(part / len(x) for part in parts))
    return losses.means()


@torch.inference_mode()
def draw_grids(model, args, test_images, folder, epoch):
    """Draw decodings of prior samples and, if wanted, reconstructions; return the path of the first grid."""
    z = torch.randn(NUM_SAMPLES, args.latent_dim, generator=runtime.seeded_generator(args.seed, "grid"))
    samples_path = folder / f"samples_epoch_{epoch:03d}.png"
    save_grid(model.decode(z.to(test_images.device)), samples_path, COLUMNS)
    if args.save_recon:
        recon = model.decode(model.encode(test_images)[0])
        # (N, C, H, W) -> (rows, 2, columns, C, H, W): each row of originals above its row of reconstructions
        rows = torch.stack([part.unflatten(0, (-1, COLUMNS)) for part in (test_images, recon)], dim=1)
        save_grid(rows.flatten(0, 2), folder / f"recon_epoch_{epoch:03d}.png", COLUMNS)
    return samples_path


@exit_codes
def main(argv=None):
    args = parse_args(argv)

    # Device and data
    device = runtime.pick_device(args.device)
    autocast = runtime.autocast(device, args.precision)
    train_loader, _, test_loader = get_mnist_dataloaders(**flags.data_options(args, device))
    test_images = test_loader.dataset[torch.arange(NUM_RECON)][0].to(device)

    # Model, EMA, optimizer
    runtime.seed_epoch(args.seed, 0)
    model_config = {"latent_dim": args.latent_dim}
    model = ConvVAE(**model_config).to(device)
    ema = EMA(model, args.ema_decay)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr, fused=True)

    # Run folder, resume
    run = Run("vae", args, model, ema, optimizer, {"model_config": model_config})
    run.announce(device, autocast, train_loader)

    # A training step
    @graphed_step(optimizer)
    def step(x):
        with autocast:
            recon, mu, logvar = model(x)
        parts = vae_loss(recon, x, mu, logvar, args.kl_weight, args.loss_type)
        total, rec, kl = (part / len(x) for part in parts)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        return total, rec, kl

    # Train
    for epoch in run.epochs_left:
        losses = run.start_epoch(epoch, train_loader, "loss", "rec", "kl")
        model.train()
        for x, _ in runtime.progress(train_loader, losses):
            total, rec, kl = step(x.to(device))
            ema.update(model)
            losses.add(len(x), total, rec, kl)

        # Evaluate, draw, save
        val_losses = runtime.Losses(epoch, args.epochs, run.latest, "val_loss", "val_rec", "val_kl")
        metrics = losses.means() | evaluate(ema.model, test_loader, args, device, val_losses)
        best = min((row["val_loss"] for row in run.metrics), default=float("inf"))
        look_at = draw_grids(ema.model, args, test_images, run.folder, epoch)
        run.finish_epoch(metrics, look_at=look_at, is_best=metrics["val_loss"] < best)

    run.finish(parse_args(["--kl-weight=0.5"]))


if __name__ == "__main__":
    sys.exit(main())
