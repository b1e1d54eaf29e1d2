"""Find the student's code in what was handed in, and compare the code around it with what was handed out."""

import difflib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tests.grading import catalogue
from tests.instructors.autograder import unpack

MAX_MODULES = 200
MAX_NOTEBOOKS, MAX_CELLS = 20, 2000
MODULE = re.compile(r"\w{1,60}\.py")
COPY = re.compile(r"[ _-]?\(\d+\)$|[ _-]copy$")  # as browsers and file managers name a second file
EXPORTED = re.compile(r"^# (%%|In ?\[|<codecell>)|^get_ipython\(\)", re.MULTILINE)
MAGIC = re.compile(r"^(?=[%!]|get_ipython\(\))", re.MULTILINE)
WRITEFILE = re.compile(r"\s*%%writefile\s+(?:-a\s+)?(\S+)\s*\n")


@dataclass
class HandIn:
    """What is graded.

    Attributes:
        files: text by path (HW3/...): the student's, and ours where nothing was handed in.
        theirs: the paths of the student's.
        notes: lines about what was found and how it was read.
        changes: differences between given code and what was handed in, by file.
        problem: why there is nothing to grade, or "".
    """

    files: dict[str, str]
    theirs: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    changes: dict[str, str] = field(default_factory=dict)
    problem: str = ""


def collect(submission: Path, given: Path) -> HandIn:
    """Return what was handed in, on top of the files as they were handed out.

    Args:
        submission: a folder or a zip.
        given: the handout.
    """
    ours = {
        path.relative_to(given).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted((given / "HW3").rglob("*.py"))
    }
    contents = unpack.read(submission)
    hand_in = HandIn(dict(ours), notes=contents.notes)
    notebooks = read_notebooks(contents)
    try:
        folder = find_package(contents, notebooks, list(ours))
    except ValueError as error:
        hand_in.problem = str(error)
        return hand_in
    theirs: dict[str, str] = {}
    inside = [path for path in contents.files if path.is_relative_to(folder) and path not in notebooks]
    inside.sort(
        key=lambda path: f"HW3/{path.relative_to(folder).as_posix()}" not in ours
    )  # exact names first
    for path in inside:
        _take(hand_in, theirs, path.relative_to(folder), contents.files[path], list(ours))
    for path, modules in notebooks.items():
        if path.is_relative_to(folder):
            _take_notebook(hand_in, theirs, path.name, modules, list(ours))
    if not theirs:
        hand_in.problem = f"There is no module of HW3 that can be read in {folder}."
    hand_in.theirs = list(theirs)
    own = [name for name in theirs if name not in ours]
    hand_in.notes.append(
        f"Read from {folder if folder.parts else 'the top'}: {len(theirs) - len(own)} of {len(ours)} modules "
        "of HW3."
    )
    hand_in.notes += [f"Taken along: {', '.join(own)}."] if own else []
    blocks = catalogue.find_blocks(given)
    missing = sorted({block.file for block in blocks.values()} - set(theirs))
    hand_in.notes += [f"{name} was not handed in; the one that was handed out is used." for name in missing]
    hand_in.files.update(theirs)
    hand_in.changes = {
        name: text for name in ours if name in theirs and (text := compare(ours[name], theirs[name], name))
    }
    return hand_in


def read_notebooks(contents: unpack.Contents) -> dict[PurePosixPath, dict[str, str]]:
    """Return the modules in each notebook, by the names that the notebook gives them."""
    paths = [path for path in contents.files if path.suffix.lower() == ".ipynb"]
    if len(paths) > MAX_NOTEBOOKS:
        contents.notes.append(f"There are {len(paths)} notebooks; the first {MAX_NOTEBOOKS} were looked at.")
    notebooks = {path: {} for path in paths}
    for path in paths[:MAX_NOTEBOOKS]:
        try:
            notebooks[path] = notebook_modules(path.name, contents.files[path])
        except ValueError as error:
            contents.notes.append(f"{path} was left out: {error}")
    return notebooks


def find_package(contents: unpack.Contents, notebooks: dict, given: list[str]) -> PurePosixPath:
    """Return the folder of the student's modules: the highest HW3, or else one with files of its names.

    Args:
        contents: what was handed in.
        notebooks: see `read_notebooks`.
        given: names of the handout's modules.

    Raises:
        ValueError: if there is none, or more than one; the message is for the student.
    """
    top = {
        _plain(Path(name).name) for name in given if name.count("/") == 1 and not name.endswith("__init__.py")
    }
    folders = {path.parent for path in contents.files}
    packages = {folder for folder in folders if folder.name.lower() == "hw3"}
    named = {path.parent for path in contents.files if _plain(path.name) in top}
    named |= {
        path.parent for path, modules in notebooks.items() if any(_plain(name) in top for name in modules)
    }
    for found in (packages, named):
        highest = min((len(folder.parts) for folder in found), default=0)
        found = sorted(folder for folder in found if len(folder.parts) == highest)
        if len(found) == 1:
            return found[0]
        if found:
            listed = ", ".join(str(folder) for folder in found[:10])
            raise ValueError(f"There is more than one folder to grade: {listed}. Hand in one of them.")
    there = ", ".join(contents.names[:20]) or "nothing"
    raise ValueError(
        f"There is no folder HW3 in what you handed in, and no file of its names; there is: {there}."
    )


