"""Train TinyCLIP: images and labels are embedded in one space, where an image lies near its label.

Paper: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision".

    python train_clip.py --epochs 10
    python train_clip.py --epochs 10 --resume    # continue after an interruption

Writes to result/clip/: clip_latest.pt, clip_best.pt (best validation accuracy), metrics.csv, flags.json.
"""

import sys

from HW3.support.process import exit_codes

import torch

from HW3.clip import TinyCLIP, clip_loss
from HW3.data import NUM_CLASSES, get_mnist_dataloaders
from HW3.ema import EMA
from HW3.support import flags, runtime
from HW3.support.cuda_graph import graphed_step
from HW3.support.run import Run


def parse_args(argv=None):
    parser = flags.Parser(__doc__)
    flags.add_run_flags(parser, data_dir="data", out_dir="result/clip", epochs=10, batch_size=256, lr=1e-3)
    add = parser.add_argument
    add("--embed-dim", type=flags.WIDTH, default=128, help="dimensions of the shared space")
    add("--weight-decay", type=flags.real(0), default=1e-4, help="weight decay of AdamW")
    add(
        "--val-split",
        type=flags.real(0, 1, below=True),
        default=0.1,
        help="share of the training images set aside for validation",
    )
    return parser.parse_args(argv)


@torch.inference_mode()
def accuracy(model, loader, device):
    """Return the share of images in a loader whose nearest label is the correct one."""
    hits = torch.cat([model.predict(x.to(device)) == y.to(device) for x, y in loader])
    return hits.float().mean().item()


@exit_codes
def main(argv=None):
    args = parse_args(argv)

    # Device and data
    device = runtime.pick_device(args.device)
    autocast = runtime.autocast(device, args.precision)
    options = flags.data_options(args, device)
    train_loader, val_loader, test_loader = get_mnist_dataloaders(**options, val_split=args.val_split)

    # Model, EMA, optimizer
    runtime.seed_epoch(args.seed, 0)
    model_config = {"embed_dim": args.embed_dim, "num_classes": NUM_CLASSES}
    model = TinyCLIP(**model_config).to(device)
    ema = EMA(model, args.ema_decay)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=args.weight_decay, fused=True)

    # Run folder, resume
    run = Run("clip", args, model, ema, optimizer, {"model_config": model_config})
    run.announce(device, autocast, train_loader)

    # A training step
    @graphed_step(optimizer)
    def step(x, y):
        with autocast:
            image_embs = model.forward_image(x)
        loss = clip_loss(model.compute_logits(image_embs, model.class_embeddings()), y)
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
            losses.add(len(x), loss)

        # Evaluate, save
        metrics = losses.means()
        is_best = True  # without a validation split there is nothing to choose by
        if val_loader:
            metrics["val_accuracy"] = accuracy(ema.model, val_loader, device)
            best = max((row["val_accuracy"] for row in run.metrics), default=-1.0)
            is_best = metrics["val_accuracy"] > best
        run.finish_epoch(metrics, is_best=is_best)

    print(f"Test accuracy {accuracy(ema.model, test_loader, device):.2%}")
    run.finish(parse_args([]))  # the reference run has the default flags


if __name__ == "__main__":
    sys.exit(main())
