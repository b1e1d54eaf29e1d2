"""The exercises, part by part, as `exercises.py` lists them; `-k NAME` selects one."""

import bdb

import pytest

from tests.grading import catalogue, plugin
from tests.grading.judge import judge_part

# A warning is no wrong answer, although the repository's own tests treat it as an error.
pytestmark = pytest.mark.filterwarnings("default")


def test_part(exercise, part, seed, ask, record_property):
    try:
        verdict = judge_part(exercise, part, ask, seed, catalogue.find_blocks(plugin.ROOT))
    except bdb.BdbQuit:
        pytest.exit("the debugger was left")
    record_property(plugin.NAME, [exercise.name, part.name, verdict.state])
    if not verdict.passed:
        pytest.fail(verdict.message, pytrace=False)
