"""Fixtures of the grading suite."""

import pytest
import torch

from tests.grading.ask import plain_ask
from tests.grading.plugin import ROOT


@pytest.fixture(scope="session")
def ask():
    """The plain way to the submission, see tests/grading/ask.py."""
    torch.set_num_threads(1)
    return plain_ask(ROOT)
