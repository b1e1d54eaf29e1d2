"""Write the scores: for Gradescope, as JUnit's XML, and as plain JSON. Written whole, or not at all."""

import json
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

MAX_TEXT = 4000  # characters of a message
UNPRINTABLE = re.compile(  # what XML or a terminal can't take, what can't be seen, what turns the text around
    r"[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd]|[\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)


@dataclass
class Result:
    """The result of a part.

    Args:
        number: as 1.2, of the exercise and the part.
        group, name: titles of the exercise and of the part.
        points: that the part earns if it passes.
        passed: whether it does.
        message: for the student.
    """

    number: str
    group: str
    name: str
    points: int
    passed: bool
    message: str

    @property
    def score(self) -> int:
        return self.points if self.passed else 0


def clean(text: str) -> str:
    """Return a text that any reader can show, of limited length."""
    text = UNPRINTABLE.sub("?", text[: MAX_TEXT + 1])
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 4] + " ..."


def one_line(text, length: int) -> str:
    """Return a text for the inside of a line."""
    return UNPRINTABLE.sub("?", " ".join(str(text)[:length].split()))


def write(folder: Path, results: list[Result], summary: str, seconds: float) -> None:
    """Write results.json, results.xml and result.json to a folder.

    Args:
        folder: is made if it is not there.
        results: in their order; one without a number is no part but a note of 0 points.
        summary: what is said about the whole.
        seconds: that grading took.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("result.json", plain(results)),
        ("results.xml", junit(results, seconds)),
        ("results.json", gradescope(results, summary, seconds)),
    ):
        write_whole(folder / name, text)


def gradescope(results: list[Result], summary: str, seconds: float) -> str:
    """Return Gradescope's results.json."""
    tests = [
        {
            "number": result.number,
            "name": clean(f"{result.group}: {result.name}" if result.number else result.name),
            "score": result.score,
            "max_score": result.points,
            "status": "passed" if result.passed else "failed",
            "output": clean(result.message),
            "output_format": "text",
            "visibility": "visible",
        }
        for result in results
    ]
    whole = {
        "score": sum(result.score for result in results),
        "execution_time": round(seconds),
        "output": clean(summary),
        "output_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": tests,
    }
    return json.dumps(whole, indent=2)


def plain(results: list[Result]) -> str:
    """Return a result.json that says no more than the scores."""
    tests = [
        {
            "name": clean(f"{result.number} {result.group}: {result.name}"),
            "score": result.score,
            "max_score": result.points,
            "passed": result.passed,
            "output": clean(result.message),
        }
        for result in results
        if result.number
    ]
    whole = {
        "score": sum(result.score for result in results),
        "max_score": sum(result.points for result in results),
        "tests": tests,
    }
    return json.dumps(whole, indent=2)


def junit(results: list[Result], seconds: float) -> str:
    """Return the results as JUnit's XML, a test suite for each exercise."""
    parts = [result for result in results if result.number]
    failures = sum(not result.passed for result in parts)
    numbers = {"tests": str(len(parts)), "failures": str(failures), "errors": "0"}
    root = ElementTree.Element("testsuites", name="HW3", time=f"{seconds:.1f}", **numbers)
    for group in dict.fromkeys(result.group for result in parts):
        own = [result for result in parts if result.group == group]
        failures = sum(not result.passed for result in own)
        suite = ElementTree.SubElement(
            root, "testsuite", name=group, tests=str(len(own)), failures=str(failures), errors="0"
        )
        for result in own:
            name = f"{result.number} {result.name} ({result.score} of {result.points})"
            case = ElementTree.SubElement(suite, "testcase", classname=group, name=clean(name))
            if not result.passed:
                first = clean(result.message).partition("\n")[0]
                ElementTree.SubElement(case, "failure", message=first).text = clean(result.message)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True)


def write_whole(path: Path, text: str) -> None:
    """Write a file beside its place, then rename it, so that nobody reads half of it."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
        os.fchmod(file.fileno(), 0o644)
    os.replace(temporary, path)
