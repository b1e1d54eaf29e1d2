"""The rules of the design: who may import whom, who may print, what may be caught, how long a file may be."""

import ast
import re
import sys
from pathlib import Path

import pytest

from HW3.support.files import visible
from HW3.support.stages import STAGES

ROOT = Path(__file__).parents[1]
SUBJECT = visible(ROOT / "HW3", "*.py")
SUPPORT = visible(ROOT / "HW3/support", "*.py")
PACKAGE, SCRIPTS = SUBJECT + SUPPORT, visible(ROOT, "train_*.py")
COMMANDS = {"sample", "explain", "evaluate", "gallery"}  # python -m HW3.NAME
MAY_PRINT = {"files", "process", "run", "run_folder", "runtime"} | COMMANDS
KNOW_FLAGS = {"checkpoint", "flag_types", "flags", "grids", "reference", "restore", "run"}
MAY_PARSE = KNOW_FLAGS | COMMANDS
MAY_IMPORT = {  # of the package; what is not named here imports nothing of it. The commands use anything.
    "data": {"support.data_files", "support.runtime"},
    "vae": {"data"},
    "mlp": {"Unet"},
    "support.files": {"support.process"},
    "support.run_folder": {"support.files", "support.process", "support.stages"},
    "support.runtime": {"support.process"},
    "support.boards": {"support.files"},
    "support.cuda_graph": {"support.files"},
    "support.data_files": {"support", "support.files", "support.process", "support.runtime"},
    "support.flag_types": {"support", "support.process"},
    "support.flags": {"diffusion", "support", "support.data_files", "support.flag_types"},
    "support.grids": {"diffusion", "support.files", "support.runtime"},
    "support.reference": {"support"},
}
# What rebuilds models and keeps a run's books knows the subject; nothing of it trains.
MAY_IMPORT_ANYTHING = {"support.checkpoint", "support.restore", "support.run"} | COMMANDS
RUN_TIME_PACKAGES = {"torch", "torchvision", "numpy", "PIL", "tqdm"}


def module(path: Path) -> str:
    """Return the name of a module within the package, such as support.files."""
    return ".".join(path.relative_to(ROOT / "HW3").with_suffix("").parts)


def imports(path: Path) -> set[str]:
    """Return the modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"HW3.{alias.name}" for alias in node.names} if node.module == "HW3" else {node.module}
    return found


@pytest.mark.parametrize("path", PACKAGE, ids=module)
def test_module_imports_only_what_it_may_know(path):
    own = {name.removeprefix("HW3.") for name in imports(path) if name.startswith("HW3.")}
    assert module(path) in MAY_IMPORT_ANYTHING or own <= MAY_IMPORT.get(module(path), set())
    if path == ROOT / "HW3/__init__.py":
        assert imports(path) <= {"sys"}  # to tell a Python that is too old
    if path.stem in ("process", "stages"):  # they must be there before what takes long to load
        assert imports(path) <= set(sys.stdlib_module_names) | {"collections.abc"}
    assert path.stem in MAY_PARSE or "argparse" not in imports(path)


@pytest.mark.parametrize("path", SUPPORT, ids=module)
def test_support_does_not_train(path):
    text = path.read_text(encoding="utf-8")
    assert ".backward(" not in text and "vae_loss" not in text and "training_loss" not in text
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.For):
            assert "epoch" not in {name.id for name in ast.walk(node.target) if isinstance(name, ast.Name)}


@pytest.mark.parametrize("path", [*SCRIPTS, *(path for path in SUBJECT if path.stem in COMMANDS)], ids=str)
def test_signals_are_answered_before_torch_is_loaded(path):
    order = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        order += [node.module] if isinstance(node, ast.ImportFrom) else []
        order += [node.names[0].name] if isinstance(node, ast.Import) else []
    outside = [name for name in order if name.split(".")[0] not in sys.stdlib_module_names]
    assert outside[0] == "HW3.support.process"


def test_stages_are_listed_in_one_place():
    """A module that names all five has a list of its own; the tests' differ by what they say of each."""
    for path in [*PACKAGE, *SCRIPTS, *visible(ROOT / "tests/benchmarks", "*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        assert path.stem in ("stages", "reference") or not texts >= set(STAGES), path


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_do_not_know_each_other(path):
    assert not any(name.startswith("train_") for name in imports(path))


@pytest.mark.parametrize("path", PACKAGE + SCRIPTS, ids=lambda path: path.name)
def test_only_the_five_packages_are_needed(path):
    outer = {name.split(".")[0] for name in imports(path)} - {"HW3"}
    assert outer <= RUN_TIME_PACKAGES | sys.stdlib_module_names


@pytest.mark.parametrize("path", PACKAGE + SCRIPTS, ids=lambda path: path.name)
def test_nothing_is_swallowed_and_only_the_surroundings_print(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: a bare except"
            caught = {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)}
            assert not caught & {"Exception", "BaseException"}, f"line {node.lineno}: a broad except"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            assert path in SCRIPTS or path.stem in MAY_PRINT, f"line {node.lineno}: a print"


@pytest.mark.parametrize("path", PACKAGE + SCRIPTS, ids=lambda path: path.name)
def test_file_can_be_read_in_one_sitting(path):
    """Docstrings, which grow with the explanation, do not count."""
    text = path.read_text(encoding="utf-8")
    documented = [
        n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)
    ]
    docstrings = sum((ast.get_docstring(node, clean=False) or "").count("\n") + 1 for node in documented)
    assert len(text.splitlines()) - docstrings <= (130 if path in SCRIPTS else 260)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_script_tells_the_story_in_the_same_paragraphs(path):
    headings = ["# Model, EMA, optimizer", "# Run folder, resume", "# Train"]
    text = path.read_text(encoding="utf-8")
    positions = [text.find(heading) for heading in headings]
    assert -1 not in positions and positions == sorted(positions)
    assert re.search(r'if __name__ == "__main__":\n    sys.exit\(main\(\)\)\n$', text)


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: path.name)
def test_everything_public_has_a_docstring(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef):
            assert ast.get_docstring(node), f"line {getattr(node, 'lineno', 1)}: no docstring"
            for member in node.body:
                if isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
                    tells_nothing = member.name in ("main", "parse_args", "error")
                    assert tells_nothing or ast.get_docstring(member), f"{member.name} has no docstring"


def test_pictures_of_the_readme_are_there():
    for name in re.findall(r"(?:!\[.*?\]\(|src=\")(.*?)[)\"]", (ROOT / "README.md").read_text()):
        assert (ROOT / name).is_file(), name


@pytest.mark.parametrize(("folder", "modules"), [("HW3", SUBJECT), ("HW3/support", SUPPORT)])
def test_map_of_the_package_names_every_module(folder, modules):
    described = ast.get_docstring(ast.parse((ROOT / folder / "__init__.py").read_text(encoding="utf-8")))
    assert {path.stem for path in modules} - {"__init__"} == set(re.findall(r"`(\w+)`", described)) - {
        "support"
    }
