"""Draw a picture that explains what a model has learned, from its checkpoint.

    python -m HW3.explain walk result/vae/convae_latest.pt
    python -m HW3.explain traverse result/vae/convae_latest.pt
    python -m HW3.explain kl result/vae_0.05 result/vae_0.5 result/vae_2
    python -m HW3.explain steps result/diffusion/diffusion_latest.pt
    python -m HW3.explain guidance result/tiny_sd/tiny_sd_latest.pt

walk: from digit to digit through the VAE's latent space, along great circles. traverse: the VAE's most active
dimensions, one at a time. kl: the same digits and prior samples through several VAEs, whose KL weights
differ, and what latent diffusion draws in their spaces, where its runs are given too. steps: DDIM with few
and many steps, and DDPM, from one start noise. guidance: tiny SD with growing guidance scales, and the share
of its digits that are the requested ones, by the classifier of HW3.evaluate.

Papers: Shoemake 1985 (slerp) and White 2016, "Sampling Generative Networks", which walks along great circles
because Gaussian latents of many dimensions lie near a sphere.
"""

import argparse
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

if not __package__:  # run as a file, as by an editor's button: the package is in the folder above
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from HW3.support.process import UsageError, exit_codes

import torch
from PIL import Image
from torch import Tensor

from HW3.data import NUM_CLASSES, all_examples, get_mnist_dataloaders
from HW3.evaluate import judge, load_classifier
from HW3.support import boards, checkpoint, flag_types, flags, runtime
from HW3.support.files import prepare_file
from HW3.support.restore import Sampling, draw_in_parts, restore, restore_vae
from HW3.vae import ConvVAE, kl_divergence, vae_loss

WALK_STEPS = 10
TRAVERSED, TRAVERSE_REACH, TRAVERSE_STEPS = 8, 3.0, 11
ACTIVE = 0.1  # nats of KL divergence above which a latent dimension is in use
DDIM_STEPS = (5, 10, 20, 50, 200)
GUIDANCE_SCALES = (0.0, 1.0, 2.0, 3.0, 5.0, 7.0)


