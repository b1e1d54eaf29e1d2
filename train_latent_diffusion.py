"""Train diffusion in the latent space of a VAE: an MLP learns to predict the noise in latent vectors.

Paper: Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion Models".

    python train_latent_diffusion.py --epochs 40 --vae_ckpt result/vae/convae_latest.pt
    python train_latent_diffusion.py --epochs 40 --resume        # go on after an interruption

Needs the checkpoint of train_vae.py. Writes to result/latent_diffusion/: samples_ddpm_epoch_XXX.png and
samples_ddim_epoch_XXX.png (64 decoded latents each, from the same start noise every epoch),
latent_diffusion_latest.pt, metrics.csv, flags.json.
"""

import sys
import time
from pathlib import Path

from HW3 import exits

if __name__ == "__main__":
    exits.guard_loading()  # torch takes seconds to load, and Ctrl-C shall be one line then, too

import torch
from torch.utils.data import TensorDataset

from HW3 import checkpoint, cli, expected, gallery, runtime
from HW3.data import get_mnist_dataloaders, make_loader
from HW3.diffusion import DiffusionConfig, GaussianDiffusion
from HW3.ema import EMA
from HW3.mlp import EpsMLP
from HW3.optim import width_scaled
from HW3.run_folder import open_run_folder
from HW3.vae import LatentSpace

NUM_SAMPLES = 64


def parse_args(argv=None):
    parser = cli.Parser(__doc__)
    cli.add_run_flags(
        parser, data_dir="data", out_dir="result/latent_diffusion", epochs=40, batch_size=128, lr=1e-4
    )
    cli.add_diffusion_flags(parser)
    add = parser.add_argument
    add(
        "--vae-ckpt", type=cli.path, default=Path("result/vae/convae_latest.pt"), help="checkpoint of the VAE"
    )
    add("--latent-dim", type=cli.WIDTH, help="latent dimensions; the VAE's when not given")
    add("--time-dim", type=cli.EVEN_WIDTH, default=256, help="width of the time embedding")
    add("--hidden-dim", type=cli.WIDTH, default=512, help="width of the MLP")
    add("--canonicalize", action="store_true", help="flip latents that decode to mostly bright images")
    return cli.parse_diffusion_args(parser, argv, ddim_steps=200)


def draw_grids(sampler, space, args, device, folder, epoch):
    """Draw the same noise as latents by DDPM and by DDIM, decode them; return the path of the second grid."""
    for name in ("ddpm", "ddim"):
        generator = runtime.seeded_generator(args.seed, "grid")
        if name == "ddpm":
            z = sampler.sample_ddpm(NUM_SAMPLES, device, generator=generator)
        else:
            z = sampler.sample_ddim(NUM_SAMPLES, device, args.ddim_steps, args.ddim_eta, generator=generator)
        path = folder / f"samples_{name}_epoch_{epoch:03d}.png"
        runtime.save_grid(space.decode(z), path)
    return path


@exits.exit_codes
def main(argv=None):
    args = parse_args(argv)

    # Device, earlier stage
    device = runtime.pick_device(args.device)
    autocast = runtime.autocast(device, args.precision)
    latest = args.out_dir / "latent_diffusion_latest.pt"
    saved = None
    if args.resume:  # the latent dimensions are compared with the VAE's, below
        saved = checkpoint.load_resumed(latest, "latent_diffusion", args, free={"latent_dim", "vae_ckpt"})
        args.vae_ckpt = saved["args"]["vae_ckpt"]
    # A resumed run goes on in the latent space that it began in, whatever became of the VAE's own checkpoint.
    saved_vae = saved["vae"] if saved else checkpoint.load(args.vae_ckpt, "vae")
    space = LatentSpace.restore(saved_vae, canonicalize=args.canonicalize).to(device)
    vae_args = saved_vae["args"]
    latent_dim = space.vae.latent_dim
    if args.latent_dim not in (None, latent_dim):
        source = latest if saved else args.vae_ckpt
        raise exits.UsageError(f"--latent-dim {args.latent_dim}: {source} has {latent_dim}")
    if not saved:
        runtime.note_other_dataset(saved_vae, args.vae_ckpt, args.dataset)
        vae_args |= {"epochs": saved_vae["epoch"]}  # it may not have come to its last one

    # Data: every image is encoded once
    image_loader, _, _ = get_mnist_dataloaders(
        args.data_dir, num_workers=args.num_workers, dataset=args.dataset, seed=args.seed, device=device
    )
    images = make_loader(image_loader.dataset, 1000, num_workers=args.num_workers)
    latents = TensorDataset(space.encode(images, fit=not saved))
    train_loader = make_loader(
        latents, args.batch_size, shuffle=True, seed=args.seed, limit_batches=args.limit_batches
    )

    # Model, EMA, optimizer
    runtime.seed_epoch(args.seed, 0)
    model_config = {"latent_dim": latent_dim, "time_dim": args.time_dim, "hidden_dim": args.hidden_dim}
    model = EpsMLP(**model_config).to(device)
    ema = EMA(model, args.ema_decay)
    optimizer = torch.optim.Adam(width_scaled(model, args.lr), fused=True)
    config = DiffusionConfig.scaled(
        args.timesteps, args.beta_start, args.beta_end, image_size=1, channels=latent_dim
    )
    diffusion = GaussianDiffusion(model, config).to(device)
    sampler = GaussianDiffusion(ema.model, config).to(device)

    # Run folder, resume
    metrics = checkpoint.restore_training(saved, model, ema, optimizer) if saved else []
    folder = open_run_folder(args.out_dir, "latent_diffusion", metrics, checkpoint.plain_flags(args))
    runtime.print_start(device, autocast, train_loader, model, args, done=len(metrics))

    # Train
    for epoch in range(len(metrics) + 1, args.epochs + 1):
        start = time.perf_counter()
        runtime.seed_epoch(args.seed, epoch)
        train_loader.sampler.set_epoch(epoch)
        losses = runtime.Losses(epoch, latest, "loss")
        model.train()
        for (x0,) in runtime.progress(train_loader, epoch, args.epochs, losses):  # (B, D, 1, 1)
            with autocast:
                loss = diffusion.training_loss(x0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            ema.update(model)
            losses.add(len(x0), loss)

        # Draw, save, report
        row = {"epoch": epoch, **losses.means()}
        look_at = None
        if epoch % args.sample_every == 0 or epoch == args.epochs:
            with autocast:
                look_at = draw_grids(sampler, space, args, device, folder, epoch)
        metrics.append({**row, "seconds": round(time.perf_counter() - start, 1)})
        checkpoint.save(
            latest,
            {
                "stage": "latent_diffusion",
                "model_config": model_config,
                "diffusion_config": vars(config),
                "vae": {**space.state(), "args": vae_args},
                **checkpoint.training_state(model, ema, optimizer, args, metrics),
            },
        )
        runtime.report_epoch(folder, metrics, args.epochs, look_at)
        gallery.refresh(folder)

    print(expected.compare("latent_diffusion", metrics, args, parse_args([]), vae_args))
    print(f"Done: {latest}. Next: python train_clip.py")


if __name__ == "__main__":
    sys.exit(main())
