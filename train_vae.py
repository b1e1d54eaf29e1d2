"""Train a convolutional VAE on images: compress a digit to a Gaussian over latents, and decode it again.

Paper: Kingma and Welling 2014, "Auto-Encoding Variational Bayes".

    python train_vae.py --epochs 40 --kl-weight 0.5
    python train_vae.py --epochs 40 --kl-weight 0.5 --resume     # go on after an interruption

Writes to result/vae/: samples_epoch_XXX.png (64 decodings of the same prior samples every epoch),
recon_epoch_XXX.png (test digits, each row over its reconstructions), convae_latest.pt, convae_best.pt (least
loss on the test set), metrics.csv, flags.json.
"""

import argparse
import sys
import time

from HW3 import exits

if __name__ == "__main__":
    exits.guard_loading()  # torch takes seconds to load, and Ctrl-C shall be one line then, too

import torch

from HW3 import checkpoint, cli, expected, gallery, runtime
from HW3.data import get_mnist_dataloaders
from HW3.ema import EMA
from HW3.run_folder import open_run_folder
from HW3.vae import ConvVAE, vae_loss

NUM_SAMPLES = 64
NUM_RECON = 32
COLUMNS = 8


def parse_args(argv=None):
    parser = cli.Parser(__doc__)
    cli.add_run_flags(parser, data_dir="data/MNIST", out_dir="result/vae", epochs=40, batch_size=128, lr=2e-4)
    add = parser.add_argument
    add("--latent-dim", type=cli.WIDTH, default=100, help="latent dimensions")
    add("--kl-weight", type=cli.real(0), default=1.0, help="weight of the KL divergence in the loss")
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
    runtime.save_grid(model.decode(z.to(test_images.device)), samples_path, COLUMNS)
    if args.save_recon:
        recon = model.decode(model.encode(test_images)[0])
        # (N, C, H, W) -> (rows, 2, columns, C, H, W): each row of originals over its row of reconstructions
        rows = torch.stack([part.unflatten(0, (-1, COLUMNS)) for part in (test_images, recon)], dim=1)
        runtime.save_grid(rows.flatten(0, 2), folder / f"recon_epoch_{epoch:03d}.png", COLUMNS)
    return samples_path


@exits.exit_codes
def main(argv=None):
    args = parse_args(argv)

    # Device and data
    device = runtime.pick_device(args.device)
    autocast = runtime.autocast(device, args.precision)
    train_loader, _, test_loader = get_mnist_dataloaders(
        args.data_dir,
        args.batch_size,
        args.num_workers,
        dataset=args.dataset,
        seed=args.seed,
        device=device,
        limit_batches=args.limit_batches,
    )
    test_images, _ = test_loader.dataset[torch.arange(NUM_RECON)]
    test_images = test_images.to(device)

    # Model, EMA, optimizer
    runtime.seed_epoch(args.seed, 0)
    model_config = {"latent_dim": args.latent_dim}
    model = ConvVAE(**model_config).to(device)
    ema = EMA(model, args.ema_decay)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr, fused=True)

    # Run folder, resume
    latest, best = args.out_dir / "convae_latest.pt", args.out_dir / "convae_best.pt"
    metrics = []  # a row per completed epoch
    if args.resume:
        saved = checkpoint.load_resumed(latest, "vae", args)
        metrics = checkpoint.restore_training(saved, model, ema, optimizer)
    folder = open_run_folder(args.out_dir, "vae", metrics, checkpoint.plain_flags(args))
    runtime.print_start(device, autocast, train_loader, model, args, done=len(metrics))

    # Train
    for epoch in range(len(metrics) + 1, args.epochs + 1):
        start = time.perf_counter()
        runtime.seed_epoch(args.seed, epoch)
        train_loader.sampler.set_epoch(epoch)
        losses = runtime.Losses(epoch, latest, "loss", "rec", "kl")
        model.train()
        for x, _ in runtime.progress(train_loader, epoch, args.epochs, losses):
            x = x.to(device)
            with autocast:
                recon, mu, logvar = model(x)
            total, rec, kl = (
                part / len(x) for part in vae_loss(recon, x, mu, logvar, args.kl_weight, args.loss_type)
            )
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            ema.update(model)
            losses.add(len(x), total, rec, kl)

        # Evaluate, draw, save, report
        row = {"epoch": epoch, **losses.means()}
        val_losses = runtime.Losses(epoch, latest, "val_loss", "val_rec", "val_kl")
        row |= evaluate(ema.model, test_loader, args, device, val_losses)
        look_at = draw_grids(ema.model, args, test_images, folder, epoch)
        is_best = row["val_loss"] < min((former["val_loss"] for former in metrics), default=float("inf"))
        metrics.append({**row, "seconds": round(time.perf_counter() - start, 1)})
        state = {
            "stage": "vae",
            "model_config": model_config,
            **checkpoint.training_state(model, ema, optimizer, args, metrics),
        }
        if is_best:
            checkpoint.save(best, state)
        checkpoint.save(latest, state)
        runtime.report_epoch(folder, metrics, args.epochs, look_at)
        gallery.refresh(folder)

    print(expected.compare("vae", metrics, args, usual=parse_args(["--kl-weight=0.5"])))
    print(
        f"Done: {latest}, {best}. Next: python train_diffusion.py, "
        f"python train_latent_diffusion.py --vae_ckpt {latest}"
    )


if __name__ == "__main__":
    sys.exit(main())
