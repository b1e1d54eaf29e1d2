"""TinyCLIP: images and the labels 0 to 9 as unit vectors in one space, where an image lies near its label.

Paper: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision" (CLIP),
figure 3.

Notation: B images, K classes, D = `embed_dim`.

Simplified against the paper: a "text" is a label and its encoder a table of learned embeddings; all K texts
are used with every batch of images. With ten labels a batch holds many images of each, so the loss takes all
of them as correct (Khosla et al. 2020, supervised contrastive learning), where the paper's would call all but
one wrong.
"""

import math
import re
import unicodedata
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

INITIAL_TEMPERATURE = 0.07
MAX_LOGIT_SCALE = math.log(100)
NUMBERS = set("0 1 2 3 4 5 6 7 8 9 zero one two three four five six seven eight nine".split())
FILLERS = set(
    "a an and digit digits draw drawing give handwritten i image letter like me number numbers of paint "
    "photo picture please show some the then to want would write".split()
)


class ImageEncoder(nn.Module):
    """Map images to vectors with four convolutions and a mean over what remains of the pixels.

    Args:
        in_channels: channels of the images.
        embed_dim: width of the vectors.
    """

    def __init__(self, in_channels: int, embed_dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *conv_block(in_channels, 32, nn.MaxPool2d(2)),  # (B, 1, 32, 32) -> (B, 32, 16, 16)
            *conv_block(32, 64, nn.MaxPool2d(2)),
            *conv_block(64, 128, nn.MaxPool2d(2)),
            *conv_block(128, 128),  # (B, 128, 4, 4)
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),  # (B, 128)
            nn.Linear(128, embed_dim),
        )
        self.to(memory_format=torch.channels_last)  # CPUs pool and convolve faster in this layout

    def forward(self, x: Tensor) -> Tensor:
        """Map images x (B, C, H, W) in [0, 1] to vectors (B, D)."""
        return self.layers(x)


def conv_block(in_channels: int, out_channels: int, *pool: nn.Module) -> tuple[nn.Module, ...]:
    """Return a convolution with its normalisation, its nonlinearity and, if given, a maximum over pixels.

    The maximum comes before the ReLU: the result is the same, and the ReLU sees fewer pixels.
    """
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    return conv, nn.BatchNorm2d(out_channels), *pool, nn.ReLU(inplace=True)


