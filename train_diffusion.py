"""Train a denoising diffusion model (DDPM) on images: a small UNet learns to predict the noise in them.

Paper: Ho, Jain, Abbeel 2020, "Denoising Diffusion Probabilistic Models"; DDIM: Song, Meng, Ermon 2021.

    python train_diffusion.py                    # 20 epochs on MNIST
    python train_diffusion.py --resume           # go on after an interruption

Writes to result/diffusion/: samples_ddpm_epoch_XXX.png and samples_ddim_epoch_XXX.png (64 digits each, from
the same start noise every epoch), diffusion_latest.pt, metrics.csv, flags.json.
"""

import sys
import time

from HW3 import exits

if __name__ == "__main__":
    exits.guard_loading()  # torch takes seconds to load, and Ctrl-C shall be one line then, too

from HW3 import checkpoint, cli, expected, gallery, runtime
from HW3.data import get_mnist_dataloaders, to_signed, to_unit
from HW3.diffusion import DiffusionConfig, GaussianDiffusion
from HW3.ema import EMA
from HW3.optim import Muon
from HW3.run_folder import open_run_folder
from HW3.Unet import UNet

NUM_SAMPLES = 64


def parse_args(argv=None):
    parser = cli.Parser(__doc__)
    cli.add_run_flags(parser, data_dir="data", out_dir="result/diffusion", epochs=20, batch_size=128, lr=1e-4)
    cli.add_diffusion_flags(parser)
    cli.add_unet_flags(parser, channel_mults="1,2,4,8", num_res_blocks="2,2,1")
    return cli.parse_diffusion_args(parser, argv, ddim_steps=200)


def draw_grids(sampler, args, device, folder, epoch):
    """Draw the same noise as digits by DDPM and by DDIM, and return the path of the second grid."""
    for name in ("ddpm", "ddim"):
        generator = runtime.seeded_generator(args.seed, "grid")
        if name == "ddpm":
            samples = sampler.sample_ddpm(NUM_SAMPLES, device, generator=generator)
        else:
            samples = sampler.sample_ddim(
                NUM_SAMPLES, device, args.ddim_steps, args.ddim_eta, generator=generator
            )
        path = folder / f"samples_{name}_epoch_{epoch:03d}.png"
        runtime.save_grid(to_unit(samples), path)
    return path


@exits.exit_codes
def main(argv=None):
    args = parse_args(argv)

    # Device and data
    device = runtime.pick_device(args.device)
    autocast = runtime.autocast(device, args.precision)
    train_loader, _, _ = get_mnist_dataloaders(
        args.data_dir,
        args.batch_size,
        args.num_workers,
        dataset=args.dataset,
        seed=args.seed,
        device=device,
        limit_batches=args.limit_batches,
    )

    # Model, EMA, optimizer
    runtime.seed_epoch(args.seed, 0)
    model_config = cli.unet_config(args)
    model = UNet(**model_config).to(device)
    ema = EMA(model, args.ema_decay)
    optimizer = Muon(model.parameters(), args.lr)
    config = DiffusionConfig.scaled(args.timesteps, args.beta_start, args.beta_end, clip_x0=True)
    diffusion = GaussianDiffusion(model, config).to(device)
    sampler = GaussianDiffusion(ema.model, config).to(device)

    # Run folder, resume
    latest = args.out_dir / "diffusion_latest.pt"
    metrics = []  # a row per completed epoch
    if args.resume:
        saved = checkpoint.load_resumed(latest, "diffusion", args)
        metrics = checkpoint.restore_training(saved, model, ema, optimizer)
    folder = open_run_folder(args.out_dir, "diffusion", metrics, checkpoint.plain_flags(args))
    runtime.print_start(device, autocast, train_loader, model, args, done=len(metrics))

    # Train
    for epoch in range(len(metrics) + 1, args.epochs + 1):
        start = time.perf_counter()
        runtime.seed_epoch(args.seed, epoch)
        train_loader.sampler.set_epoch(epoch)
        losses = runtime.Losses(epoch, latest, "loss")
        model.train()
        for x, _ in runtime.progress(train_loader, epoch, args.epochs, losses):
            x0 = to_signed(x.to(device))
            with autocast:
                loss = diffusion.training_loss(x0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            ema.update(model)
            losses.add(len(x), loss)

        # Draw, save, report
        row = {"epoch": epoch, **losses.means()}
        look_at = None
        if epoch % args.sample_every == 0 or epoch == args.epochs:
            with autocast:
                look_at = draw_grids(sampler, args, device, folder, epoch)
        metrics.append({**row, "seconds": round(time.perf_counter() - start, 1)})
        checkpoint.save(
            latest,
            {
                "stage": "diffusion",
                "model_config": model_config,
                "diffusion_config": vars(config),
                **checkpoint.training_state(model, ema, optimizer, args, metrics),
            },
        )
        runtime.report_epoch(folder, metrics, args.epochs, look_at)
        gallery.refresh(folder)

    print(expected.compare("diffusion", metrics, args, usual=parse_args([])))
    print(f"Done: {latest}. Next: python train_latent_diffusion.py")


if __name__ == "__main__":
    sys.exit(main())
