"""What may be handed in to the autograder, how it is read, and what it is compared with."""

import io
import json
import os
import sys
import time
import zipfile
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("the autograder needs Linux", allow_module_level=True)

from tests.instructors.autograder import hand_in, unpack  # noqa: E402

BLOCK = "### BEGIN SOLUTION ddim_step\n{}\n### END SOLUTION\n"
GIVEN = {
    "HW3/__init__.py": "",
    "HW3/diffusion.py": f"x = 1\n{BLOCK.format('raise NotImplementedError')}y = 2\n",
    "HW3/Unet.py": "z = 3\n",
    "HW3/support/files.py": "w = 4\n",
}
MINE = GIVEN["HW3/diffusion.py"].replace("raise NotImplementedError", "x = 5")


def write(folder, files):
    """Write files, text or bytes by path, and return the folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def zipped(files):
    """Return the bytes of a zip."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return archive.getvalue()


def notebook(*cells):
    return json.dumps({"cells": [{"cell_type": "code", "source": [cell]} for cell in cells]})


@pytest.fixture
def collect(tmp_path):
    """Return a function that reads a submission of some files."""
    given = write(tmp_path / "given", GIVEN)

    def read(files=None, folder=None):
        return hand_in.collect(folder or write(tmp_path / "submission", files), given)

    return read


@pytest.mark.parametrize(
    ("place", "content"),
    {
        "the folder": ("HW3/diffusion.py", MINE),
        "the repository": ("repo-main/HW3/diffusion.py", MINE),
        "deeper": ("a/b/HW3/diffusion.py", MINE),
        "another case": ("hw3/Diffusion.py", MINE),
        "the file alone": ("diffusion.py", MINE),
        "in a folder of another name": ("mine/diffusion.py", MINE),
        "downloaded twice": ("diffusion (1).py", MINE),
        "a zip": ("homework.zip", zipped({"HW3/diffusion.py": MINE})),
        "a zip of the repository": (
            "homework.zip",
            zipped({"repo-main/HW3/diffusion.py": MINE, "repo-main/x.py": ""}),
        ),
        "a zip of the file": ("homework.zip", zipped({"diffusion.py": MINE})),
        "Windows' line ends": ("HW3/diffusion.py", MINE.replace("\n", "\r\n")),
        "a byte order mark": ("HW3/diffusion.py", b"\xef\xbb\xbf" + MINE.encode()),
        "UTF-16": ("HW3/diffusion.py", MINE.encode("utf-16")),
    }.values(),
)
def test_diffusion_is_found_and_read(collect, place, content):
    found = collect(
        {place: content, "report.pdf": "", "__MACOSX/HW3/._diffusion.py": "", ".git/HW3/x.py": ""}
    )
    assert not found.problem and not found.changes
    assert found.files == {**GIVEN, "HW3/diffusion.py": MINE}


def test_own_modules_come_along_and_nothing_else(collect):
    theirs = {
        "HW3/diffusion.py": MINE,
        "HW3/helpers.py": "a = 1\n",
        "HW3/more/helpers.py": "a = 2\n",
        "HW3/not-a-module.py": "",
        "HW3/weights.pt": "",
        "conftest.py": "1 / 0",
        "sitecustomize.py": "1 / 0",
        "torch.py": "1 / 0",
        "pyproject.toml": "",
        "tests/grading/papers.py": "1 / 0",
        "HW3/../../escaped.py": "1 / 0",
    }
    found = collect({"homework.zip": zipped(theirs)})
    own = {"HW3/helpers.py": "a = 1\n", "HW3/more/helpers.py": "a = 2\n"}
    assert found.files == {**GIVEN, "HW3/diffusion.py": MINE, **own}
    assert "HW3/helpers.py" in " ".join(found.notes) and "not-a-module" in " ".join(found.notes)


def test_notebooks(collect):
    cells = "%%writefile HW3/diffusion.py\n" + MINE, "!pip install torch"
    assert collect({"HW3/work.ipynb": notebook(*cells)}).files["HW3/diffusion.py"].strip() == MINE.strip()


def test_notebook_beside_no_folder_writes_modules(collect):
    cells = "%%writefile HW3/diffusion.py\n" + MINE, "%%writefile HW3/Unet.py\nz = 4"
    found = collect({"work.ipynb": notebook(*cells), "report.pdf": ""})
    assert not found.problem and sorted(found.theirs) == ["HW3/Unet.py", "HW3/diffusion.py"]


def test_exact_names_come_before_copies_and_notebooks(collect):
    copies = {"diffusion (1).py": "a = 1", "diffusion.ipynb": notebook("a = 2"), "helpers.py": ""}
    found = collect({"HW3/diffusion.py": MINE, **{f"HW3/{name}": text for name, text in copies.items()}})
    assert found.files["HW3/diffusion.py"] == MINE and "1 of 4 modules" in " ".join(found.notes)
    assert sum("was left out, beside HW3/diffusion.py" in note for note in found.notes) == 2
    assert not any("is taken as" in note for note in found.notes)


