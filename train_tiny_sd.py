"""Train a tiny Stable Diffusion: a UNet, conditioned on CLIP's embedding of the label, predicts the noise.

Papers: Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion Models"; Ho and Salimans
2022, "Classifier-Free Diffusion Guidance".

    python train_tiny_sd.py --epochs 40 --clip_ckpt result/clip/clip_latest.pt
    python train_tiny_sd.py --epochs 40 --resume                 # continue after an interruption
    python train_tiny_sd.py --vae_ckpt result/vae/convae_latest.pt --out_dir result/tiny_sd_latent

The third runs in the VAE's latent space, with an MLP instead of the UNet, like the real Stable Diffusion.

Needs the checkpoint of train_clip.py. Writes to result/tiny_sd/: samples_epoch_XXX.png (80 digits, every row
0 to 9, from the same start noise every epoch), tiny_sd_latest.pt, metrics.csv, flags.json.
"""

import sys
from pathlib import Path

from HW3.support.process import exit_codes

import torch

from HW3.data import get_mnist_dataloaders, to_signed, to_unit
from HW3.diffusion import DiffusionConfig, GaussianDiffusion
from HW3.ema import EMA
from HW3.guidance import GuidedModel
from HW3.mlp import EpsMLP
from HW3.optim import Muon, width_scaled
from HW3.support import flags, runtime
from HW3.support.checkpoint import load_resumed
from HW3.support.cuda_graph import GraphedModel, graphed_step
from HW3.support.grids import draw_class_grid
from HW3.support.restore import load_class_embeddings, load_space
from HW3.support.run import Run
from HW3.Unet import UNet


def parse_args(argv=None):
    parser = flags.Parser(__doc__)
    flags.add_run_flags(parser, data_dir="data", out_dir="result/tiny_sd", epochs=40, batch_size=128, lr=2e-4)
    flags.add_diffusion_flags(parser)
    flags.add_unet_flags(parser, channel_mults="1,2,3,4", num_res_blocks="1")
    add = parser.add_argument
    clip_ckpt = Path("result/clip/clip_latest.pt")
    add("--clip-ckpt", type=flags.path, default=clip_ckpt, help="checkpoint of CLIP")
    add("--embed-dim", type=flags.WIDTH, help="dimensions of CLIP's embeddings; its own when not given")
    add("--cond-drop-prob", type=flags.real(0, 1), default=0.1, help="share of labels hidden in training")
    add("--guidance-scale", type=flags.real(0), default=2.0, help="guidance of the grids; 1 is none")
    add("--vae-ckpt", type=flags.path, help="work in the latent space of this VAE, with an MLP")
    args = flags.parse_diffusion_args(parser, argv, ddim_steps=50)
    if args.cond_drop_prob == 0 and args.guidance_scale != 1:
        parser.error("argument --cond-drop-prob: must be above 0, unless --guidance-scale is 1")
    if args.vae_ckpt and flags.unet_config(args) != flags.unet_config(parser.parse_args([])):
        parser.error("argument --vae-ckpt: there is no UNet then, and its size can't be chosen")
    return args


def build(args, embed_dim, latent_dim):
    """Return network, optimizer, the arguments that rebuild the network, and the diffusion's config."""
    if latent_dim is None:
        model_config = {"cond_dim": embed_dim, **flags.unet_config(args)}
        model, shape = UNet(**model_config), {"clip_x0": True}
        optimizer = Muon(model.parameters(), args.lr)
    else:
        model_config = {"cond_dim": embed_dim, "latent_dim": latent_dim}
        model, shape = EpsMLP(**model_config), {"image_size": 1, "channels": latent_dim}
        optimizer = torch.optim.Adam(width_scaled(model, args.lr), fused=True)
    config = DiffusionConfig.scaled(args.timesteps, args.beta_start, args.beta_end, **shape)
    return model, optimizer, model_config, config


@exit_codes
def main(argv=None):
    args = parse_args(argv)

    # Device and data: images, or their latents
    device = runtime.pick_device(args.device)
    autocast = runtime.autocast(device, args.precision)
    saved = load_resumed("tiny_sd", args, free={"embed_dim"}, kept={"clip_ckpt", "vae_ckpt"})
    class_embeddings = load_class_embeddings(args, saved).to(device)
    train_loader, _, _ = get_mnist_dataloaders(**flags.data_options(args, device))
    encode, decode, latent_dim = to_signed, to_unit, None
    rebuild = {"class_embeddings": class_embeddings}
    if args.vae_ckpt:
        space, vae_args = load_space(args, saved)
        train_loader = space.to(device).latent_loader(train_loader, fit=not saved)
        encode, decode, latent_dim = torch.nn.Identity(), space.decode, space.vae.latent_dim
        rebuild["vae"] = {**space.state(), "args": vae_args}

    # Model, EMA, optimizer
    runtime.seed_epoch(args.seed, 0)
    model, optimizer, model_config, config = build(args, class_embeddings.shape[1], latent_dim)
    model = model.to(device)
    ema = EMA(model, args.ema_decay)
    diffusion = GaussianDiffusion(model, config).to(device)
    guided = GraphedModel(GuidedModel(ema.model, args.guidance_scale))
    averaged = GaussianDiffusion(guided, config).to(device)

    # Run folder, resume
    rebuild |= {"model_config": model_config, "diffusion_config": vars(config)}
    run = Run("tiny_sd", args, model, ema, optimizer, rebuild, saved)
    run.announce(device, autocast, train_loader)

    # A training step
    @graphed_step(optimizer)
    def step(x, y):
        cond = class_embeddings[y]
        keep_label = torch.rand(len(y), 1, device=device) >= args.cond_drop_prob
        with autocast:
            loss = diffusion.training_loss(encode(x), cond=cond * keep_label)  # zeros mean "no condition"
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    # Train
    for epoch in run.epochs_left:
        losses = run.start_epoch(epoch, train_loader, "loss")
        model.train()
        for x, y in runtime.progress(train_loader, losses):
            loss = step(x.to(device), y.to(device))
            ema.update(model)
            losses.add(len(y), loss)

        # Draw, save
        look_at = None
        if run.draws_after(epoch):
            with autocast:
                look_at = draw_class_grid(averaged, decode, class_embeddings, args, device, run.folder, epoch)
        run.finish_epoch(losses.means(), look_at=look_at)

    run.finish(parse_args([]), {"embed_dim": class_embeddings.shape[1]})


if __name__ == "__main__":
    sys.exit(main())
