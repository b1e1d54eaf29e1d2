"""Train a tiny Stable Diffusion: a UNet predicts the noise in an image, told by CLIP which digit it shows.

Papers: Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion Models"; Ho and Salimans
2022, "Classifier-Free Diffusion Guidance".

    python train_tiny_sd.py --epochs 40 --clip_ckpt result/clip/clip_latest.pt
    python train_tiny_sd.py --epochs 40 --resume                 # go on after an interruption
    python train_tiny_sd.py --vae_ckpt result/vae/convae_latest.pt --out_dir result/tiny_sd_latent

The third runs in the latent space of the VAE, with an MLP for the UNet, as the real Stable Diffusion does.

Needs the checkpoint of train_clip.py. Writes to result/tiny_sd/: samples_epoch_XXX.png (80 digits, every row
0 to 9, from the same start noise every epoch), tiny_sd_latest.pt, metrics.csv, flags.json.
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
from HW3.clip import TinyCLIP
from HW3.data import NUM_CLASSES, get_mnist_dataloaders, make_loader, to_signed, to_unit
from HW3.diffusion import DiffusionConfig, GaussianDiffusion
from HW3.ema import EMA
from HW3.guidance import GuidedModel
from HW3.mlp import EpsMLP
from HW3.optim import Muon, width_scaled
from HW3.run_folder import open_run_folder
from HW3.Unet import UNet
from HW3.vae import LatentSpace

NUM_ROWS = 8


def parse_args(argv=None):
    parser = cli.Parser(__doc__)
    cli.add_run_flags(parser, data_dir="data", out_dir="result/tiny_sd", epochs=40, batch_size=128, lr=2e-4)
    cli.add_diffusion_flags(parser)
    cli.add_unet_flags(parser, channel_mults="1,2,3,4", num_res_blocks="1")
    add = parser.add_argument
    add("--clip-ckpt", type=cli.path, default=Path("result/clip/clip_latest.pt"), help="checkpoint of CLIP")
    add("--embed-dim", type=cli.WIDTH, help="dimensions of CLIP's embeddings; its own when not given")
    add("--cond-drop-prob", type=cli.real(0, 1), default=0.1, help="share of labels hidden in training")
    add("--guidance-scale", type=cli.real(0), default=2.0, help="of the grids: 1 plain, 0 unconditional")
    add("--vae-ckpt", type=cli.path, help="work in the latent space of this VAE, with an MLP")
    args = cli.parse_diffusion_args(parser, argv, ddim_steps=50)
    if args.cond_drop_prob == 0 and args.guidance_scale != 1:
        parser.error("argument --cond-drop-prob: must be above 0, unless --guidance-scale is 1")
    if args.vae_ckpt and cli.unet_config(args) != cli.unet_config(parser.parse_args([])):
        parser.error("argument --vae-ckpt: there is no UNet then, and its size can't be chosen")
    return args


def load_clip(args):
    """Return the frozen embeddings (10, embed_dim) that CLIP has learned for the labels."""
    saved = checkpoint.load(args.clip_ckpt, "clip")
    runtime.note_other_dataset(saved, args.clip_ckpt, args.dataset)
    clip = TinyCLIP(**saved["model_config"])
    checkpoint.load_weights(clip, saved["model_state"])
    return clip.class_embeddings().detach()


def draw_grid(model, config, decode, class_embeddings, args, device, path):
    """Draw rows of 0 to 9 by DDIM with classifier-free guidance."""
    sampler = GaussianDiffusion(GuidedModel(model, args.guidance_scale), config).to(device)
    cond = class_embeddings.repeat(NUM_ROWS, 1)  # (10, D) -> (80, D)
    generator = runtime.seeded_generator(args.seed, "grid")
    samples = sampler.sample_ddim(
        len(cond), device, args.ddim_steps, args.ddim_eta, cond, generator=generator
    )
    runtime.save_grid(decode(samples), path, columns=NUM_CLASSES)


@exits.exit_codes
def main(argv=None):
    args = parse_args(argv)

    # Device, earlier stages
    device = runtime.pick_device(args.device)
    autocast = runtime.autocast(device, args.precision)
    latest = args.out_dir / "tiny_sd_latest.pt"
    saved = None
    if args.resume:  # it keeps the embeddings and the latent space that it began with
        saved = checkpoint.load_resumed(latest, "tiny_sd", args, free={"vae_ckpt", "embed_dim"})
        if args.vae_ckpt and "vae" not in saved:
            raise exits.UsageError(f"--vae-ckpt: {latest} draws pixels; leave it out to --resume")
        args.clip_ckpt, args.vae_ckpt = saved["args"]["clip_ckpt"], saved["args"]["vae_ckpt"]
    class_embeddings = (saved["class_embeddings"] if saved else load_clip(args)).to(device)
    embed_dim = class_embeddings.shape[1]
    if args.embed_dim not in (None, embed_dim):
        source = latest if saved else args.clip_ckpt
        raise exits.UsageError(f"--embed-dim {args.embed_dim}: {source} has {embed_dim}")
    saved_vae = saved.get("vae") if saved else None
    if args.vae_ckpt and not saved:
        saved_vae = checkpoint.load(args.vae_ckpt, "vae")
        runtime.note_other_dataset(saved_vae, args.vae_ckpt, args.dataset)
    space = LatentSpace.restore(saved_vae).to(device) if saved_vae else None

    # Data: images in [-1, 1], or latents, for which every image is encoded once
    train_loader, _, _ = get_mnist_dataloaders(
        args.data_dir,
        args.batch_size,
        args.num_workers,
        dataset=args.dataset,
        seed=args.seed,
        device=device,
        limit_batches=args.limit_batches,
    )
    encode, decode = (torch.nn.Identity(), space.decode) if space else (to_signed, to_unit)
    if space:
        images = make_loader(train_loader.dataset, 1000, num_workers=args.num_workers)
        latents = TensorDataset(space.encode(images, fit=not saved), train_loader.dataset.labels)
        train_loader = make_loader(
            latents, args.batch_size, shuffle=True, seed=args.seed, limit_batches=args.limit_batches
        )

    # Model, EMA, optimizer
    runtime.seed_epoch(args.seed, 0)
    model_config = {"cond_dim": embed_dim}
    if space:
        model_config |= {"latent_dim": space.vae.latent_dim}
        model = EpsMLP(**model_config).to(device)
        optimizer = torch.optim.Adam(width_scaled(model, args.lr), fused=True)
        data_shape = {"image_size": 1, "channels": space.vae.latent_dim}
    else:
        model_config |= cli.unet_config(args)
        model = UNet(**model_config).to(device)
        optimizer = Muon(model.parameters(), args.lr)
        data_shape = {"clip_x0": True}
    ema = EMA(model, args.ema_decay)
    config = DiffusionConfig.scaled(args.timesteps, args.beta_start, args.beta_end, **data_shape)
    diffusion = GaussianDiffusion(model, config).to(device)

    # Run folder, resume
    metrics = checkpoint.restore_training(saved, model, ema, optimizer) if saved else []
    folder = open_run_folder(args.out_dir, "tiny_sd", metrics, checkpoint.plain_flags(args))
    runtime.print_start(device, autocast, train_loader, model, args, done=len(metrics))

    # Train
    for epoch in range(len(metrics) + 1, args.epochs + 1):
        start = time.perf_counter()
        runtime.seed_epoch(args.seed, epoch)
        train_loader.sampler.set_epoch(epoch)
        losses = runtime.Losses(epoch, latest, "loss")
        model.train()
        for x, y in runtime.progress(train_loader, epoch, args.epochs, losses):
            x0 = encode(x.to(device))
            cond = class_embeddings[y.to(device)]
            kept = torch.rand(len(y), 1, device=device) >= args.cond_drop_prob
            with autocast:
                loss = diffusion.training_loss(x0, cond=cond * kept)  # zeros stand for "no condition"
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            ema.update(model)
            losses.add(len(y), loss)

        # Draw, save, report
        row = {"epoch": epoch, **losses.means()}
        look_at = None
        if epoch % args.sample_every == 0 or epoch == args.epochs:
            look_at = folder / f"samples_epoch_{epoch:03d}.png"
            with autocast:
                draw_grid(ema.model, config, decode, class_embeddings, args, device, look_at)
        metrics.append({**row, "seconds": round(time.perf_counter() - start, 1)})
        checkpoint.save(
            latest,
            {
                "stage": "tiny_sd",
                "model_config": model_config,
                "diffusion_config": vars(config),
                "class_embeddings": class_embeddings,
                **({"vae": space.state()} if space else {}),
                **checkpoint.training_state(model, ema, optimizer, args, metrics),
            },
        )
        runtime.report_epoch(folder, metrics, args.epochs, look_at)
        gallery.refresh(folder)

    print(expected.compare("tiny_sd", metrics, args, parse_args([]), {"embed_dim": embed_dim}))
    print(f"Done: {latest}. Next: python -m HW3.sample {latest} --prompt 31415")


if __name__ == "__main__":
    sys.exit(main())
