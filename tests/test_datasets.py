"""The data on disk: where it is looked for, what is noticed, what heals itself; and the synthetic digits."""

import gzip
import hashlib
import http.server
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace

from HW3.support.process import UsageError

import pytest
import torch
from torchvision.datasets import KMNIST, MNIST, FashionMNIST

from HW3 import data
from HW3.support import data_files, synthetic


@pytest.fixture
def offline(monkeypatch):
    """Let every mirror be a closed port of this machine, so that no test reaches the network."""
    for source in (MNIST, FashionMNIST):
        monkeypatch.setattr(source, "mirrors", ["http://127.0.0.1:9/"])


def idx(name: str) -> bytes:
    """Return a right file of a data set of that name: images whose pixels are their number, labels 0 to 9."""
    header = data_files.FILE_HEADERS[name]
    items = (torch.arange(header[1]) % 10).to(torch.uint8)
    if len(header) == 4:
        items = items[:, None].expand(-1, 784)
    return struct.pack(f">{len(header)}i", *header) + items.numpy().tobytes()


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return {name: idx(name) for name in data_files.FILE_HEADERS}


@pytest.fixture
def folder(tmp_path, files):
    """A whole data set in tmp_path/FashionMNIST/raw (unlike MNIST's, its checksums are not known)."""
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in files.items():
        (raw / name).write_bytes(content)
    return tmp_path


def load(folder, dataset="fashion_mnist", **options):
    return data_files.load_images(folder, dataset, **{"train": True, "download": True, **options})


def test_folder_and_its_parent_are_the_same_place(folder, offline):
    images, labels = load(folder)
    assert images.shape == (60000, 28, 28) and images.dtype == torch.uint8
    assert torch.equal(images[:, 14, 14].long(), labels)
    assert torch.equal(load(folder / "FashionMNIST")[1], labels)
    elsewhere = folder / "elsewhere"
    (folder / "FashionMNIST").rename(elsewhere)
    (folder / "FashionMNIST").symlink_to(elsewhere)
    assert torch.equal(load(folder / "FashionMNIST")[1], labels)
    assert data_files.raw_folder("data/MNIST", "kmnist") == data_files.raw_folder("data", "kmnist").absolute()


def test_folder_of_the_files_themselves_is_taken(folder, offline):
    assert len(load(folder / "FashionMNIST/raw")[1]) == 60000
    assert data_files.raw_folder("data/MNIST/raw", "kmnist") == data_files.raw_folder("data", "kmnist")
    (folder / "FashionMNIST/raw").rename(folder / "mine")
    assert len(load(folder / "mine")[1]) == 60000


@pytest.fixture
def mnist_of_the_tests(files, monkeypatch):
    """Let MNIST's checksums be those of the files that these tests make."""
    checksums = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(data_files, "MNIST_MD5", checksums)


@pytest.mark.parametrize(
    "place",
    [
        lambda name: name.replace("-idx", ".idx"),  # as on Kaggle
        lambda name: f"archive/{name}/{name}",
        lambda name: f"a/b/c/whatever-{name[:7]}.bin",
    ],
)
def test_mnist_is_known_by_its_checksums_wherever_it_lies(
    tmp_path, files, offline, mnist_of_the_tests, place
):
    for name, content in files.items():
        path = tmp_path / place(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.with_name(f"._{path.name}").write_bytes(content)
    images, labels = load(tmp_path, "mnist")
    assert torch.equal(images[:, 14, 14].long(), labels)
    assert load(tmp_path, "mnist", train=False)[0].shape == (10000, 28, 28)
    with pytest.raises(UsageError, match="fashion_mnist is not complete"):
        load(tmp_path)


@pytest.mark.parametrize("where", ["", "FashionMNIST/raw"])
def test_files_of_another_data_set_are_not_taken(folder, files, offline, mnist_of_the_tests, where):
    """Whether they lie in the right place or in the folder that was given."""
    for name, content in files.items():
        (folder / where / name).write_bytes(content)
    with pytest.raises(UsageError, match=r"train-images-idx3-ubyte \(MNIST's\)"):
        load(folder)


def test_archive_of_another_data_set_is_named(folder, files, offline, monkeypatch):
    name, raw = "train-images-idx3-ubyte", folder / "FashionMNIST/raw"
    archive = gzip.compress(files[name], compresslevel=1)
    (raw / f"{name}.gz").write_bytes(archive)
    (raw / name).unlink()
    monkeypatch.setattr(KMNIST, "resources", [(f"{name}.gz", hashlib.md5(archive).hexdigest())])
    with pytest.raises(UsageError, match=rf"{name}.gz beside it is KMNIST's"):
        load(folder)


def test_what_lies_there_is_named(tmp_path, offline):
    (tmp_path / "archive").mkdir()
    for name in ("train.csv", "._train.csv", *(f"{i}.png" for i in range(9))):
        (tmp_path / "archive" / name).write_text("")
    with pytest.raises(UsageError) as caught:
        load(tmp_path, "mnist")
    assert f"{tmp_path} has 0.png, 1.png" in str(caught.value) and "._" not in str(caught.value)


def test_home_of_nobody_is_named(offline):
    with pytest.raises(UsageError, match="no such home folder"):
        load("~nobody-of-that-name/data")


def test_whole_files_in_a_read_only_folder_are_enough(folder, monkeypatch):
    raw = folder / "FashionMNIST" / "raw"
    monkeypatch.setattr(data_files, "fetch", None)  # root may write anywhere, so nothing may even try
    before = sorted(raw.iterdir())
    raw.chmod(0o555)
    load(folder)
    load(folder, train=False)
    assert sorted(raw.iterdir()) == before


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:-1]), "47,040,015 bytes instead of 47,040,016"),
        (lambda file: file.write_bytes(b""), "0 bytes"),
        (lambda file: file.write_text("<html>moved</html>"), "18 bytes"),
        (lambda file: file.write_bytes(bytes(47040016)), "not an IDX file"),
        (lambda file: file.unlink(), "missing"),
        (lambda file: (file.unlink(), file.mkdir()), "not a file"),
    ],
)
def test_damaged_file_is_named(folder, offline, damage, said):
    damage(folder / "FashionMNIST/raw/train-images-idx3-ubyte")
    for download in (True, False):
        with pytest.raises(UsageError, match="train-images-idx3-ubyte") as caught:
            load(folder, download=download)
        assert said in str(caught.value) and "--dataset synthetic" in str(caught.value)
    load(folder, train=False)  # the others are still good


