"""The house of the design: who may import whom, who may print, what may be caught, how long a file may be."""

import ast
import re
import sys
from pathlib import Path

import pytest

from HW3.files import visible

ROOT = Path(__file__).parents[1]
PACKAGE = visible(ROOT / "HW3", "*.py")
SCRIPTS = visible(ROOT, "train_*.py")
COMMANDS = {"sample", "explain", "evaluate", "gallery"}  # python -m HW3.NAME
MAY_PRINT = {"files", "run_folder", "runtime", "exits"} | COMMANDS
MAY_IMPORT = {  # of the package; a module that is not named here imports nothing of it
    "files": {"exits"},
    "run_folder": {"exits", "files", "stages"},
    "gallery": {"cli", "exits", "files", "run_folder", "stages"},
    "runtime": {"exits", "files", "run_folder"},
    "expected": {"checkpoint"},
    "pictures": {"files"},
    "data": {"mnist_files", "runtime"},
    "mnist_files": {"exits", "files", "runtime", "synthetic"},
    "mlp": {"Unet"},
    "checkpoint": {"ema", "exits", "files", "run_folder", "runtime", "stages"},
    "drawing": {"checkpoint", "data", "diffusion", "exits", "guidance", "mlp", "Unet", "vae"},
    "sample": {
        "checkpoint",
        "cli",
        "clip",
        "data",
        "drawing",
        "exits",
        "files",
        "mnist_files",
        "pictures",
        "runtime",
    },
    "evaluate": {"checkpoint", "cli", "clip", "data", "drawing", "exits", "files", "runtime", "vae"},
    "vae": {"checkpoint"},
    "explain": {
        "checkpoint",
        "cli",
        "data",
        "drawing",
        "evaluate",
        "exits",
        "files",
        "pictures",
        "runtime",
        "vae",
    },
    "cli": {
        "diffusion",
        "exits",
        "files",
        "mnist_files",
    },  # to check flags, and to know which tool they are of
}
RUN_TIME_PACKAGES = {"torch", "torchvision", "numpy", "PIL", "tqdm"}


def imports(path: Path) -> set[str]:
    """Return the modules that a file imports; those of the package as HW3.NAME."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"HW3.{alias.name}" for alias in node.names} if node.module == "HW3" else {node.module}
    return found


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: path.name)
def test_module_imports_only_what_it_may_know(path):
    own = {name.removeprefix("HW3.") for name in imports(path) if name.startswith("HW3.")}
    assert own <= MAY_IMPORT.get(path.stem, set())
    if path.stem == "__init__":
        assert imports(path) <= {"sys"}  # to tell a Python that is too old
    if path.stem == "exits":  # it must be there before what takes long to load
        assert imports(path) <= set(sys.stdlib_module_names) | {"collections.abc"}
    if path.stem not in {"cli", "runtime", "checkpoint", "drawing", "expected"} | COMMANDS:
        assert "argparse" not in imports(path)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_do_not_know_each_other(path):
    assert not any(name.startswith("train_") for name in imports(path))


@pytest.mark.parametrize("path", PACKAGE + SCRIPTS, ids=lambda path: path.name)
def test_only_the_five_packages_are_needed(path):
    outer = {name.split(".")[0] for name in imports(path)} - {"HW3"}
    assert outer <= RUN_TIME_PACKAGES | sys.stdlib_module_names


@pytest.mark.parametrize("path", PACKAGE + SCRIPTS, ids=lambda path: path.name)
def test_nothing_is_swallowed_and_only_the_surroundings_print(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: a bare except"
            caught = {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)}
            assert not caught & {"Exception", "BaseException"}, f"line {node.lineno}: a broad except"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            assert path in SCRIPTS or path.stem in MAY_PRINT, f"line {node.lineno}: a print"


@pytest.mark.parametrize("path", PACKAGE + SCRIPTS, ids=lambda path: path.name)
def test_file_can_be_read_in_one_sitting(path):
    """Docstrings, which grow with the explanation, do not count."""
    text = path.read_text()
    documented = [
        n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)
    ]
    docstrings = sum((ast.get_docstring(node, clean=False) or "").count("\n") + 1 for node in documented)
    assert len(text.splitlines()) - docstrings <= (175 if path in SCRIPTS else 260)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_script_tells_the_story_in_the_same_paragraphs(path):
    headings = ["# Model, EMA, optimizer", "# Run folder, resume", "# Train"]
    text = path.read_text()
    positions = [text.find(heading) for heading in headings]
    assert -1 not in positions and positions == sorted(positions)
    assert re.search(r'if __name__ == "__main__":\n    sys.exit\(main\(\)\)\n$', text)


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: path.name)
def test_everything_public_has_a_docstring(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef):
            assert ast.get_docstring(node), f"line {getattr(node, 'lineno', 1)}: no docstring"
            for member in node.body:
                if isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
                    argparse_documents = path.stem == "cli" and isinstance(node, ast.ClassDef)
                    assert argparse_documents or ast.get_docstring(member), f"{member.name} has no docstring"


def test_pictures_of_the_readme_are_there():
    for name in re.findall(r"!\[.*?\]\((.*?)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / name).is_file(), name


def test_map_of_the_package_names_every_module():
    described = ast.get_docstring(ast.parse((ROOT / "HW3/__init__.py").read_text()))
    assert {path.stem for path in PACKAGE} - {"__init__"} <= set(re.findall(r"`(\w+)`", described))
