"""The files of MNIST and its relatives: found, checked, and fetched again where not whole.

The files are torchvision's, in torchvision's places (ROOT/MNIST/raw/), and its functions read and download
them. Added to it: sizes, headers and MNIST's checksums are checked before every use, an archive beside them
may be anyone's, a download that hangs is given up, and whatever is written appears whole or not at all.
"""

import gzip
import hashlib
import os
import shutil
import socket
import struct
import tempfile
import zlib
from http.client import HTTPException
from pathlib import Path

from torch import Tensor

from HW3 import synthetic
from HW3.exits import UsageError
from HW3.runtime import import_torchvision

DATASETS = {
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "kmnist": "KMNIST",
    "synthetic": None,
}  # torchvision's
FETCH_TIMEOUT = 5.0  # seconds that a host may stay silent

FILE_HEADERS = {  # of the IDX format: magic number, number of items, and for images their sides
    "train-images-idx3-ubyte": (2051, 60000, 28, 28),
    "train-labels-idx1-ubyte": (2049, 60000),
    "t10k-images-idx3-ubyte": (2051, 10000, 28, 28),
    "t10k-labels-idx1-ubyte": (2049, 10000),
}
MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


def load_images(
    data_dir: str | os.PathLike, dataset: str, *, train: bool, download: bool
) -> tuple[Tensor, Tensor]:
    """Return images uint8 (N, 28, 28) and labels int64 (N,) of the training or the test set.

    Raises:
        UsageError: if files are missing or damaged and can't be fetched.
    """
    if dataset == "synthetic":
        return synthetic.load(train=train)
    mnist = import_torchvision("torchvision.datasets.mnist")
    raw = raw_folder(data_dir, dataset)
    names = [name for name in FILE_HEADERS if name.startswith("train" if train else "t10k")]
    problems = {name: problem for name in names if (problem := find_problem(raw / name, dataset))}
    if problems:
        if not download:
            raise UsageError(missing_data_message(raw, problems, dataset, "download is off"))
        fetch(raw, problems, dataset, getattr(mnist, DATASETS[dataset]))
    images, labels = mnist.read_image_file(raw / names[0]), mnist.read_label_file(raw / names[1])
    if labels.max() > 9:
        raise UsageError(f"{raw / names[1]}: a label is {labels.max()}, allowed are 0 to 9")
    return images, labels


def class_names(dataset: str) -> list[str]:
    """Return the names of the ten classes, in the order of their labels; alternatives are parted by "/"."""
    datasets = import_torchvision("torchvision.datasets")
    names = getattr(datasets, DATASETS[dataset] or "MNIST").classes
    return [name.split(" - ")[-1] for name in names]  # "7 - seven" -> "seven"


def raw_folder(data_dir: str | os.PathLike, dataset: str) -> Path:
    """Return the folder of the four files: ROOT/MNIST/raw, whether data_dir names ROOT or ROOT/MNIST."""
    root = Path(data_dir).expanduser().absolute()
    if root.name in DATASETS.values():
        root = root.parent
    return root / DATASETS[dataset] / "raw"


def find_problem(path: Path, dataset: str) -> str | None:
    """Say what is wrong with a file of the data set, or None: size, header, and for MNIST the checksum."""
    header = FILE_HEADERS[path.name]
    expected_size = 4 * len(header) + header[1] * (header[2] * header[3] if len(header) == 4 else 1)
    if not path.is_file():
        return "missing" if not path.exists() else "not a file"
    if path.stat().st_size != expected_size:
        return f"{path.stat().st_size:,} bytes instead of {expected_size:,}"
    content = path.read_bytes()
    if struct.unpack_from(f">{len(header)}i", content) != header:
        return "not an IDX file of that kind"
    if dataset == "mnist" and hashlib.md5(content, usedforsecurity=False).hexdigest() != MNIST_MD5[path.name]:
        return "damaged (wrong checksum)"
    return None


def fetch(raw: Path, problems: dict[str, str], dataset: str, source: type) -> None:
    """Put whole files in the place of those with problems: unpacked from the .gz beside them, or downloaded.

    A file is fetched into a temporary folder, checked, and moved into place, so nobody ever sees half of it.

    Args:
        raw: folder of the files.
        problems: what is wrong, by file name.
        dataset: one of DATASETS.
        source: torchvision's class of the data set, which knows the mirrors and the checksums of the
            archives.
    """
    utils = import_torchvision("torchvision.datasets.utils")
    md5 = dict(source.resources)
    former_timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(FETCH_TIMEOUT)  # torchvision's own download would wait for ever
    try:
        raw.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=raw) as tmp:
            for name in problems:
                archive = f"{name}.gz"
                problem = unpack(raw / archive, Path(tmp, name), dataset)
                if problem:
                    if problem != "missing":
                        problems[name] += f", and {archive} beside it {problem}"
                    urls = [f"{mirror}{archive}" for mirror in source.mirrors]
                    download_first(utils, urls, tmp, md5[archive])
                    problem = find_problem(Path(tmp, name), dataset)
                if problem:
                    raise RuntimeError(f"{name}: fetched, but {problem}")
                os.replace(Path(tmp, name), raw / name)
    except (OSError, RuntimeError, HTTPException, EOFError, zlib.error) as error:
        raise UsageError(missing_data_message(raw, problems, dataset, str(error))) from error
    finally:
        socket.setdefaulttimeout(former_timeout)


def unpack(archive: Path, target: Path, dataset: str) -> str | None:
    """Unpack a .gz, whoever made it, into a file of the data set; say what is wrong with it, or None."""
    if not archive.is_file():
        return "missing"
    try:
        with gzip.open(archive) as source, open(target, "wb") as file:
            shutil.copyfileobj(source, file)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        return f"is not a whole archive ({error})"
    problem = find_problem(target, dataset)
    return f"holds another file: {problem}" if problem else None


def download_first(utils, urls: list[str], folder: str, md5: str) -> None:
    """Download and unpack the first of some URLs that has the right bytes; raise the last one's error."""
    for url in urls:
        try:
            return utils.download_and_extract_archive(url, folder, md5=md5)
        except (OSError, RuntimeError, HTTPException) as error:
            failure = error
    raise RuntimeError(f"{urls[-1]}: {failure}")


def missing_data_message(raw: Path, problems: dict[str, str], dataset: str, reason: str) -> str:
    """Return the line that says where data was looked for, what is wrong there, and what to do."""
    listed = ", ".join(f"{name} ({problem})" for name, problem in problems.items())
    return (
        f"{dataset} is not complete in {raw.absolute()}: {listed}; it could not be fetched: {reason}. "
        f"Put the four files there, unpacked or as .gz, or try --dataset synthetic, which needs no download"
    )
