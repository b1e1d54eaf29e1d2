"""Messages between the judge and the process that imports the submission: plain values, never code.

A message is None, a bool, an int, a float, a str, a tensor on the CPU, or lists and dicts of these. On the
pipe it is a header in JSON, in which ["tensor", dtype, shape] is a tensor, ["list", ...] a list, and
["foreign", text] a value of another type, and then the tensors' bytes. Whoever reads a message checks
everything: it may have been written by someone who means harm.
"""

import json
import math
import os
import struct
from dataclasses import dataclass

import numpy as np
import torch

SIZES = struct.Struct("<II")  # of the header and of the tensors' bytes
MAX_HEADER, MAX_BODY = 2**20, 2**24  # bytes
MAX_DEPTH, MAX_RANK = 20, 8
DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")


class WireError(Exception):
    """A message that is none, or that is too large."""


@dataclass(frozen=True)
class Foreign:
    """What stands for a value that no message can hold, such as a function: its description."""

    text: str

    def __repr__(self) -> str:
        return self.text


def encode(message) -> bytes:
    """Return the bytes of a message.

    Raises:
        WireError: if it is too large or too deep.
    """
    tensors: list[bytes] = []
    header = json.dumps(_pack(message, tensors, MAX_DEPTH)).encode()
    body = b"".join(tensors)
    if len(header) > MAX_HEADER or len(body) > MAX_BODY:
        raise WireError(f"{len(header) + len(body):,} bytes are more than a message may have")
    return SIZES.pack(len(header), len(body)) + header + body


def body_sizes(prefix: bytes) -> tuple[int, int]:
    """Return the sizes of header and body that the first bytes of a message announce.

    Raises:
        WireError: if they are more than a message may have.
    """
    header, body = SIZES.unpack(prefix)
    if header > MAX_HEADER or body > MAX_BODY:
        raise WireError(f"a message of {header:,} and {body:,} bytes")
    return header, body


def decode(header: bytes, body: bytes):
    """Return the message of a header and a body.

    Raises:
        WireError: if they are not what `encode` writes.
    """
    body = memoryview(body)
    try:
        packed = json.loads(header.decode("utf-8"))
        message, rest = _unpack(packed, body, MAX_DEPTH)
    except (ValueError, RecursionError, TypeError, KeyError, IndexError, OverflowError) as error:
        raise WireError(f"not a message: {type(error).__name__}") from None
    if len(rest):
        raise WireError("not a message: bytes are left over")
    return message


def _pack(value, tensors: list[bytes], depth: int):
    if depth == 0:
        raise WireError(f"more than {MAX_DEPTH} levels of lists and dicts")
    if value is None or isinstance(value, bool | float | str):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else ["foreign", "an integer of more than 64 bits"]
    if isinstance(value, list | tuple):
        return ["list", *(_pack(each, tensors, depth - 1) for each in value)]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _pack(each, tensors, depth - 1) for key, each in value.items()}
    if isinstance(value, torch.Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        if dtype in DTYPES and value.device.type == "cpu" and value.layout == torch.strided:
            if value.numel() * value.element_size() > MAX_BODY:
                raise WireError(f"a tensor of the shape {tuple(value.shape)} is too large")
            array = value.detach().contiguous().numpy()
            tensors.append(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
            return ["tensor", dtype, list(value.shape)]
        return ["foreign", f"a tensor of {value.dtype}, {value.device}, {value.layout}"]
    return ["foreign", f"a value of the type {type(value).__name__}"[:200]]


def _unpack(packed, body: memoryview, depth: int):
    """Return the value of packed and what it leaves of the body."""
    if depth == 0:
        raise ValueError("too deep")
    if packed is None or isinstance(packed, bool | float | str):
        return packed, body
    if isinstance(packed, int):
        if abs(packed) >= 2**63:
            raise ValueError("an integer of more than 64 bits")
        return packed, body
    if isinstance(packed, dict):
        result = {}
        for key, each in packed.items():
            result[key], body = _unpack(each, body, depth - 1)
        return result, body
    kind, *rest = packed
    if kind == "list":
        result = []
        for each in rest:
            value, body = _unpack(each, body, depth - 1)
            result.append(value)
        return result, body
    if kind == "foreign":
        (text,) = rest
        return Foreign(str(text)[:200]), body
    dtype, shape = rest
    if kind != "tensor" or dtype not in DTYPES or len(shape) > MAX_RANK:
        raise ValueError("no tensor")
    if not all(type(size) is int and 0 <= size <= MAX_BODY for size in shape):
        raise ValueError("no shape")
    little = np.dtype(dtype).newbyteorder("<")
    size = math.prod(shape) * little.itemsize
    if size > len(body):
        raise ValueError("bytes are missing")
    if dtype == "bool":  # a byte that is neither 0 nor 1 would be no bool
        array = np.frombuffer(body[:size], dtype="uint8") != 0
    else:
        array = np.frombuffer(body[:size], dtype=little).astype(np.dtype(dtype))  # a copy
    return torch.from_numpy(array.reshape(shape)), body[size:]


def send(fd: int, data: bytes) -> None:
    """Write all bytes to a pipe."""
    while data:
        data = data[os.write(fd, data) :]


def receive(fd: int):
    """Read a message from a pipe; None when the other side has closed it."""
    prefix = _read(fd, SIZES.size)
    if prefix is None:
        return None
    header, body = body_sizes(prefix)
    return decode(_read(fd, header) or b"", _read(fd, body) or b"")


def _read(fd: int, size: int) -> bytes | None:
    """Read that many bytes, or return None at the end."""
    data = bytearray()
    while len(data) < size:
        piece = os.read(fd, min(size - len(data), 2**16))
        if not piece:
            return None
        data += piece
    return bytes(data)
