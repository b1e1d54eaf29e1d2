"""Train TinyCLIP: images and labels are embedded in one space, where an image lies near its label.

Paper: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision".

    python train_clip.py --epochs 10
    python train_clip.py --epochs 10 --resume    # go on after an interruption

Writes to result/clip/: clip_latest.pt, clip_best.pt (best validation accuracy), metrics.csv, flags.json.
"""

import sys
import time

from HW3 import exits

if __name__ == "__main__":
    exits.guard_loading()  # torch takes seconds to load, and Ctrl-C shall be one line then, too

import torch

from HW3 import checkpoint, cli, expected, gallery, runtime
from HW3.clip import TinyCLIP, clip_loss
from HW3.data import NUM_CLASSES, get_mnist_dataloaders
from HW3.ema import EMA
from HW3.run_folder import open_run_folder


def parse_args(argv=None):
    parser = cli.Parser(__doc__)
    cli.add_run_flags(parser, data_dir="data", out_dir="result/clip", epochs=10, batch_size=256, lr=1e-3)
    add = parser.add_argument
    add("--embed-dim", type=cli.WIDTH, default=128, help="dimensions of the shared space")
    add("--weight-decay", type=cli.real(0), default=1e-4, help="of AdamW")
    add("--val-split", type=cli.real(0, 1, below=True), default=0.1, help="share of the training images")
    return parser.parse_args(argv)


@torch.inference_mode()
def accuracy(model, loader, device):
    """Return the share of images in a loader whose nearest label is the right one."""
    hits = torch.cat([model.predict(x.to(device)) == y.to(device) for x, y in loader])
    return hits.float().mean().item()


@exits.exit_codes
def main(argv=None):
    args = parse_args(argv)

    # Device and data
    device = runtime.pick_device(args.device)
    autocast = runtime.autocast(device, args.precision)
    train_loader, val_loader, test_loader = get_mnist_dataloaders(
        args.data_dir,
        args.batch_size,
        args.num_workers,
        args.val_split,
        dataset=args.dataset,
        seed=args.seed,
        device=device,
        limit_batches=args.limit_batches,
    )

    # Model, EMA, optimizer
    runtime.seed_epoch(args.seed, 0)
    model_config = {"embed_dim": args.embed_dim, "num_classes": NUM_CLASSES}
    model = TinyCLIP(**model_config).to(device)
    ema = EMA(model, args.ema_decay)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=args.weight_decay, fused=True)

    # Run folder, resume
    latest, best = args.out_dir / "clip_latest.pt", args.out_dir / "clip_best.pt"
    metrics = []  # a row per completed epoch
    if args.resume:
        saved = checkpoint.load_resumed(latest, "clip", args)
        metrics = checkpoint.restore_training(saved, model, ema, optimizer)
    folder = open_run_folder(args.out_dir, "clip", metrics, checkpoint.plain_flags(args))
    runtime.print_start(device, autocast, train_loader, model, args, done=len(metrics))

    # Train
    for epoch in range(len(metrics) + 1, args.epochs + 1):
        start = time.perf_counter()
        runtime.seed_epoch(args.seed, epoch)
        train_loader.sampler.set_epoch(epoch)
        losses = runtime.Losses(epoch, latest, "loss")
        model.train()
        for x, y in runtime.progress(train_loader, epoch, args.epochs, losses):
            x, y = x.to(device), y.to(device)
            with autocast:
                image_embs = model.forward_image(x)
            loss = clip_loss(model.compute_logits(image_embs, model.class_embeddings()), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            ema.update(model)
            losses.add(len(x), loss)

        # Evaluate, save, report
        row = {"epoch": epoch, **losses.means()}
        is_best = True  # without a validation split there is nothing to choose by
        if val_loader:
            row["val_accuracy"] = accuracy(ema.model, val_loader, device)
            is_best = row["val_accuracy"] > max((former["val_accuracy"] for former in metrics), default=-1.0)
        metrics.append({**row, "seconds": round(time.perf_counter() - start, 1)})
        state = {
            "stage": "clip",
            "model_config": model_config,
            **checkpoint.training_state(model, ema, optimizer, args, metrics),
        }
        if is_best:
            checkpoint.save(best, state)
        checkpoint.save(latest, state)
        runtime.report_epoch(folder, metrics, args.epochs, None)
        gallery.refresh(folder)

    print(f"Test accuracy {accuracy(ema.model, test_loader, device):.2%}")
    print(expected.compare("clip", metrics, args, usual=parse_args([])))
    print(f"Done: {latest}, {best}. Next: python train_tiny_sd.py --clip_ckpt {latest}")


if __name__ == "__main__":
    sys.exit(main())
