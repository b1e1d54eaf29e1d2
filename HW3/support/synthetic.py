"""Draw ten classes of handwritten-looking digits with code: the data set `synthetic`, nothing to download.

A digit is a list of pen strokes. Each stroke is a Catmull-Rom spline, a curve that passes through its control
points, so the tables below can be read with a pencil. A spline is linear in its control points: one matrix
per template turns jittered control points into dots along the stroke, for all its images at once.

The brush is a Gaussian, and a Gaussian in the plane is one in x times one in y. The ink of P dots,

    density[y, x] = sum_p ds_p / (s_p sqrt(2 pi)) exp(-(y - y_p)^2 / (2 s_p^2)) exp(-(x - x_p)^2 / (2 s_p^2)),

is therefore one product of a (28, P) and a (P, 28) matrix. s_p is the width of the brush and ds_p the length
of stroke that dot p stands for, so the sum approximates a line integral: it is 1 on the middle of a straight
stroke, whatever the spacing of the dots. A soft threshold then makes paper exactly 0 and ink evenly bright.

Simplified against real handwriting: a few ways of writing each digit instead of one per person, independent
random numbers instead of a writer's consistent style, a round pen, no corrections and no noise of a scanner.
"""

import math

import torch
from torch import Tensor

IMAGE_SIZE = 28
TRAIN_SIZE, TRAIN_SEED = 12_000, 20_240_601
TEST_SIZE, TEST_SEED = 2_000, 20_240_602
CHUNK_SIZE = 512  # images drawn at once: about 10 MB of brush profiles
DOT_SPACING = 3.0  # along the stroke, in template units: about 0.6 pixels, less than the thinnest brush

# One string per way of writing a digit: "x y" in percent of a square box, x to the right, y down, so 0 0 is
# the top left corner. Commas separate the points of a stroke and "/" lifts the pen. Equal coordinates are one
# point and move together: given twice in a row they make a corner, given in two places they join two strokes.
TEMPLATES = {
    0: (
        "52 3, 28 16, 19 50, 29 84, 50 97, 73 83, 81 50, 71 16, 48 4, 34 12",
        "64 12, 46 3, 29 24, 24 55, 34 88, 52 97, 70 80, 76 48, 67 16, 46 3",
        "54 16, 24 22, 8 52, 24 84, 54 92, 86 72, 92 40, 72 16, 44 14",
    ),
    1: (
        "52 2, 50 50, 48 98",
        "38 20, 54 2, 54 2, 53 50, 52 98",
        "36 20, 52 2, 52 2, 52 50, 52 96 / 30 97, 52 96, 74 95",
        "60 2, 54 30, 46 64, 44 98",
    ),
    2: (
        "22 26, 34 8, 56 4, 74 20, 68 42, 46 68, 20 94, 20 94, 50 93, 82 91",
        "20 24, 38 5, 62 6, 74 25, 64 52, 44 78, 25 92, 16 84, 28 76, 48 86, 66 94, 86 86",
        "18 10, 46 9, 76 7, 76 7, 50 48, 18 92, 18 92, 50 92, 84 90",
        "32 32, 38 12, 60 8, 66 28, 46 58, 10 84, 10 84, 50 84, 94 78",
    ),
    3: (
        "24 14, 46 3, 70 12, 68 34, 42 46, 42 46, 70 56, 76 78, 54 96, 22 88",
        "26 10, 54 3, 72 18, 62 38, 42 48, 38 42, 48 42, 72 56, 74 80, 50 97, 24 90",
        "24 6, 48 6, 74 5, 74 5, 60 24, 44 42, 44 42, 72 52, 77 76, 54 96, 22 88",
        "32 12, 52 4, 64 16, 56 32, 40 38, 40 38, 70 46, 82 70, 62 94, 32 96, 14 82",
    ),
    4: (
        "30 6, 24 32, 22 56, 22 56, 50 57, 84 53 / 70 4, 67 50, 62 98",
        "62 3, 40 32, 16 66, 16 66, 50 66, 86 64 / 62 3, 62 50, 60 98",
        "26 6, 22 34, 34 53, 56 50, 74 32, 78 4, 78 4, 72 50, 66 98",
        "20 14, 16 38, 34 52, 62 48, 88 38 / 66 4, 58 50, 50 98",
    ),
    5: (
        "32 8, 28 44, 28 44, 52 37, 74 54, 70 82, 46 96, 20 88 / 32 8, 56 7, 80 4",
        "78 6, 54 6, 34 9, 34 9, 28 46, 28 46, 54 42, 74 60, 66 86, 44 97, 22 92",
        "76 8, 50 6, 32 20, 40 40, 64 54, 70 76, 52 95, 24 88",
        "32 14, 26 46, 26 46, 50 40, 66 58, 58 84, 32 94, 12 84 / 32 14, 62 9, 94 4",
    ),
    6: (
        "66 4, 40 24, 24 58, 32 88, 54 97, 75 81, 69 60, 48 54, 28 72",
        "58 2, 36 34, 24 72, 42 97, 68 89, 70 66, 50 56, 25 76",
        "72 10, 56 4, 34 24, 24 60, 38 94, 64 92, 76 70, 60 52, 36 62, 28 78",
        "58 3, 28 30, 18 68, 36 95, 66 93, 82 70, 64 48, 38 52, 21 70",
    ),
    7: (
        "20 10, 50 9, 80 7, 80 7, 60 44, 44 98",
        "20 9, 50 9, 80 6, 80 6, 62 44, 46 98 / 34 52, 56 51, 78 48",
        "20 24, 22 8, 22 8, 50 11, 78 7, 78 7, 60 40, 52 70, 50 98",
        "18 20, 36 8, 66 8, 78 22, 66 54, 54 98",
    ),
    8: (
        "70 18, 50 4, 30 18, 38 38, 60 54, 72 76, 51 97, 28 78, 40 56, 62 40, 70 18, 54 4",
        "50 46, 28 26, 50 3, 72 25, 50 46, 28 70, 50 97, 73 72, 50 46, 36 38",
        "76 8, 52 4, 32 18, 42 40, 64 60, 68 82, 50 97, 30 80, 42 58, 62 38, 78 10",
        "64 14, 48 4, 36 16, 42 34, 68 54, 78 80, 48 97, 20 80, 34 54, 58 34, 64 14",
    ),
    9: (
        "71 18, 50 4, 29 18, 31 40, 52 46, 70 26, 73 6, 73 6, 70 50, 66 98",
        "72 22, 52 4, 28 18, 30 42, 54 46, 72 22, 75 50, 64 86, 42 97, 26 90",
        "70 16, 48 4, 28 24, 42 44, 66 30, 70 16, 66 48, 56 72, 42 98",
        "74 10, 46 4, 26 24, 38 44, 62 38, 76 12, 76 12, 68 54, 58 98",
    ),
}


