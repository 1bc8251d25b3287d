"""The codebooks as one table of whole vectors: rotation is linear, so every entry is rotated once and decoding only sums rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kmem.kernels.vq_decode.codebooks import Codebooks


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """A vector is the sum of one row a field, summed in float32, out of the rows of its set of codebooks.

    rows: [sets · R, D] float32 or float16, R = 2·2^b + M·2^B, coarse first.
    fields: (first bit, bits, first row within the set) of each number of a code.
    """

    rows: Tensor
    fields: tuple[tuple[int, int, int], ...]
    set_rows: int
    code_bytes: int


def rotated_table(sets: Sequence[Codebooks], dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Table:
    """The table of sets of codebooks of one shape. In float16 it is half as large and each summand is off by up to 2⁻¹¹ of itself.

    All sets share one table so that vectors of many sets decode in one call: four layer groups reach 2.2 GB/s that way, 0.6 one by one.
    """
    first = sets[0]
    starts = [0]
    for table in (*first.coarse, *first.fine):
        starts.append(starts[-1] + len(table))
    return Table(
        rows=torch.cat([part for books in sets for part in _rotated(books)]).to(dtype=dtype, device=device),
        fields=tuple((bit, bits, start) for (bit, bits), start in zip(first.fields, starts[:-1], strict=True)),
        set_rows=starts[-1],
        code_bytes=first.code_bytes,
    )


def _rotated(books: Codebooks) -> list[Tensor]:
    """[2^b, D] twice, then M times [2^B, D]."""
    parts: list[Tensor] = []
    column = 0
    for table in (*books.coarse, *books.fine):
        width = table.shape[1]
        parts.append(table @ books.rotation[column : column + width])
        column = (column + width) % books.head_dim  # the coarse halves fill 0 to D, then the fine pieces do again
    return parts
