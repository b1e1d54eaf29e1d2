"""Pictures that explain themselves: boards of images with labels beside, above and under them; animations.

Plain functions on `PIL.Image`. Images are enlarged in whole pixels, never blurred.
"""

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from HW3.support.files import write_whole

FONT = ImageFont.load_default(size=14)
LINE = 20  # height of a line of text, in pixels
GAP = 4  # between images and text
INK, WRONG = "black", "#c00000"


def board(
    images: Tensor,
    per_row: int,
    *,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    captions: Sequence[tuple[str, str]] = (),
    scale: int = 2,
) -> Image.Image:
    """Lay images out in rows, with text around them.

    Args:
        images: (N, 1, H, W) in [0, 1].
        per_row: images in each row; the last may be shorter.
        rows: a label at the left of each row, or none.
        columns: a label above each column, or none.
        captions: text and colour under each image, or none.
        scale: pixels of the picture per pixel of an image.
    """
    height, width = (side * scale for side in images.shape[-2:])
    left = max((round(FONT.getlength(label)) + 2 * GAP for label in rows), default=GAP)
    top = LINE if columns else GAP
    step_x, step_y = width + GAP, height + GAP + (LINE if captions else 0)
    size = (left + per_row * step_x, top + -(-len(images) // per_row) * step_y)
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    for i, label in enumerate(columns):
        draw.text((left + i * step_x + width // 2, top // 2), label, INK, FONT, anchor="mm")
    for i, label in enumerate(rows):
        draw.text((GAP, top + i * step_y + height // 2), label, INK, FONT, anchor="lm")
    for i, image in enumerate(images):
        x, y = left + i % per_row * step_x, top + i // per_row * step_y
        canvas.paste(to_picture(image, scale), (x, y))
        if captions:
            text, colour = captions[i]
            draw.text((x + width // 2, y + height + LINE // 2), text, colour, FONT, anchor="mm")
    return canvas


def to_picture(image: Tensor, scale: int = 1) -> Image.Image:
    """Return an image (1, H, W) in [0, 1] as a grey picture, enlarged by a whole factor."""
    picture = Image.fromarray((image[0].float() * 255).round().byte().cpu().numpy())
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


def confusion_matrix(counts: Tensor, names: Sequence[str], cell: int = 40) -> Image.Image:
    """Draw how often class i (rows) was called class j (columns); wrong ones in red, the darker the more.

    Args:
        counts: int64 (K, K).
        names: of the classes, K of them.
        cell: side of a cell, in pixels.
    """
    left = max(round(FONT.getlength(name)) for name in names) + 2 * GAP
    canvas = Image.new("RGB", (left + len(names) * cell + GAP, LINE + len(names) * cell + GAP), "white")
    draw = ImageDraw.Draw(canvas)
    shares = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    for i, name in enumerate(names):
        y = LINE + i * cell
        draw.text((left - GAP, y + cell // 2), name, INK, FONT, anchor="rm")
        draw.text((left + i * cell + cell // 2, LINE // 2), str(i), INK, FONT, anchor="mm")
        for j in range(len(names)):
            x, count = left + j * cell, counts[i, j].item()
            # One mistake in a hundred shall be seen, so wrong cells are full at a tenth.
            share = shares[i, j].item() if i == j else min(1.0, 10 * shares[i, j].item())
            faint = round(255 * (1 - 0.7 * share))
            colour = (faint, faint, 255) if i == j else (255, faint, faint)
            draw.rectangle((x, y, x + cell, y + cell), fill=colour, outline="#cccccc")
            if count:
                draw.text((x + cell // 2, y + cell // 2), str(count), INK, FONT, anchor="mm")
    return canvas


def stack(parts: Sequence[tuple[str, Image.Image]], *, beside: bool = False) -> Image.Image:
    """Put pictures under one another, or beside one another, each under its title, if it has one."""
    margin = 2 * GAP
    boxes = []  # x, y, width, height of each part with its title
    x = y = margin
    for title, part in parts:
        width = max(part.width, round(FONT.getlength(title)) + GAP)
        height = part.height + (LINE if title else 0)
        boxes.append((x, y, width, height))
        x, y = (x + width + margin, y) if beside else (x, y + height + margin)
    size = (max(x + w for x, _, w, _ in boxes) + margin, max(y + h for _, y, _, h in boxes) + margin)
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    for (title, part), (x, y, _, height) in zip(parts, boxes, strict=True):
        draw.text((x + GAP, y), title, INK, FONT)
        canvas.paste(part, (x, y + height - part.height))
    return canvas


def save(picture: Image.Image, path: Path) -> None:
    """Write a picture as a PNG, whole or not at all."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    write_whole(path, buffer.getvalue())


def save_animation(frames: Sequence[Image.Image], path: Path, milliseconds: int = 100) -> None:
    """Write pictures of one size as an animated GIF that repeats and rests on the last for two seconds."""
    buffer = io.BytesIO()
    first, *others = frames
    durations = [milliseconds] * len(others) + [2000]
    # Not optimized: Pillow 12.1 then maps some greys of the later pictures to others.
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=durations, loop=0, optimize=False)
    write_whole(path, buffer.getvalue())
