"""The pieces of the sources gathered into partitions: what one task reads, cleans and cuts."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from kmem.kbuild.pieces import Piece

PARTITION_BYTES = 32 << 20
"""Of text in a partition; a source that can't be cut makes a larger one."""
MOST_PIECES = 2048
"""Of small files in a partition."""


@dataclass(frozen=True, kw_only=True)
class Partition:
    """The pieces of one task, in the order of the sources. aside: documents that are left out, by their number in it, and why."""

    index: int
    pieces: tuple[Piece, ...]
    aside: tuple[tuple[int, str], ...] = ()

    @property
    def size_bytes(self) -> int:
        """About how much text it holds."""
        return sum(piece.size_bytes for piece in self.pieces)


def gathered(pieces: Sequence[Piece], partition_bytes: int = PARTITION_BYTES) -> list[Partition]:
    """Pieces in their order, as many to a partition as make `partition_bytes`."""
    partitions: list[Partition] = []
    group: list[Piece] = []
    size = 0
    for piece in pieces:
        if group and (size + piece.size_bytes > partition_bytes or len(group) == MOST_PIECES):
            partitions.append(Partition(index=len(partitions), pieces=tuple(group)))
            group, size = [], 0
        group.append(piece)
        size += piece.size_bytes
    if group:
        partitions.append(Partition(index=len(partitions), pieces=tuple(group)))
    return partitions


def waves(partitions: Sequence[Partition], *, limited: bool) -> Iterator[Sequence[Partition]]:
    """All at once, or, where only the first chunks are wanted, one, one, two, four … until there are enough."""
    start, count = 0, 1 if limited else len(partitions)
    while start < len(partitions):
        yield partitions[start : start + count]
        start += count
        count = max(count, start)


def digest(data: Any) -> str:
    """Of what JSON holds."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:32]


def pieces_digest(partition: Partition) -> str:
    """Which pieces it has."""
    return digest([piece.to_dict() for piece in partition.pieces])


def stamps_digest(partition: Partition) -> str:
    """When its files were last written; that of a URL or a corpus is not asked."""
    stamps = []
    for piece in partition.pieces:
        with suppress(OSError, ValueError):
            stamps.append([piece.source, os.stat(piece.source).st_mtime_ns])
    return digest(stamps)
