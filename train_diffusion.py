"""Train a denoising diffusion model (DDPM) on images: a small UNet learns to predict the noise in them.

Paper: Ho, Jain, Abbeel 2020, "Denoising Diffusion Probabilistic Models"; DDIM: Song, Meng, Ermon 2021.

    python train_diffusion.py                    # 20 epochs on MNIST
    python train_diffusion.py --resume           # continue after an interruption

Writes to result/diffusion/: samples_ddpm_epoch_XXX.png and samples_ddim_epoch_XXX.png (64 digits each, from
the same start noise every epoch), diffusion_latest.pt, metrics.csv, flags.json.
"""

import sys

from HW3.support.process import exit_codes

from HW3.data import get_mnist_dataloaders, to_signed, to_unit
from HW3.diffusion import DiffusionConfig, GaussianDiffusion
from HW3.ema import EMA
from HW3.optim import Muon
from HW3.support import flags, runtime
from HW3.support.cuda_graph import GraphedModel, graphed_step
from HW3.support.grids import draw_grids
from HW3.support.run import Run
from HW3.Unet import UNet


def parse_args(argv=None):
    parser = flags.Parser(__doc__)
    flags.add_run_flags(
        parser, data_dir="data", out_dir="result/diffusion", epochs=20, batch_size=128, lr=1e-4
    )
    flags.add_diffusion_flags(parser)
    flags.add_unet_flags(parser, channel_mults="1,2,4,8", num_res_blocks="2,2,1")
    return flags.parse_diffusion_args(parser, argv, ddim_steps=200)


@exit_codes
def main(argv=None):
    args = parse_args(argv)

    # Device and data
    device = runtime.pick_device(args.device)
    autocast = runtime.autocast(device, args.precision)
    train_loader, _, _ = get_mnist_dataloaders(**flags.data_options(args, device))

    # Model, EMA, optimizer
    runtime.seed_epoch(args.seed, 0)
    model_config = flags.unet_config(args)
    model = UNet(**model_config).to(device)
    ema = EMA(model, args.ema_decay)
    optimizer = Muon(model.parameters(), args.lr)
    config = DiffusionConfig.scaled(args.timesteps, args.beta_start, args.beta_end, clip_x0=True)
    diffusion = GaussianDiffusion(model, config).to(device)
    averaged = GaussianDiffusion(GraphedModel(ema.model), config).to(device)  # draws, and is never trained

    # Run folder, resume
    rebuild = {"model_config": model_config, "diffusion_config": vars(config)}
    run = Run("diffusion", args, model, ema, optimizer, rebuild)
    run.announce(device, autocast, train_loader)

    # A training step
    @graphed_step(optimizer)
    def step(x):
        with autocast:
            loss = diffusion.training_loss(to_signed(x))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    # Train
    for epoch in run.epochs_left:
        losses = run.start_epoch(epoch, train_loader, "loss")
        model.train()
        for x, _ in runtime.progress(train_loader, losses):
            loss = step(x.to(device))
            ema.update(model)
            losses.add(len(x), loss)

        # Draw, save
        look_at = None
        if run.draws_after(epoch):
            with autocast:
                look_at = draw_grids(averaged, to_unit, args, device, run.folder, epoch)
        run.finish_epoch(losses.means(), look_at=look_at)

    run.finish(parse_args([]))  # the reference run has the default flags


if __name__ == "__main__":
    sys.exit(main())
