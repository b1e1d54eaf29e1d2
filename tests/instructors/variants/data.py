"""Variants of HW3/data.py."""

STEPS = "steps = [transforms.Pad(2), transforms.ToTensor()]"
SIZE = "size = round(val_split * len(train))"
SPLIT = "val_indices, train_indices = order[:size], order[size:]"
GENERATOR = "generator = torch.Generator().manual_seed(42)"
OWN = """
_loaders = get_mnist_dataloaders


def get_mnist_dataloaders(*args, **kwargs):
    train, val, test = _loaders(*args, **kwargs)
    {}
    return train, val, test


class Mapped:
    def __init__(self, loader, change):
        self.loader, self.change = loader, change

    def __len__(self):
        return len(self.loader)

    def __iter__(self):
        for x, y in self.loader:
            yield self.change(x, y)
"""
MAPPED = "train, test = (Mapped(loader, lambda x, y: {}) for loader in (train, test))"


def own(what, change):
    """Change each batch of HW3's loaders."""
    return what, OWN.format(MAPPED.format(change))


RIGHT = {
    "alternative": ("torchvision's MNIST and transforms",),
    "drop_last": ("the last, incomplete training batch is left out", ("drop_last=False", "drop_last=True")),
    "first images for validation": (
        "the split follows the files",
        (SPLIT, "val_indices, train_indices = list(range(size)), list(range(size, len(train)))"),
    ),
    "random_split": (
        "torch's own",
        (
            "val = Subset(train, val_indices)\n    train = Subset(train, train_indices)",
            "sizes = [size, len(train) - size]\n"
            "    val, train = torch.utils.data.random_split(train, sizes, generator=generator)",
        ),
    ),
    "global seed": (
        "torch.manual_seed before the split",
        (GENERATOR, "generator = None\n    torch.manual_seed(42)"),
    ),
    "size rounded down": ("int(val_split * N)", (SIZE, "size = int(val_split * len(train))")),
}

WRONG = {
    "test_batches": {
        "-1 to 1": ("the value range of diffusion", own("images in [-1, 1]", "(2 * x - 1, y)")[1]),
        "0 to 255": (
            "not scaled",
            (STEPS, STEPS.replace("ToTensor()", "PILToTensor(), transforms.ConvertImageDtype(torch.uint8)")),
        ),
        "standardised": (
            "mean 0, variance 1",
            (STEPS, STEPS.replace("ToTensor()", "ToTensor(), transforms.Normalize(0.1307, 0.3081)")),
        ),
        "labels as floats": own("y float32", "(x, y.float())"),
        "labels one-hot": own("y (B, 10)", "(x, torch.nn.functional.one_hot(y, 10))"),
        "labels int32": own("y int32", "(x, y.int())"),
        "no channel": own("x (B, 32, 32)", "(x.squeeze(1), y)"),
        "three channels": own("x (B, 3, 32, 32)", "(x.expand(-1, 3, -1, -1), y)"),
        "28x28": ("not padded", (STEPS, STEPS.replace("transforms.Pad(2), ", ""))),
        "order": own("(y, x)", "(y, x)"),
        "batch_size ignored": ("always 128", ("DataLoader(dataset, batch_size,", "DataLoader(dataset, 128,")),
        "images alone": own("no labels", "x"),
        "validation without val_split": (
            "a loader for None",
            ("val_loader = loader(val) if size else None", "val_loader = loader(val)"),
        ),
        "half precision": own("x float16", "(x.half(), y)"),
        "too dark": own("divided by 510", "(x / 2, y)"),
        "labels 1 to 10": own("y + 1", "(x, y + 1)"),
    },
    "test_padding": {
        "stretched": ("bilinear", (STEPS, STEPS.replace("Pad(2)", "Resize(32)"))),
        "stretched, nearest": (
            "repeats rows and columns",
            own("nearest", "(torch.nn.functional.interpolate(x[:, :, 2:30, 2:30], size=32), y)")[1],
        ),
        "padded on one side": own(
            "4 on the left and above", "(torch.nn.functional.pad(x[:, :, 2:30, 2:30], (4, 0, 4, 0)), y)"
        ),
        "padded with ones": own(
            "a white border", "(torch.nn.functional.pad(x[:, :, 2:30, 2:30], (2,) * 4, value=1.0), y)"
        ),
        "reflected": (
            "padding is not 0",
            (
                STEPS,
                STEPS.replace(
                    "transforms.Pad(2)",
                    "transforms.CenterCrop(20), transforms.Pad(6, padding_mode='reflect')",
                ),
            ),
        ),
        "noise added": own("dequantised", "((x + torch.rand_like(x) / 256).clamp(0, 1), y)"),
        "inverted": own("black on white", "(1 - x, y)"),
    },
    "test_split": {
        "validation leaks": (
            "training keeps all images",
            (SPLIT, "val_indices, train_indices = order[:size], order"),
        ),
        "overlap": (
            "some images are in both",
            (SPLIT, "val_indices, train_indices = order[: size + 5], order[size - 5 :]"),
        ),
        "test leaks": (
            "validation is drawn from the test images",
            ("val = Subset(train, val_indices)", "val = Subset(test, [i % len(test) for i in val_indices])"),
        ),
        "test for validation": (
            "the test loader twice",
            OWN.format("val = test if kwargs.get('val_split') else None"),
        ),
        "split not fixed": ("another one at each call", (GENERATOR, "generator = None")),
        "shares swapped": (
            "train gets val_split",
            (SIZE, "size = round((1 - val_split) * len(train)) if val_split else 0"),
        ),
        "images lost": (
            "train is cut twice",
            (SPLIT, "val_indices, train_indices = order[:size], order[2 * size :]"),
        ),
        "val_split ignored": ("no validation", (SIZE, "size = 0")),
        "val_split as a number": ("of images", (SIZE, "size = 1 if val_split else 0")),
        "augmented training images": (
            "train holds other images",
            OWN.format("train = Mapped(train, lambda x, y: (x.flip(3), y)) if val else train"),
        ),
        "seed ignored": (
            "of the split",
            "_loaders = get_mnist_dataloaders\n\n\n"
            "def get_mnist_dataloaders(*args, seed=42, **kwargs):\n"
            "    return _loaders(*args, seed=42, **kwargs)\n",
        ),
    },
}