def test_set(saved: dict, args: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Return the test images (N, 1, 32, 32) and labels (N,) of the data set that a checkpoint stems from."""
    dataset = saved["args"]["dataset"]
    _, _, loader = get_mnist_dataloaders(args.data_dir, dataset=dataset, device=args.device)
    return all_examples(loader)


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Go a share of the way from a to b along a great circle, and evenly between their lengths.

    slerp(a, b; s) = sin((1 - s) omega) / sin(omega) a + sin(s omega) / sin(omega) b, for unit vectors at the
    angle omega; Shoemake, section 3.3.

    Args:
        a, b: vectors (D,), not 0, that do not point in opposite directions.
        share: s, in [0, 1].
    """
    unit_a, unit_b = a / a.norm(), b / b.norm()
    omega = torch.acos((unit_a @ unit_b).clamp(-1, 1))
    if omega < 1e-4:  # sin(omega) vanishes, and the circle is as good as straight
        return a + share * (b - a)
    direction = (((1 - share) * omega).sin() * unit_a + (share * omega).sin() * unit_b) / omega.sin()
    return direction * (a.norm() + share * (b.norm() - a.norm()))


def encode(vae: ConvVAE, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return mu and logvar (N, D) of many images (N, 1, 32, 32)."""
    mu, logvar = zip(*map(vae.encode, images.split(500)), strict=True)
    return torch.cat(mu), torch.cat(logvar)


@torch.inference_mode()
def draw_walk(saved: dict, args: argparse.Namespace) -> Image.Image:
    """Walk from one test image of each class to one of the next."""
    vae = restore_vae(saved).to(args.device)
    images, labels = test_set(saved, args)
    # The second of each class: MNIST's first 3 is hardly one.
    chosen = torch.stack([images[labels == label][1] for label in range(NUM_CLASSES)])
    z, _ = vae.encode(chosen)
    shares = torch.linspace(0, 1, WALK_STEPS).tolist()
    path = torch.stack([slerp(a, b, share) for a, b in pairwise(z) for share in shares])
    rows = [f"{label} to {label + 1}" for label in range(NUM_CLASSES - 1)]
    return boards.board(vae.decode(path), WALK_STEPS, rows=rows, columns=[f"{s:.0%}" for s in shares])


@torch.inference_mode()
def draw_traverse(saved: dict, args: argparse.Namespace) -> Image.Image:
    """Change a test image's latent in one dimension at a time: those with the largest KL divergence."""
    vae = restore_vae(saved).to(args.device)
    images, _ = test_set(saved, args)
    mu, logvar = encode(vae, images)
    kl = kl_divergence(mu, logvar).mean(dim=0)  # (N, D) -> (D,)
    chosen = torch.randint(len(images), (), generator=runtime.seeded_generator(args.seed, "explain"))
    dimensions = kl.argsort(descending=True)[:TRAVERSED].tolist()
    values = torch.linspace(-TRAVERSE_REACH, TRAVERSE_REACH, TRAVERSE_STEPS)
    z = mu[chosen].repeat(len(dimensions), TRAVERSE_STEPS, 1)  # (D,) -> (rows, steps, D)
    for row, dimension in enumerate(dimensions):
        z[row, :, dimension] = values
    rows = [f"z[{dimension}], KL {kl[dimension]:.2f}" for dimension in dimensions]
    columns = [f"{round(value, 1) + 0.0:+}" for value in values.tolist()]
    return boards.board(vae.decode(z.flatten(0, 1)), TRAVERSE_STEPS, rows=rows, columns=columns)


def is_space_of(vae: dict, run: dict) -> bool:
    """Tell whether a run of latent diffusion was trained in the latent space of this VAE, by its weights."""
    used = run["vae"]["model_state"]
    return all(torch.equal(used[name], weight) for name, weight in vae["model_state"].items())


@torch.inference_mode()
def draw_kl(*saved: dict, args: argparse.Namespace) -> Image.Image:
    """Put reconstructions and samples of several VAEs beside one another, over those of latent diffusion."""
    datasets = {each["args"]["dataset"] for each in saved}
    if len(datasets) > 1:
        raise UsageError(f"kl: the runs must be of one data set, got {', '.join(sorted(datasets))}")
    vaes = [each for each in saved if each["stage"] == "vae"]
    latent_runs = [each for each in saved if each["stage"] == "latent_diffusion"]
    for run in latent_runs:
        if not any(is_space_of(vae, run) for vae in vaes):
            raise UsageError(f"kl: {run['args']['out_dir']} is in the space of none of these VAEs")
    images, _ = test_set(saved[0], args)
    columns = [boards.stack([("test images", boards.board(images[:24], 6))])]
    labels = torch.zeros(30, dtype=torch.long)  # neither stage follows them
    for each in vaes:
        vae = restore_vae(each).to(args.device)
        mu, logvar = encode(vae, images)
        recon = torch.cat([vae.decode(part) for part in mu.split(500)])
        _, rec, kl = (part / len(images) for part in vae_loss(recon, images, mu, logvar))
        active = (kl_divergence(mu, logvar).mean(dim=0) > ACTIVE).sum()
        title = f"KL weight {each['args']['kl_weight']:g}: error {rec:.1f}, KL {kl:.1f}, {active} active"
        parts = [(title, boards.board(recon[:24], 6))]
        for run in [each, *(run for run in latent_runs if is_space_of(each, run))]:
            name = "prior samples" if run is each else "latent diffusion"
            draw = restore(run, Sampling(), args.device)
            drawn = draw(labels, runtime.seeded_generator(args.seed, "explain"))
            parts.append((name, boards.board(drawn, 6)))
        columns.append(boards.stack(parts))
    return boards.stack([("", column) for column in columns], beside=True)


def draw_steps(saved: dict, args: argparse.Namespace) -> Image.Image:
    """Draw the same start noise by DDIM with several numbers of steps, and by DDPM."""
    timesteps = saved["diffusion_config"]["timesteps"]
    samplings = {f"DDIM {steps}": Sampling("ddim", steps) for steps in DDIM_STEPS if steps <= timesteps}
    samplings[f"DDPM {timesteps}"] = Sampling("ddpm")
    labels = torch.arange(12) % NUM_CLASSES
    drawn = [
        restore(saved, sampling, args.device)(labels, runtime.seeded_generator(args.seed, "explain"))
        for sampling in samplings.values()
    ]
    return boards.board(torch.cat(drawn), len(labels), rows=list(samplings))


def draw_guidance(saved: dict, args: argparse.Namespace) -> Image.Image:
    """Draw the same start noise with several guidance scales, and count the correct digits."""
    dataset = saved["args"]["dataset"]
    train_loader, _, _ = get_mnist_dataloaders(args.data_dir, dataset=dataset, device=args.device)
    classifier = load_classifier(args.cache_dir, dataset, train_loader, args.device)
    n = args.n or 200
    labels = torch.arange(n) % NUM_CLASSES
    drawn, rows = [], []
    for scale in GUIDANCE_SCALES:
        draw = restore(saved, Sampling(guidance_scale=scale), args.device)
        images = draw_in_parts(draw, labels, runtime.seeded_generator(args.seed, "explain"))
        correct = (judge(classifier, images)[1].argmax(dim=1) == labels).float().mean()
        drawn.append(images[: 2 * NUM_CLASSES])
        rows.append(f"w = {scale:g}: {correct:.1%} correct")
        print(f"guidance scale {scale:g}: {correct:.1%} of {n} digits are the requested ones", flush=True)
    columns = [str(label) for label in labels[: 2 * NUM_CLASSES].tolist()]
    return boards.board(torch.cat(drawn), len(columns), rows=rows, columns=columns)


PICTURES: dict[str, tuple[Callable[..., Image.Image], tuple[str, ...]]] = {  # and whose checkpoint it takes
    "walk": (draw_walk, ("vae",)),
    "traverse": (draw_traverse, ("vae",)),
    "kl": (draw_kl, ("vae", "latent_diffusion")),
    "steps": (draw_steps, ("diffusion", "latent_diffusion", "tiny_sd")),
    "guidance": (draw_guidance, ("tiny_sd",)),
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = flags.Parser(__doc__)
    add = parser.add_argument
    add("picture", choices=tuple(PICTURES), help="picture to draw")
    add(
        "checkpoints",
        type=flag_types.paths,
        nargs="+",
        help="checkpoint or folder of a run; kl takes two or more",
    )
    add("--out", type=flag_types.png_path, help="path of the picture; default: result/explain/PICTURE.png")
    add(
        "--n",
        type=flags.integer(20, 10000),
        help="for guidance: digits to classify per scale; default: 200",
    )
    add("--seed", type=flags.integer(0, 2**32 - 1), default=42, help="random seed")
    add("--data-dir", type=flags.path, default=Path("data"), help="folder of the data set, or one above it")
    add(
        "--cache-dir",
        type=flags.path,
        default=Path("result/evaluate"),
        help="for guidance: folder that keeps the classifier",
    )
    add("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="device to draw on")
    args = parser.parse_args(argv)
    args.checkpoints = [path for named in args.checkpoints for path in named]
    if (len(args.checkpoints) > 1) != (args.picture == "kl"):
        wanted = "two or more checkpoints" if args.picture == "kl" else "one checkpoint"
        parser.error(f"argument checkpoints: {args.picture} takes {wanted}, got {len(args.checkpoints)}")
    if args.n and args.picture != "guidance":
        parser.error(f"argument --n: means nothing to {args.picture}")
    return args


@exit_codes
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    args.device = runtime.pick_device(args.device)
    args.out = args.out or Path(f"result/explain/{args.picture}.png")
    draw, stages = PICTURES[args.picture]
    saved = [checkpoint.load(path, *stages) for path in args.checkpoints]
    prepare_file(args.out)
    boards.save(draw(*saved, args=args), args.out)
    print(args.out)


if __name__ == "__main__":
    sys.exit(main())
