"""Train diffusion in the latent space of a VAE: an MLP learns to predict the noise in latent vectors.

Paper: Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion Models".

    python train_latent_diffusion.py --epochs 40 --vae_ckpt result/vae/convae_latest.pt
    python train_latent_diffusion.py --epochs 40 --resume        # continue after an interruption

Needs the checkpoint of train_vae.py. Writes to result/latent_diffusion/: samples_ddpm_epoch_XXX.png and
samples_ddim_epoch_XXX.png (64 decoded latents each, from the same start noise every epoch),
latent_diffusion_latest.pt, metrics.csv, flags.json.
"""

import sys
from pathlib import Path

from HW3.support.process import UsageError, exit_codes

import torch

from HW3.data import get_mnist_dataloaders
from HW3.diffusion import DiffusionConfig, GaussianDiffusion
from HW3.ema import EMA
from HW3.mlp import EpsMLP
from HW3.optim import width_scaled
from HW3.support import flags, runtime
from HW3.support.checkpoint import load_resumed
from HW3.support.cuda_graph import GraphedModel, graphed_step
from HW3.support.grids import draw_grids
from HW3.support.restore import load_space
from HW3.support.run import Run


def parse_args(argv=None):
    parser = flags.Parser(__doc__)
    flags.add_run_flags(
        parser, data_dir="data", out_dir="result/latent_diffusion", epochs=40, batch_size=128, lr=1e-4
    )
    flags.add_diffusion_flags(parser)
    add = parser.add_argument
    vae_ckpt = Path("result/vae/convae_latest.pt")
    add("--vae-ckpt", type=flags.path, default=vae_ckpt, help="checkpoint of the VAE")
    add("--latent-dim", type=flags.WIDTH, help="latent dimensions; the VAE's when not given")
    add("--time-dim", type=flags.EVEN_WIDTH, default=256, help="width of the time embedding")
    add("--hidden-dim", type=flags.WIDTH, default=512, help="width of the MLP")
    add("--canonicalize", action="store_true", help="flip latents that decode to mostly bright images")
    return flags.parse_diffusion_args(parser, argv, ddim_steps=200)


@exit_codes
def main(argv=None):
    args = parse_args(argv)

    # Device and data: the VAE of stage 1 encodes every image once
    device = runtime.pick_device(args.device)
    autocast = runtime.autocast(device, args.precision)
    saved = load_resumed("latent_diffusion", args, free={"latent_dim"}, kept={"vae_ckpt"})
    space, vae_args = load_space(args, saved, canonicalize=args.canonicalize)
    latent_dim = space.to(device).vae.latent_dim
    if args.latent_dim not in (None, latent_dim):
        raise UsageError(f"--latent-dim {args.latent_dim}: {args.vae_ckpt} has {latent_dim}")
    image_loader, _, _ = get_mnist_dataloaders(**flags.data_options(args, device))
    train_loader = space.latent_loader(image_loader, fit=not saved)

    # Model, EMA, optimizer
    runtime.seed_epoch(args.seed, 0)
    model_config = {"latent_dim": latent_dim, "time_dim": args.time_dim, "hidden_dim": args.hidden_dim}
    model = EpsMLP(**model_config).to(device)
    ema = EMA(model, args.ema_decay)
    optimizer = torch.optim.Adam(width_scaled(model, args.lr), fused=True)
    shape = {"image_size": 1, "channels": latent_dim}
    config = DiffusionConfig.scaled(args.timesteps, args.beta_start, args.beta_end, **shape)
    diffusion = GaussianDiffusion(model, config).to(device)
    averaged = GaussianDiffusion(GraphedModel(ema.model), config).to(device)

    # Run folder, resume
    rebuild = {"model_config": model_config, "diffusion_config": vars(config)}
    rebuild["vae"] = {**space.state(), "args": vae_args}
    run = Run("latent_diffusion", args, model, ema, optimizer, rebuild, saved)
    run.announce(device, autocast, train_loader)

    # A training step
    @graphed_step(optimizer)
    def step(x0):  # (B, D, 1, 1)
        with autocast:
            loss = diffusion.training_loss(x0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    # Train
    for epoch in run.epochs_left:
        losses = run.start_epoch(epoch, train_loader, "loss")
        model.train()
        for x0, _ in runtime.progress(train_loader, losses):
            loss = step(x0)
            ema.update(model)
            losses.add(len(x0), loss)

        # Draw, save
        look_at = None
        if run.draws_after(epoch):
            with autocast:
                look_at = draw_grids(averaged, space.decode, args, device, run.folder, epoch)
        run.finish_epoch(losses.means(), look_at=look_at)

    run.finish(parse_args([]), vae_args)


if __name__ == "__main__":
    sys.exit(main())