def test_wrong_checksum_of_mnist_is_noticed(folder, offline):
    (folder / "FashionMNIST").rename(folder / "MNIST")
    with pytest.raises(UsageError, match="wrong checksum"):
        load(folder, "mnist")


def test_label_out_of_range_is_an_error(folder, offline):
    file = folder / "FashionMNIST/raw/train-labels-idx1-ubyte"
    file.write_bytes(file.read_bytes()[:-1] + b"\x0a")
    with pytest.raises(UsageError, match="a label is 10"):
        load(folder)


def test_half_extracted_file_heals_from_any_archive_beside_it(folder, files, offline):
    name = "train-images-idx3-ubyte"
    raw = folder / "FashionMNIST" / "raw"
    (raw / f"{name}.gz").write_bytes(gzip.compress(files[name], compresslevel=1))  # not torchvision's bytes
    (raw / name).write_bytes(files[name][:1000])
    load(folder)
    assert (raw / name).read_bytes() == files[name]
    assert sorted(file.name for file in raw.iterdir()) == sorted([*files, f"{name}.gz"])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda archive: archive[:-20], "is not a whole archive"),
        (lambda archive: b"<html>" + archive, "is not a whole archive"),
        (lambda archive: gzip.compress(b"other"), "holds another file: 5 bytes instead of"),
    ],
)
def test_unfit_archive_is_named(folder, files, offline, damage, said):
    name = "train-images-idx3-ubyte"
    raw = folder / "FashionMNIST" / "raw"
    (raw / f"{name}.gz").write_bytes(damage(gzip.compress(files[name], compresslevel=1)))
    (raw / name).unlink()
    with pytest.raises(UsageError, match=rf"{name} \(missing, and {name}.gz beside it {said}"):
        load(folder)
    assert sorted(file.name for file in raw.iterdir()) == sorted([*set(files) - {name}, f"{name}.gz"])


