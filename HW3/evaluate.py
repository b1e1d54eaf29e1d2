"""Judge drawn digits: `python -m HW3.evaluate CHECKPOINT` draws from a checkpoint and prints metrics.

Papers: Heusel et al. 2017 (Frechet distance); Kynkaanniemi et al. 2019 (precision and recall).

The features are those of a small classifier that is trained once on the real images, apart from the models
that draw, and kept. Every metric is printed next to its value for as many real training images and, where a
VAE decodes what is drawn, for the same images encoded and decoded, the best to be expected in its latent
space. The Frechet distance of few images is biased upwards: compare it at one number of images only.

Simplified against the papers: 64 features of a small network replace those of Inception.
"""

import argparse
import math
import sys
import time
from pathlib import Path

if not __package__:  # run as a file, as by an editor's button: the package is in the folder above
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from HW3.support.process import UsageError, exit_codes

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from HW3.clip import conv_block
from HW3.data import NUM_CLASSES, all_examples, get_mnist_dataloaders
from HW3.support import checkpoint, flags, runtime
from HW3.support.files import prepare_file
from HW3.support.restore import DRAWING_STAGES, choose_sampling, draw_in_parts, restore, restore_vae
from HW3.vae import ConvVAE

SURE = 0.9  # the classifier is sure of a digit above this probability
CLASSIFIER_EPOCHS = 3
CLASSIFIER_SEED = 0
NEIGHBOURS = 3  # k of precision and recall
BOOTSTRAPS = 1000


class Classifier(nn.Module):
    """Tell the digits apart, by 64 features."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *conv_block(1, 32, nn.MaxPool2d(2)),  # (B, 1, 32, 32) -> (B, 32, 16, 16)
            *conv_block(32, 64, nn.MaxPool2d(2)),
            *conv_block(64, 64, nn.MaxPool2d(2)),
            nn.Flatten(),  # (B, 64, 4, 4) -> (B, 1024)
            nn.Linear(64 * 4 * 4, 64),
            nn.ReLU(),
        )
        self.head = nn.Linear(64, NUM_CLASSES)

    def features(self, x: Tensor) -> Tensor:
        """Return the features (B, 64) of images x (B, 1, 32, 32) in [0, 1]."""
        return self.layers(x)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, 10) of images x (B, 1, 32, 32) in [0, 1]."""
        return self.head(self.features(x))


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Return the Frechet distance of two sets of features, each taken as a Gaussian.

    |mean_a - mean_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)); Eq. (6) of Heusel et al.

    Args:
        a, b: features (N, D) and (M, D).
    """
    a, b = a.double(), b.double()
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    values, vectors = torch.linalg.eigh(cov_a)
    root_a = vectors * values.clamp(min=0).sqrt() @ vectors.T
    # The eigenvalues of S_a S_b are those of the symmetric S_a^(1/2) S_b S_a^(1/2).
    root_product = torch.linalg.eigvalsh(root_a @ cov_b @ root_a).clamp(min=0).sqrt().sum()
    means = (a.mean(dim=0) - b.mean(dim=0)).square().sum()
    return (means + cov_a.trace() + cov_b.trace() - 2 * root_product).item()


def precision_recall(real: Tensor, drawn: Tensor, neighbours: int = NEIGHBOURS) -> tuple[float, float]:
    """Return the share of drawn features that lie among the real ones, and the reverse.

    A set's region is the union of balls around its members, each reaching to the k-th nearest other member;
    Eq. (1) and (2) of Kynkaanniemi et al.

    Args:
        real, drawn: features (N, D) and (M, D).
        neighbours: k.
    """

    def covered(points: Tensor, members: Tensor) -> float:
        radii = torch.cdist(members, members).kthvalue(neighbours + 1, dim=1).values  # the nearest is itself
        return (torch.cdist(points, members) <= radii).any(dim=1).float().mean().item()

    return covered(drawn, real), covered(real, drawn)


def nearest_distance(images: Tensor, others: Tensor) -> float:
    """Return the mean distance (root of summed squares of pixels) of images to the nearest of others."""
    flat = others.flatten(1)
    nearest = [torch.cdist(part.flatten(1), flat).amin(dim=1) for part in images.split(100)]
    return torch.cat(nearest).mean().item()


def train_classifier(loader: DataLoader, device: torch.device, path: Path) -> Classifier:
    """Train the classifier on the batches of a loader; path is where it will be kept."""
    runtime.seed_epoch(CLASSIFIER_SEED, 0)
    model = Classifier().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    autocast = runtime.autocast(device, "auto")
    for epoch in range(1, CLASSIFIER_EPOCHS + 1):
        runtime.seed_epoch(CLASSIFIER_SEED, epoch)
        loader.sampler.set_epoch(epoch)
        losses = runtime.Losses(epoch, CLASSIFIER_EPOCHS, path, "loss")
        for x, y in runtime.progress(loader, losses):
            with autocast:
                logits = model(x.to(device))
            loss = F.cross_entropy(logits.float(), y.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.add(len(y), loss)
    return model.eval()


def load_classifier(folder: Path, dataset: str, loader: DataLoader, device: torch.device) -> Classifier:
    """Return the classifier of a data set, from folder if it was trained before."""
    path = folder / f"classifier_{dataset}.pt"
    if path.exists():
        model = Classifier().to(device)
        checkpoint.load_weights(model, checkpoint.load(path, "classifier", remedy="delete it")["model_state"])
        return model.eval()
    prepare_file(path)
    print(f"Training the classifier once, for {path}", flush=True)
    model = train_classifier(loader, device, path)
    state = {"stage": "classifier", "epoch": CLASSIFIER_EPOCHS, "model_state": model.state_dict()}
    checkpoint.save(path, state)
    return model


@torch.inference_mode()
def judge(classifier: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the features (N, 64) and the class probabilities (N, 10) of images (N, 1, 32, 32), in fp32.

    They lie on the CPU: some GPUs have no float64, in which the metrics are computed.
    """
    features = torch.cat([classifier.features(part) for part in images.split(500)])
    return features.cpu(), classifier.head(features).softmax(dim=1).cpu()


