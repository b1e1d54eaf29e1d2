"""The files of MNIST and its relatives: found, checked, and fetched again where not whole.

The files are torchvision's, in torchvision's places (ROOT/MNIST/raw/), and its functions read and download
them. Added to it: sizes, headers and MNIST's checksums are checked before every use, an archive beside them
may be anyone's, a download that hangs is given up, and whatever is written appears whole or not at all. Whole
files in another place below the folder, or of another spelling (Kaggle's `train-images.idx3-ubyte`), are
taken, too.
"""

import gzip
import hashlib
import os
import re
import shutil
import socket
import struct
import tempfile
import zlib
from collections.abc import Iterator
from http.client import HTTPException
from itertools import islice
from pathlib import Path

from HW3.support.process import UsageError

from torch import Tensor

from HW3.support import synthetic
from HW3.support.files import expand, visible
from HW3.support.runtime import import_torchvision

DATASETS = {  # and torchvision's name for it
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "kmnist": "KMNIST",
    "synthetic": None,
}
FETCH_TIMEOUT = 5.0  # seconds that a host may stay silent
SEARCH_DEPTH, SEARCH_FILES = 3, 10_000  # how deep and how long whole files in other places are looked for

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
    """Return images uint8 (N, 28, 28) or (N, 32, 32) and labels int64 (N,) of the training or the test set.

    Raises:
        UsageError: if files are missing or damaged and can't be fetched.
    """
    if dataset == "synthetic":
        return synthetic.load(train=train)
    mnist = import_torchvision("torchvision.datasets.mnist")
    raw = raw_folder(data_dir, dataset)
    names = [name for name in FILE_HEADERS if name.startswith("train" if train else "t10k")]
    paths, problems = {name: raw / name for name in names}, {}
    for name in names:
        if problem := find_problem(raw / name, name, dataset):
            elsewhere = find_elsewhere(expand(data_dir), name, dataset)
            paths[name] = elsewhere or raw / name
            problems |= {} if elsewhere else {name: problem}
    if problems:
        if not download:
            raise UsageError(missing_data_message(data_dir, raw, problems, dataset, "download is off"))
        try:
            fetch(raw, problems, dataset, getattr(mnist, DATASETS[dataset]))
        except FETCH_FAILURES as error:
            raise UsageError(missing_data_message(data_dir, raw, problems, dataset, str(error))) from error
    images, labels = (
        reader(paths[name])
        for reader, name in zip((mnist.read_image_file, mnist.read_label_file), names, strict=True)
    )
    if labels.max() > 9:
        raise UsageError(f"{paths[names[1]]}: a label is {labels.max()}, allowed are 0 to 9")
    return images, labels


def class_names(dataset: str) -> list[str]:
    """Return the names of the ten classes, in the order of their labels; alternatives are parted by "/"."""
    datasets = import_torchvision("torchvision.datasets")
    names = getattr(datasets, DATASETS[dataset] or "MNIST").classes
    return [name.split(" - ")[-1] for name in names]  # "7 - seven" -> "seven"


def raw_folder(data_dir: str | os.PathLike, dataset: str) -> Path:
    """Return the folder of the four files: ROOT/MNIST/raw, whether data_dir names it, ROOT or ROOT/MNIST."""
    root = expand(data_dir).absolute()
    if root.name == "raw" and root.parent.name in DATASETS.values():
        root = root.parent
    if root.name in DATASETS.values():
        root = root.parent
    return root / DATASETS[dataset] / "raw"


def find_problem(path: Path, name: str, dataset: str) -> str | None:
    """Say what is wrong with a file of the data set, or None: size, header, and for MNIST the checksum.

    Args:
        path: the file.
        name: which of FILE_HEADERS it should be.
        dataset: one of DATASETS.
    """
    header = FILE_HEADERS[name]
    expected_size = 4 * len(header) + header[1] * (header[2] * header[3] if len(header) == 4 else 1)
    if not path.is_file():
        return "missing" if not path.exists() else "not a file"
    if path.stat().st_size != expected_size:
        return f"{path.stat().st_size:,} bytes instead of {expected_size:,}"
    content = path.read_bytes()
    if struct.unpack_from(f">{len(header)}i", content) != header:
        return "not an IDX file of that kind"
    is_mnist = md5_of(content) == MNIST_MD5[name]
    if dataset == "mnist":
        return None if is_mnist else "damaged, or another data set's (wrong checksum)"
    return "MNIST's" if is_mnist else None