class TinyCLIP(nn.Module):
    """Embed images and labels so that the dot product, over a temperature, tells which belong together.

    Args:
        in_channels: channels of the images.
        embed_dim: width D of the shared space, at least 1.
        num_classes: number K of labels, at least 1.

    Raises:
        ValueError: if a size is less than 1.
    """

    def __init__(self, in_channels: int = 1, embed_dim: int = 128, num_classes: int = 10) -> None:
        super().__init__()
        for name, value in (
            ("in_channels", in_channels),
            ("embed_dim", embed_dim),
            ("num_classes", num_classes),
        ):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.num_classes = num_classes
        self.image_encoder = ImageEncoder(in_channels, embed_dim)
        self.text_encoder = nn.Embedding(num_classes, embed_dim)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / INITIAL_TEMPERATURE)))

    def forward_image(self, x: Tensor) -> Tensor:
        """Return the unit vectors float32 (B, D) of images x (B, C, H, W) in [0, 1]."""
        return F.normalize(self.image_encoder(x).float(), dim=-1)

    def forward_text(self, labels: Tensor) -> Tensor:
        """Return the unit vectors float32 (B, D) of labels int64 (B,) in 0..K-1."""
        return F.normalize(self.text_encoder(labels).float(), dim=-1)

    def class_embeddings(self) -> Tensor:
        """Return the unit vectors (K, D) of all labels in order."""
        return self.forward_text(torch.arange(self.num_classes, device=self.logit_scale.device))

    def compute_logits(self, image_embs: Tensor, class_embs: Tensor) -> Tensor:
        """Return the scaled similarities of images and classes; figure 3 and section 2.5.

        Args:
            image_embs: unit vectors (B, D).
            class_embs: unit vectors (K, D).

        Returns:
            logits (B, K).
        """
        # TASK: return the similarity of each image with each class, scaled by the learned temperature: the
        # logits of figure 3 of CLIP. self.logit_scale is their parameter t. Section 2.5 limits the factor;
        # MAX_LOGIT_SCALE is the limit's logarithm. Gradients flow to logit_scale and to both arguments.
        ### BEGIN SOLUTION clip_logits
        # logits = exp(logit_scale) image_embs class_embs^T, with exp(logit_scale) at most 100
        return self.logit_scale.clamp(max=MAX_LOGIT_SCALE).exp() * image_embs @ class_embs.T
        ### END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, K) of images x (B, C, H, W) over all labels."""
        return self.compute_logits(self.forward_image(x), self.class_embeddings())

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Return the labels int64 (B,) nearest to images x (B, C, H, W): zero-shot classification."""
        return self(x).argmax(dim=1)


def clip_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the symmetric contrastive loss, correct when labels repeat in the batch.

    Figure 3 of CLIP: the mean of two losses, of the images that look for their label and of the labels that
    look for their images, with the positives of Eq. (2) of Khosla et al. for the labels.

    Args:
        logits: (B, K), from `TinyCLIP.compute_logits`.
        labels: int64 (B,) in 0..K-1.

    Returns:
        The loss, a scalar of at least 0.
    """
    # TASK: return the mean of the two losses of figure 3 of CLIP, for K labels that may repeat in the batch.
    # - image -> label: the cross-entropy of each image's label among all K labels; the mean over the images.
    # - label -> image: for each label in the batch, the cross-entropy between the uniform distribution over
    #   its own images and its softmax over the B images of the batch (the sum outside of the logarithm, as in
    #   Eq. (2) of Khosla et al.); the mean over the labels that are in the batch. You may subtract the
    #   distribution's entropy, so that the smallest loss is 0, or not.
    # Logits are up to 100. Gradients flow to the logits.
    ### BEGIN SOLUTION clip_loss
    # image -> label: the cross-entropy of each image's softmax over the K labels
    # label -> image: for each label c in the batch, KL(uniform over its n_c images || its softmax over the B
    #     images) = -1/n_c sum_{i: y_i = c} log softmax_i(logits_ic) - log n_c; 0 when all are equally near
    # loss = (the two means) / 2
    image_loss = F.cross_entropy(logits, labels)
    positives = F.one_hot(labels, logits.shape[1]).to(logits.dtype)  # (B,) -> (B, K)
    counts = positives.sum(dim=0)  # (K,)
    present = counts > 0
    log_likelihood = (positives * logits.log_softmax(dim=0)).sum(dim=0) / counts.clamp(min=1)  # (K,)
    label_loss = torch.where(present, -log_likelihood - counts.clamp(min=1).log(), 0).sum() / present.sum()
    return (image_loss + label_loss) / 2
    ### END SOLUTION


def prompt_to_labels(prompt: str, names: Sequence[str]) -> list[int]:
    """Return the labels that a prompt asks for, in order; the tokenizer of this CLIP.

    Understood are numerals ("31415", "3 1 4"), the names of the classes, their plurals, and words that name
    nothing ("a photo of the digit four"). Case and punctuation do not matter. Numbers of digits are not
    understood: "two zeros" has to be "0 0".

    Args:
        prompt: the text.
        names: of the classes, in the order of their labels; alternatives are separated by "/".

    Returns:
        Labels, at least one.

    Raises:
        ValueError: if a word is unknown, or none names a class; the message says what is understood.
    """

    def words(text: str) -> list[str]:
        digits = "".join(str(unicodedata.decimal(c, c)) for c in text)  # of any script, as of full width
        return re.findall(r"[^\W_]+", digits.lower())

    singular, text = {}, prompt
    for label, name in enumerate(names):
        alternatives = name.split("/")
        text = re.sub(re.escape(name), alternatives[0], text, flags=re.IGNORECASE)  # "T-shirt/top" is one
        for either in (str(label), *alternatives):
            singular[tuple(words(either))] = label
    plural = {(*name[:-1], name[-1] + end): label for name, label in singular.items() for end in ("s", "es")}
    labels_of = plural | singular
    left, labels, unknown = words(text), [], []
    number = ""  # before a plural it says how many
    while left:
        # The longest name first: "ankle boot" is one class, whatever "boot" may be.
        known = [name for name in labels_of if tuple(left[: len(name)]) == name]
        if known:
            name = max(known, key=len)
            if number and name not in singular:
                unknown.append(f"{number} {' '.join(name)}")
            labels.append(labels_of[name])
            number = name[0] if name in singular and name[0] in NUMBERS else ""
            left = left[len(name) :]
        elif re.fullmatch("[0-9]{2,}", left[0]):
            left[:1] = left[0]  # "31" -> "3", "1"
        else:
            word = left.pop(0)
            if word not in FILLERS:
                unknown.append(word)
    if unknown or not labels:
        problem = f"{', '.join(map(repr, unknown))} not understood" if unknown else "names no class"
        raise ValueError(f"prompt {prompt!r}: {problem}; say {', '.join(names)}, or numerals such as 31415")
    return labels
