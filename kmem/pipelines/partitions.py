"""The pieces of the sources gathered into partitions: what one task reads, cleans and cuts."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from kmem.kbuild.expand import expand
from kmem.kbuild.pieces import Piece, pieces
from kmem.kbuild.readers.config import ReadConfig

PARTITION_BYTES = 32 << 20
"""Of text in a partition; a source that can't be cut makes a larger one."""
LIMITED_BYTES, BYTES_A_CHUNK, MOST_PARTITIONS = 1 << 16, 1 << 10, 1024
"""Where only the first chunks are wanted: of text in a partition at least, and for each of them; and about how many partitions at most."""
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


def partitioned(
    sources: Sequence[str], read: ReadConfig, counts: Counter[str], *, partition_bytes: int, limit: int | None
) -> tuple[list[Partition], int]:
    """The sources as partitions, and of how much text. With a `limit` of chunks they are small, so that no more is read than is wanted.

    Raises as `pieces`.
    """
    size = partition_bytes
    if limit is not None:
        whole = sum(max(0, file.size) for file in expand(sources))
        size = min(partition_bytes, max(LIMITED_BYTES, limit * BYTES_A_CHUNK, whole // MOST_PARTITIONS))
    return gathered(pieces(sources, read, counts, piece_bytes=size), size), size


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
