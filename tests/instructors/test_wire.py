"""Messages between judge and worker: they hold plain values, and nothing that is none gets through."""

import json
import math
import struct
import sys

import pytest
import torch

if sys.platform != "linux":
    pytest.skip("the autograder needs Linux", allow_module_level=True)

from tests.instructors.autograder import wire  # noqa: E402


def split(data):
    header, _ = wire.body_sizes(data[: wire.SIZES.size])
    return data[wire.SIZES.size :][:header], data[wire.SIZES.size + header :]


def through(message):
    return wire.decode(*split(wire.encode(message)))


def test_plain_values_arrive_as_they_are():
    message = {
        "a": [1, -2.5, True, None, "ä\0\ud800"],
        "b": {"": [], "tensor": ["tensor", "list"]},
        "c": 2**62,
    }
    assert through(message) == message
    assert math.isnan(through({"x": float("nan")})["x"]) and through(float("inf")) == math.inf


@pytest.mark.parametrize("dtype", wire.DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3, 4)])
def test_tensors_arrive_as_they_are(dtype, shape):
    tensor = (torch.rand(shape) * 100).to(getattr(torch, dtype))
    arrived = through([tensor, {"twice": tensor.t() if tensor.dim() == 1 else tensor}])
    assert arrived[0].dtype == tensor.dtype and arrived[0].equal(tensor)
    assert arrived[1]["twice"].equal(tensor)


@pytest.mark.parametrize(
    "value", [print, torch.ones(2).bfloat16(), 2**63, {1: 2}, 1j, torch.ones(2).to_sparse()]
)
def test_other_values_arrive_as_their_description(value):
    assert isinstance(through([value])[0], wire.Foreign)


def test_too_much_is_not_sent():
    nested = []
    for _ in range(100):
        nested = [nested]
    for value in (torch.zeros(1).expand(2**26), "x" * 2**21, nested):
        with pytest.raises(wire.WireError):
            wire.encode(value)


FORGED = [
    b"",
    b"\xff",
    b"[",
    b"[" * 100_000,
    b'["tensor"]',
    b'["tensor", "float32", [-1]]',
    b'["tensor", "float32", [1]]',
    b'["tensor", "float32", [1e3]]',
    b'["tensor", "float32", [4294967296, 4294967296]]',
    b'["tensor", "object", [1]]',
    b'["tensor", ["float32"], [1]]',
    b'["tensor", "float32", "abc"]',
    b'["code", "print(1)"]',
    b"[]",
    b"[[1]]",
    b"1" * 5000,
    b"99999999999999999999",
    json.dumps(["foreign", "a", "b"]).encode(),
]


@pytest.mark.parametrize("header", FORGED)
def test_forged_messages_are_refused(header):
    with pytest.raises(wire.WireError):
        wire.decode(header, b"")


def test_sizes_are_refused_before_anything_is_read():
    with pytest.raises(wire.WireError):
        wire.body_sizes(struct.pack("<II", 2**31, 0))
    with pytest.raises(wire.WireError):
        wire.decode(b"1", b"left over")