def test_host_that_never_answers_is_given_up(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{silent.getsockname()[1]}/"])
        monkeypatch.setattr(data_files, "FETCH_TIMEOUT", 0.2)
        start = time.monotonic()
        with pytest.raises(UsageError, match="timed out"):
            load(tmp_path, "mnist")
        assert time.monotonic() - start < 5
    assert socket.getdefaulttimeout() is None


@pytest.fixture
def mirror(tmp_path):
    """A web server on this machine: `folder` is what it serves, `url` where."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    folder = tmp_path / "mirror"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever).start()
        yield SimpleNamespace(folder=folder, url=f"http://127.0.0.1:{server.server_port}/")
        server.shutdown()


def test_fetched_files_are_checked_and_moved_into_place(tmp_path, files, mirror, monkeypatch):
    """The second of two mirrors answers; its training set is right, its test set is not."""
    checksums = []
    for name, content in files.items():
        archive = gzip.compress(content if "train" in name else b"something else", compresslevel=1)
        (mirror.folder / f"{name}.gz").write_bytes(archive)
        checksums.append((f"{name}.gz", hashlib.md5(archive).hexdigest()))
    monkeypatch.setattr(FashionMNIST, "resources", checksums)
    monkeypatch.setattr(FashionMNIST, "mirrors", ["http://127.0.0.1:9/", mirror.url])
    load(tmp_path)
    with pytest.raises(UsageError, match="t10k-images-idx3-ubyte: fetched, but 14 bytes"):
        load(tmp_path, train=False)
    raw = tmp_path / "FashionMNIST" / "raw"
    assert sorted(file.name for file in raw.iterdir()) == sorted(name for name in files if "train" in name)


def test_page_in_the_place_of_a_file_is_not_taken(tmp_path, mirror, monkeypatch):
    (mirror.folder / "train-images-idx3-ubyte.gz").write_text("<html>Please log in</html>")
    monkeypatch.setattr(MNIST, "mirrors", [mirror.url])
    with pytest.raises(UsageError, match="corrupted"):
        load(tmp_path, "mnist")
    assert list((tmp_path / "MNIST" / "raw").iterdir()) == []


def test_two_runs_may_fetch_into_one_folder(tmp_path, files, mirror, monkeypatch):
    checksums = []
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        archive = gzip.compress(files[name], compresslevel=1)
        (mirror.folder / f"{name}.gz").write_bytes(archive)
        checksums.append((f"{name}.gz", hashlib.md5(archive).hexdigest()))
    monkeypatch.setattr(FashionMNIST, "resources", checksums)
    monkeypatch.setattr(FashionMNIST, "mirrors", [mirror.url])
    with ThreadPoolExecutor(2) as runs:
        (images, _), (others, _) = runs.map(lambda _: load(tmp_path), range(2))
    assert torch.equal(images, others)
    assert len(list((tmp_path / "FashionMNIST/raw").iterdir())) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"dataset": "cifar10"},
        {"batch_size": 0},
        {"num_workers": -1},
        {"val_split": 1.0},
        {"val_split": float("nan")},
        {"limit_batches": 0},
    ],
)
def test_wrong_argument_is_a_value_error_that_names_it(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        data.get_mnist_dataloaders("data", **{"dataset": "synthetic", **wrong})


def test_order_depends_on_seed_and_epoch_alone():
    def order(seed, epoch):
        loader, _, _ = data.get_mnist_dataloaders("", dataset="synthetic", seed=seed)
        loader.sampler.set_epoch(epoch)
        torch.rand(3)  # other randomness in between changes nothing
        return torch.cat(list(loader.sampler))

    assert torch.equal(order(1, 5), order(1, 5))
    assert not torch.equal(order(1, 5), order(1, 6)) and not torch.equal(order(1, 5), order(2, 5))
    assert torch.equal(order(1, 5).sort().values, torch.arange(12000))


def test_epochs_follow_one_another_without_set_epoch():
    loader, _, _ = data.get_mnist_dataloaders("", dataset="synthetic", limit_batches=2)
    first, second = ([x for x, _ in loader] for _ in range(2))
    assert len(first) == 2 and not torch.equal(first[0], second[0])


def test_loading_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    for workers in (0, 1):
        train, _, _ = data.get_mnist_dataloaders(
            "", num_workers=workers, dataset="synthetic", limit_batches=1
        )
        next(iter(train))
    assert torch.equal(torch.rand(1), expected)


def test_value_range_there_and_back():
    x = torch.rand(4, 1, 32, 32)
    assert data.to_signed(x).min() < 0
    torch.testing.assert_close(data.to_unit(data.to_signed(x)), x)
    assert data.to_unit(torch.tensor([-3.0, 3.0])).tolist() == [0, 1]


def test_synthetic_digits():
    images, labels = synthetic.generate(500, seed=3)
    assert images.shape == (500, 28, 28) and images.dtype == torch.uint8 and labels.dtype == torch.int64
    assert labels.bincount().tolist() == [50] * 10
    assert (images == 0).float().mean() > 0.5 and images.amax(dim=(1, 2)).min() > 150
    assert len(images.flatten(1).unique(dim=0)) == 500
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    again, _ = synthetic.generate(500, seed=3)
    assert torch.equal(images, again) and torch.equal(torch.rand(1), expected)
    assert not torch.equal(images, synthetic.generate(500, seed=4)[0])
    with pytest.raises(ValueError, match="num_images"):
        synthetic.generate(0, seed=3)


def test_synthetic_digits_are_a_real_but_learnable_problem():
    """Nearest class mean, on the pixels: far better than chance, far from perfect."""
    images, labels = synthetic.load(train=True)
    test_images, test_labels = synthetic.load(train=False)
    assert len(labels) == 12000 and len(test_labels) == 2000
    means = torch.stack([images[labels == c].float().mean(dim=0) for c in range(10)]).flatten(1)
    nearest = torch.cdist(test_images.float().flatten(1), means).argmin(dim=1)
    assert 0.5 < (nearest == test_labels).float().mean() < 0.95
