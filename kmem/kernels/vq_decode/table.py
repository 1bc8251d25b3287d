"""The codebooks as one table of whole vectors: rotation is linear, so every entry is rotated once and decoding only sums rows."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kmem.kernels.vq_decode.codebooks import Codebooks


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """A vector is the sum of one row a field, summed in float32.

    rows: [R, D] float32 or float16, R = 2·2^b + M·2^B, coarse first.
    fields: (first bit, bits, first row) of each number of a code.
    """

    rows: Tensor
    fields: tuple[tuple[int, int, int], ...]
    code_bytes: int


def rotated_table(books: Codebooks, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Table:
    """The table of these codebooks. In float16 it is half as large and each summand is off by up to 2⁻¹¹ of itself."""
    parts, begin = [], 0
    for table in (*books.coarse, *books.fine):
        width = table.shape[1]
        column = begin % books.head_dim  # the coarse halves fill 0 to D, then the fine pieces do again
        parts.append(table @ books.rotation[column : column + width])
        begin += width
    starts = [0]
    for part in parts[:-1]:
        starts.append(starts[-1] + len(part))
    return Table(
        rows=torch.cat(parts).to(dtype=dtype, device=device),
        fields=tuple((first, bits, start) for (first, bits), start in zip(books.fields, starts, strict=True)),
        code_bytes=books.code_bytes,
    )