@torch.inference_mode()
def reconstruct(vae: ConvVAE, images: Tensor) -> Tensor:
    """Return images (N, 1, 32, 32), encoded as the means of q(z|x) and decoded again."""
    return torch.cat([vae.decode(vae.encode(part)[0]) for part in images.split(500)])


def image_metrics(
    drawn: tuple[Tensor, Tensor, Tensor], real: tuple[Tensor, Tensor], train_images: Tensor
) -> dict[str, float]:
    """Return the metrics of a set of images, by name.

    Args:
        drawn: images (N, 1, 32, 32), their features (N, 64) and class probabilities (N, 10).
        real: features and class probabilities of the test set; precision and recall take its first N.
        train_images: images (M, 1, 32, 32), among which the nearest is sought.
    """
    images, features, probabilities = drawn
    labels = probabilities.argmax(dim=1).bincount(minlength=NUM_CLASSES) / len(images)
    precision, recall = precision_recall(real[0][: len(features)], features)
    return {
        "Frechet distance": frechet_distance(features, real[0]),
        "sure": (probabilities.amax(dim=1) > SURE).float().mean().item(),
        "label entropy": -torch.special.xlogy(labels, labels).sum().item() / math.log(2),
        "precision": precision,
        "recall": recall,
        "nearest training image": nearest_distance(images, train_images),
    }


def report_accuracy(wanted: Tensor, seen: Tensor, seed: int) -> None:
    """Print the share of digits that are the requested ones, per digit and overall with a bootstrap error."""
    correct = (wanted == seen).double()
    generator = torch.Generator().manual_seed(seed)
    resampled = torch.randint(len(correct), (BOOTSTRAPS, len(correct)), generator=generator)
    error = correct[resampled].mean(dim=1).std().item()
    print(f"as requested: {correct.mean():.2%} +- {error:.2%} (bootstrap)")
    shares = [f"{digit}: {correct[wanted == digit].mean():.1%}" for digit in range(NUM_CLASSES)]
    print("per digit:    " + "  ".join(shares))


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = flags.Parser(__doc__)
    add = parser.add_argument
    add("checkpoint", type=flags.path, help="checkpoint of any stage but CLIP, or the folder of a run")
    add(
        "--cache-dir",
        type=flags.path,
        default=Path("result/evaluate"),
        help="folder that keeps the classifier",
    )
    add("--n", type=flags.integer(100, 10000), default=2000, help="number of digits to draw")
    flags.add_drawing_flags(parser, precision="auto")
    return parser.parse_args(argv)


@exit_codes
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    device = runtime.pick_device(args.device)
    saved = checkpoint.load(args.checkpoint, *DRAWING_STAGES)
    draw = restore(saved, choose_sampling(saved, args), device)
    dataset = saved["args"]["dataset"]
    train_loader, _, test_loader = get_mnist_dataloaders(args.data_dir, dataset=dataset, device=device)
    if args.n >= len(train_loader.dataset):
        raise UsageError(f"--n {args.n}: must be less than the {len(train_loader.dataset)} training images")
    classifier = load_classifier(args.cache_dir, dataset, train_loader, device)

    start = time.perf_counter()
    labels = torch.arange(args.n) % NUM_CLASSES
    with runtime.autocast(device, args.precision):
        images = draw_in_parts(draw, labels, runtime.seeded_generator(args.seed, "evaluate"))
    seconds = time.perf_counter() - start

    test_images, test_labels = all_examples(test_loader)
    train_images, _ = all_examples(train_loader)
    test = judge(classifier, test_images)
    accuracy = (test[1].argmax(dim=1) == test_labels.cpu()).float().mean()
    chosen = torch.randperm(len(train_images), generator=torch.Generator().manual_seed(0))
    floor_images, others = train_images[chosen[: args.n]], train_images[chosen[args.n :]]
    judged = judge(classifier, images)
    columns = {
        "drawn": image_metrics((images, *judged), test, train_images),
        "real": image_metrics((floor_images, *judge(classifier, floor_images)), test, others),
    }
    if "vae" in saved or saved["stage"] == "vae":
        vae = restore_vae(saved.get("vae", saved)).to(device)
        decoded = reconstruct(vae, floor_images)
        columns["decoded"] = image_metrics((decoded, *judge(classifier, decoded)), test, others)

    print(f"{args.checkpoint}: {saved['stage']}, epoch {saved['epoch']}; {args.n} digits in {seconds:.0f} s")
    print(f"classifier: {accuracy:.2%} accuracy on the {dataset} test set")
    print(f"{'':24}" + "".join(f"{name:>10}" for name in columns))
    for name in columns["drawn"]:
        print(f"{name:24}" + "".join(f"{column[name]:10.3f}" for column in columns.values()))
    if saved["stage"] == "tiny_sd":
        report_accuracy(labels, judged[1].argmax(dim=1), args.seed)


if __name__ == "__main__":
    sys.exit(main())
