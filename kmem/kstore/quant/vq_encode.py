"""Vectors → codes of the vector quantiser, by nearest-centroid search in torch: the codebooks are all it needs, FAISS is not."""

import torch
from torch import Tensor

from kmem.kernels.vq_decode import Codebooks

_BLOCK = 1024
"""Vectors searched at a time: 67 MB of distances at 2^14 centroids."""


def vq_encode(vectors: Tensor, books: Codebooks) -> Tensor:
    """vectors: [..., D] → codes [..., code_bytes] uint8, FAISS's own but for ties within float32 rounding.

    Coarse first, each half alone; the fine pieces then encode what the coarse halves leave.
    """
    flat = vectors.reshape(-1, books.head_dim).float()
    codes = torch.empty(len(flat), books.code_bytes, dtype=torch.uint8)
    for start in range(0, len(flat), _BLOCK):
        block = slice(start, start + _BLOCK)
        rotated = flat[block] @ books.rotation.T
        coarse, approximate = _nearest(rotated, books.coarse)
        fine, _ = _nearest(rotated - approximate, books.fine)
        codes[block] = _pack(torch.cat([coarse, fine], dim=1), books)
    return codes.view(*vectors.shape[:-1], books.code_bytes)


def _nearest(vectors: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """vectors: [n, D]; centroids: [pieces, c, D / pieces] → number of the nearest centroid [n, pieces], and the centroids [n, D]."""
    pieces = vectors.view(len(vectors), len(centroids), -1).transpose(0, 1)  # [pieces, n, D / pieces]
    numbers = [
        torch.addmm(table.square().sum(-1), piece, table.T, alpha=-2).argmin(-1) for piece, table in zip(pieces, centroids, strict=True)
    ]
    found = [table[number] for table, number in zip(centroids, numbers, strict=True)]
    return torch.stack(numbers, dim=1), torch.cat(found, dim=1)


def _pack(numbers: Tensor, books: Codebooks) -> Tensor:
    """numbers: [n, fields] → codes [n, code_bytes]: each number's lowest bit first, at its place in `books.fields`."""
    bits = torch.zeros(len(numbers), 8 * books.code_bytes, dtype=torch.long)
    for (first, width), number in zip(books.fields, numbers.T, strict=True):
        bits[:, first : first + width] = (number[:, None] >> torch.arange(width)) & 1
    return (bits.view(len(numbers), books.code_bytes, 8) << torch.arange(8)).sum(-1).to(torch.uint8)