def test_files_that_keep_the_grader_busy(collect):
    began = time.monotonic()
    markers = "### BEGIN SOLUTION a\n" * 9000
    many = "".join(f"%%writefile m{i}.py\n" for i in range(10))
    found = collect(
        {
            **{f"HW3/{name}.py": markers for name in ("diffusion", "Unet", "a", "b")},
            "HW3/cells.ipynb": notebook(*[many] * 20_000),
            **{f"HW3/n{i}.ipynb": "[" * 100_000 for i in range(30)},
            "HW3/zip.zip": zipped({f"{i}.py": bytes(190_000) for i in range(2000)}),
        }
    )
    assert time.monotonic() - began < 10
    said = " ".join(found.notes)
    assert "cells.ipynb was left out" in said and "the first 20" in said and "there is too much" in said


def test_zip_whose_bytes_are_broken(collect):
    content = bytearray(zipped({"HW3/Unet.py": os.urandom(3000).hex()}))
    content[200:240] = bytes(40)
    found = collect({"homework.zip": bytes(content), "HW3/diffusion.py": MINE})
    assert "homework.zip can't be read" in " ".join(found.notes) and not found.problem


@pytest.mark.parametrize("name", ["diffusion.ipynb", "diffusion.py"])
def test_exports_of_notebooks_lose_their_magic(collect, name):
    code = notebook("%matplotlib inline\n" + MINE) if name.endswith("ipynb") else f"# %%\n%time\n!ls\n{MINE}"
    found = collect({name: code})
    assert MINE in found.files["HW3/diffusion.py"]
    compile(found.files["HW3/diffusion.py"], name, "exec")
    assert any("notebook" in note for note in found.notes)


def test_what_is_missing_is_said_once(collect, tmp_path):
    nothing = collect({"report.pdf": "", "notes.txt": ""})
    assert "no folder HW3" in nothing.problem and "report.pdf" in nothing.problem
    two = collect(folder=write(tmp_path / "two", {"one/HW3/vae.py": "", "two/HW3/vae.py": ""}))
    assert "one/HW3, two/HW3" in two.problem
    one = collect(folder=write(tmp_path / "one", {"HW3/Unet.py": GIVEN["HW3/Unet.py"]}))
    assert not one.problem and "HW3/diffusion.py was not handed in" in " ".join(one.notes)


def test_changed_given_code_is_shown_and_graded_as_it_is(collect):
    changed = MINE.replace("y = 2", "y = 3")
    found = collect({"HW3/diffusion.py": changed, "HW3/Unet.py": "z = 3  \n\n"})
    assert list(found.changes) == ["HW3/diffusion.py"] and found.files["HW3/diffusion.py"] == changed
    assert "-y = 2" in found.changes["HW3/diffusion.py"] and "+y = 3" in found.changes["HW3/diffusion.py"]
    assert "x = 5" not in found.changes["HW3/diffusion.py"]


def test_links_pipes_and_devices_are_left_out(collect, tmp_path):
    folder = write(tmp_path / "submission", {"HW3/diffusion.py": MINE})
    (folder / "HW3/Unet.py").symlink_to("/etc/passwd")
    (folder / "HW3/more").symlink_to("/etc")
    os.mkfifo(folder / "HW3/vae.py")
    (folder / "HW3/data.py").symlink_to("/dev/zero")
    (folder / "HW3/clip.py").write_bytes(bytes(10_000_000))
    found = collect(folder=folder)
    assert found.files == {**GIVEN, "HW3/diffusion.py": MINE}
    assert [
        name
        for name in ("Unet", "vae", "data", "clip")
        if f"{name}.py was left out" not in " ".join(found.notes)
    ] == []


def test_zips_that_mean_harm_are_left_out(collect):
    link = zipfile.ZipInfo("HW3/Unet.py")
    link.external_attr = 0o120777 << 16
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(link, "/etc/passwd")
        file.writestr("HW3/vae.py", bytes(2**28))
        file.writestr("HW3/mlp.py", "#" * 100)
    content = archive.getvalue()
    found = collect(
        {
            "bomb.zip": content,
            "many.zip": many_files(),
            "broken.zip": content[:3000],
            "HW3/diffusion.py": MINE,
        }
    )
    assert found.files == {**GIVEN, "HW3/diffusion.py": MINE}
    assert "bomb/HW3/vae.py was left out" in " ".join(found.notes) and "many.zip was left out" in " ".join(
        found.notes
    )


def many_files():
    """Return a zip's last record, which announces 60,000 files."""
    return (
        b"PK\5\6"
        + b"\0\0\0\0"
        + (60_000).to_bytes(2, "little") * 2
        + (2_800_000).to_bytes(4, "little")
        + bytes(6)
    )


def test_folders_without_end(collect, tmp_path):
    deep = tmp_path / "submission"
    for _ in range(60):
        deep = deep / "deeper"
    write(deep, {"HW3/diffusion.py": MINE})
    write(tmp_path / "submission/HW3", {"diffusion.py": MINE})
    assert collect(folder=tmp_path / "submission").files["HW3/diffusion.py"] == MINE


def test_so_many_files_that_nobody_looks_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "MAX_ENTRIES", 10)
    write(tmp_path, {f"HW3/a{i}.py": "" for i in range(30)})
    contents = unpack.read(Path(tmp_path))
    assert len(contents.files) < 10 and "more than 10 files" in contents.notes[-1]