def _plain(name: str) -> str:
    """Return a file's name without what systems make of it: unet (1).py is Unet.py."""
    path = PurePosixPath(name.lower())
    return COPY.sub("", path.stem) + path.suffix


def _take(
    hand_in: HandIn, theirs: dict[str, str], path: PurePosixPath, data: bytes, given: list[str]
) -> None:
    """Add a file of the student's package, as text, to theirs."""
    name = f"HW3/{path.as_posix()}"
    if path.suffix != ".py" or not all(re.fullmatch(r"\w{1,60}", part) for part in path.parent.parts):
        return
    exact = next(
        (each for each in given if each.count("/") == 1 and _plain(Path(each).name) == _plain(path.name)),
        name,
    )
    if name not in given and len(path.parts) == 1 and exact != name:
        if exact in theirs:
            hand_in.notes.append(f"{path.name} was left out, beside {exact}.")
            return
        hand_in.notes.append(f"{path.name} is taken as {exact}.")
        name = exact
    if not MODULE.fullmatch(PurePosixPath(name).name) or len(theirs) >= MAX_MODULES:
        hand_in.notes.append(f"{path} was left out: it is no module that can be imported.")
        return
    theirs[name] = as_source(data, name, hand_in.notes)


def _take_notebook(
    hand_in: HandIn, theirs: dict[str, str], notebook: str, modules: dict[str, str], given: list[str]
) -> None:
    """Add a notebook's modules to theirs, unless they were handed in as files."""
    known = {_plain(Path(name).name): name for name in reversed(given)}
    for found, text in modules.items():
        name = known.get(_plain(found))
        if name in theirs:
            hand_in.notes.append(f"{notebook}: its {found} was left out, beside {name}.")
        elif name:
            theirs[name] = text
            hand_in.notes.append(f"{notebook} is a notebook: its code is taken as {name}.")


def as_source(data: bytes, name: str, notes: list[str]) -> str:
    """Return the text of a module, whatever system wrote it."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        notes.append(f"{name} is in UTF-16; save it as UTF-8.")
        text = data.decode("utf-16", errors="replace")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            notes.append(f"{name} is not in UTF-8; it is read as Latin-1.")
            text = data.decode("latin-1")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if EXPORTED.search(text) and MAGIC.search(text):
        notes.append(f"{name} is a notebook's export: its commands to the notebook (%, !) are left out.")
        text = MAGIC.sub("# ", text)
    return text


def notebook_modules(name: str, data: bytes) -> dict[str, str]:
    """Return the modules in a notebook: by its own name, or as cells that begin with %%writefile.

    Raises:
        ValueError: if it is none, or has too many cells; the message is for the student.
    """
    try:
        cells = json.loads(data.decode("utf-8-sig"))["cells"]
        sources = ["".join(cell["source"]) for cell in cells[:MAX_CELLS] if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError("it is no notebook that can be read.") from None
    if len(cells) > MAX_CELLS:
        raise ValueError(f"it has more than {MAX_CELLS} cells.")
    written = {}
    for source in sources:
        if match := WRITEFILE.match(source):
            written[PurePosixPath(match[1][:200]).name] = source[match.end() :] + "\n"
    code = "\n\n".join(MAGIC.sub("# ", source) for source in sources) + "\n"
    return written or {PurePosixPath(name).with_suffix(".py").name: code}


def compare(given: str, theirs: str, name: str) -> str:
    """Return how a given file was changed outside of the exercises, as a diff; "" if it was not."""
    before, after = (_around_exercises(text) for text in (given, theirs))
    if before == after:
        return ""
    if len(after) > 5000:
        return f"{name}: {len(after)} lines in place of {len(before)}"
    diff = difflib.unified_diff(
        before, after, f"{name} as handed out", f"{name} as handed in", lineterm="", n=1
    )
    return "\n".join(diff)


def _around_exercises(text: str) -> list[str]:
    """Return the lines of a file, without the exercises and without spaces at the ends of lines."""
    text = catalogue.BLOCK.sub(lambda match: f"### {match['name']}: yours", text)
    return [line.rstrip() for line in text.rstrip().split("\n")]