def md5_of(content: bytes) -> str:
    """Return the MD5 checksum of some bytes, in hexadecimal."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def find_elsewhere(folder: Path, name: str, dataset: str) -> Path | None:
    """Return a whole file of the data set that lies in another place than torchvision's, or None.

    MNIST's are known by their checksums, whatever their names, in the folder and some levels below it. The
    others are taken by name, and only from the folder itself.

    Args:
        folder: where to look.
        name: which of FILE_HEADERS.
        dataset: one of DATASETS.
    """
    if dataset == "mnist":
        candidates = islice(files_below(folder, SEARCH_DEPTH), SEARCH_FILES)
    elif folder.name == "raw" and folder.parent.name in DATASETS.values():
        candidates = iter(())  # of torchvision's own places each holds one data set
    else:
        named = (path for path in visible(folder) if path.is_file())
        candidates = (path for path in named if re.sub(r"\.idx", "-idx", path.name) == name)
    return next((path for path in candidates if find_problem(path, name, dataset) is None), None)


def files_below(folder: Path, depth: int) -> Iterator[Path]:
    """Yield the files in a folder and so many levels below it."""
    try:
        found = visible(folder)
        whole, folders = ([path for path in found if test(path)] for test in (Path.is_file, Path.is_dir))
    except OSError:
        return  # a folder that may not be read holds nothing for us
    yield from whole
    for path in folders if depth else ():
        yield from files_below(path, depth - 1)


def fetch(raw: Path, problems: dict[str, str], dataset: str, source: type) -> None:
    """Put whole files in the place of those with problems: unpacked from the .gz beside them, or downloaded.

    A file is fetched into a temporary folder, checked, and moved into place, so nobody ever sees half of it.

    Args:
        raw: folder of the files.
        problems: what is wrong, by file name; what is wrong with archives is added.
        dataset: one of DATASETS.
        source: torchvision's class of the data set, which knows the mirrors and the checksums of the
            archives.

    Raises:
        FETCH_FAILURES: if a file can't be fetched.
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
                problem = unpack(raw / archive, Path(tmp, name), name, dataset)
                if problem:
                    if problem != "missing":
                        problems[name] += f", and {archive} beside it {problem}"
                    urls = [f"{mirror}{archive}" for mirror in source.mirrors]
                    download_first(utils, urls, tmp, md5[archive])
                    problem = find_problem(Path(tmp, name), name, dataset)
                if problem:
                    raise RuntimeError(f"{name}: fetched, but {problem}")
                os.replace(Path(tmp, name), raw / name)
    finally:
        socket.setdefaulttimeout(former_timeout)


FETCH_FAILURES = (OSError, RuntimeError, HTTPException, EOFError, zlib.error)


def unpack(archive: Path, target: Path, name: str, dataset: str) -> str | None:
    """Unpack a .gz, whoever made it, into a file of the data set; say what is wrong with it, or None."""
    if not archive.is_file():
        return "missing"
    checksum = md5_of(archive.read_bytes())
    for other, source in DATASETS.items():
        if source and other != dataset:
            datasets = import_torchvision("torchvision.datasets")
            if checksum in dict(getattr(datasets, source).resources).values():
                return f"is {source}'s"
    try:
        with gzip.open(archive) as source, open(target, "wb") as file:
            shutil.copyfileobj(source, file)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        return f"is not a whole archive ({error})"
    problem = find_problem(target, name, dataset)
    return f"holds another file: {problem}" if problem else None


def download_first(utils, urls: list[str], folder: str, md5: str) -> None:
    """Download and unpack the first of some URLs that has the correct bytes; raise the last one's error."""
    for url in urls:
        try:
            return utils.download_and_extract_archive(url, folder, md5=md5)
        except (OSError, RuntimeError, HTTPException) as error:
            failure = error
    raise RuntimeError(f"{urls[-1]}: {failure}")


def missing_data_message(
    data_dir: str | os.PathLike, raw: Path, problems: dict[str, str], dataset: str, reason: str
) -> str:
    """Return the line that says where data was looked for, what is wrong there, and what to do."""
    listed = ", ".join(f"{name} ({problem})" for name, problem in problems.items())
    found = files_below(expand(data_dir), SEARCH_DEPTH)
    others = (path.name for path in found if path.name not in FILE_HEADERS)
    if shown := list(islice(others, 6)):
        listed += f"; {data_dir} has {', '.join(shown)}{', ...' if next(others, None) else ''}"
    return (
        f"{dataset} is not complete in {raw.absolute()}: {listed}; it could not be fetched: {reason}. "
        f"Put the four files there, unpacked or as .gz, or try --dataset synthetic, which needs no download"
    )