def _spline_matrix(num_points: int, u: Tensor) -> Tensor:
    """Return the (P, num_points) weights of the control points in the Catmull-Rom curve at times u (P,)."""
    left = u.floor().clamp(max=num_points - 2)
    f = (u - left).unsqueeze(1)
    weights = (-f + 2 * f**2 - f**3, 2 - 5 * f**2 + 3 * f**3, f + 4 * f**2 - 3 * f**3, f**3 - f**2)
    # A piece of curve needs the point before and the point after it: at the ends, the end point itself.
    neighbours = (left.long().unsqueeze(1) + torch.arange(-1, 3)).clamp(0, num_points - 1)
    return torch.zeros(len(u), num_points).scatter_add_(1, neighbours, torch.cat(weights, dim=1) / 2)


def _parse_template(template: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return the distinct control points (K, 2) and the (P, K) matrices of starts and ends of P dashes."""
    strokes = [[tuple(map(float, xy.split())) for xy in stroke.split(",")] for stroke in template.split("/")]
    points = list(dict.fromkeys(point for stroke in strokes for point in stroke))
    control = torch.tensor(points)
    starts, ends = [], []
    for stroke in strokes:
        select = torch.eye(len(points))[[points.index(point) for point in stroke]]
        u = torch.linspace(0, len(stroke) - 1, 32 * len(stroke))
        curve = _spline_matrix(len(stroke), u) @ select @ control
        arc = torch.cat([torch.zeros(1), (curve[1:] - curve[:-1]).norm(dim=1).cumsum(0)])
        # Take the dense times nearest to equal steps of arc length. Dashes never cross a pen lift.
        wanted = torch.linspace(0, arc[-1].item(), math.ceil(arc[-1].item() / DOT_SPACING) + 1)
        even = _spline_matrix(len(stroke), u[torch.searchsorted(arc, wanted).clamp(max=len(u) - 1)]) @ select
        starts.append(even[:-1])
        ends.append(even[1:])
    return control, torch.cat(starts), torch.cat(ends)


def _write(template: str, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the dots (n, P, 2) of n digits and the length of stroke (n, P) of each dot, both in pixels."""
    control, start, end = _parse_template(template)

    def normal(*shape: int) -> Tensor:
        # Without the tails: beyond two sigma a slip makes a blob or another digit.
        return torch.randn(n, *shape, generator=generator).clamp(-2, 2)

    # Hand: every control point misses a little, then a random quadratic map bends the whole digit.
    p = control / 50 - 1 + 0.05 * normal(len(control), 2)  # (n, K, 2) in [-1, 1]
    x, y = p.unbind(-1)
    p = p + torch.stack([x * x, x * y, y * y], dim=-1) @ (0.1 * normal(3, 2))
    # Posture: width against height, slant (people lean to the right), rotation.
    angle, slant, stretch = 0.13 * normal(), -0.15 + 0.31 * normal(), torch.exp(0.2 * normal())
    cos, sin = angle.cos(), angle.sin()
    shear = torch.stack([stretch, torch.zeros(n), slant, torch.ones(n)], dim=-1).view(n, 2, 2)
    rotation = torch.stack([cos, sin, -sin, cos], dim=-1).view(n, 2, 2)
    p = p @ shear @ rotation
    # As in MNIST, the longer side fills a 20-pixel box (less the pen), with the centre of mass in the middle.
    a, b = start @ p, end @ p  # (P, K) @ (n, K, 2) -> (n, P, 2)
    dots, ds = (a + b) / 2, (b - a).norm(dim=-1)
    extent = (dots.amax(dim=1) - dots.amin(dim=1)).amax(dim=1).view(n, 1, 1)
    size = (16.6 + 0.9 * normal(1, 1)) / extent
    mass = (dots * ds.unsqueeze(-1)).sum(dim=1, keepdim=True) / ds.sum(dim=1).view(n, 1, 1)
    centre = IMAGE_SIZE / 2 + 0.5 * normal(1, 2)
    return centre + size * (dots - mass), size.squeeze(-1) * ds


def _ink(dots: Tensor, ds: Tensor, generator: torch.Generator) -> Tensor:
    """Return uint8 images (n, 28, 28) of the dots (n, P, 2), drawn with a random pen for each image."""
    n, num_dots, _ = dots.shape
    thickness, pressure, phase, blur, ink = torch.rand(5, n, 1, generator=generator)
    # Pressure changes slowly along the digit: strokes swell and thin out.
    wave = torch.sin(2 * math.pi * (phase + torch.linspace(0, 1.5, num_dots)))
    s = (0.70 + 0.52 * thickness) * (1 + 0.2 * pressure * wave)  # (n, P) in pixels
    pixels = torch.arange(IMAGE_SIZE, dtype=dots.dtype)
    distance = pixels - dots.unsqueeze(-1)  # (n, P, 2, 28): along x and along y
    profile = torch.exp(-(distance**2) / (2 * s**2).view(n, num_dots, 1, 1))
    gx, gy = profile.unbind(dim=2)
    density = (gy * (ds / (s * math.sqrt(2 * math.pi))).unsqueeze(-1)).mT @ gx  # (n, 28, P) @ (n, P, 28)
    low, high = 0.15, (0.45 + 0.35 * blur).unsqueeze(-1)
    level = ((density - low) / (high - low)).clamp(0, 1)
    return (255 * (1 - 0.12 * ink.unsqueeze(-1) ** 2) * level).round().to(torch.uint8)


def generate(num_images: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw a balanced, shuffled set of digits that depends on nothing but the arguments.

    Args:
        num_images: number of images N, at least 1. The sizes of the ten classes differ by at most one.
        seed: seed of a generator of its own; PyTorch's global generator is neither read nor changed.

    Returns:
        images: uint8 (N, 28, 28) in [0, 255], white ink on black.
        labels: int64 (N,) in [0, 9].

    Raises:
        ValueError: if num_images is below 1.
    """
    if num_images < 1:
        raise ValueError(f"num_images is {num_images}; it must be at least 1")
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(num_images)[torch.randperm(num_images, generator=generator)] % len(TEMPLATES)
    luck = torch.rand(num_images, generator=generator)
    images = torch.empty(num_images, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8)
    for digit, templates in TEMPLATES.items():
        variant = (luck * len(templates)).long()
        for i, template in enumerate(templates):
            rows = ((labels == digit) & (variant == i)).nonzero().squeeze(1)
            for chunk in rows.split(CHUNK_SIZE):
                images[chunk] = _ink(*_write(template, len(chunk), generator), generator)
    return images, labels


def load(*, train: bool) -> tuple[Tensor, Tensor]:
    """Return the fixed training set (12,000 digits) or the fixed test set (2,000 digits, from another seed).

    Args:
        train: True for the training set, False for the test set.

    Returns:
        images: uint8 (N, 28, 28) in [0, 255].
        labels: int64 (N,) in [0, 9].
    """
    return generate(TRAIN_SIZE, TRAIN_SEED) if train else generate(TEST_SIZE, TEST_SEED)
