"""Right and wrong submissions, to grade the grader with (tests/instructors/test_grader.py).

A variant is code that is appended to a module of HW3 and so redefines a part of it. Most are made from a
right alternative implementation (`alternatives/`, which shares nothing with HW3) by replacing a piece of its
text; some patch HW3's own classes. Neither depends on how HW3 is written.

Each file here holds the tables RIGHT and WRONG of one module. An entry is

    name: (what it does, the replacements (old, new) in the alternative, or code for HW3's own class)

and WRONG has them by the requirement that must fail.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

MODULES = {
    "data": "data",
    "vae": "vae",
    "diffusion": "diffusion",
    "unet": "Unet",
    "mlp": "mlp",
    "clip": "clip",
}


@dataclass(frozen=True)
class Variant:
    """A submission.

    Args:
        module: of HW3, in which it differs.
        name: short, for humans.
        why: one line that says what is right or wrong about it.
        fails: the requirement that must fail, as pytest names it in tests/grading; None for a right variant.
        code: appended to the module.
    """

    module: str
    name: str
    why: str
    fails: str | None
    code: str


def load():
    """Return all variants."""
    variants = []
    for stem, module in MODULES.items():
        table = import_module(f"{__name__}.{stem}")
        source = Path(__file__).with_name("alternatives").joinpath(f"{stem}.py").read_text()
        entries = [(None, entry) for entry in table.RIGHT.items()]
        entries += [(fails, entry) for fails, wrong in table.WRONG.items() for entry in wrong.items()]
        for fails, (name, (why, *changes)) in entries:
            test = fails if fails is None or "::" in fails else f"test_{stem}.py::{fails}"
            variants.append(Variant(module, name, why, test, change(source, name, changes)))
    return variants


def change(source, name, changes):
    """Return the code of a variant."""
    if changes and isinstance(changes[0], str):
        return changes[0]
    for old, new in changes:
        if source.count(old) != 1:
            raise ValueError(f"variant {name!r}: {old!r} stands {source.count(old)} times in the alternative")
        source = source.replace(old, new)
    return source
