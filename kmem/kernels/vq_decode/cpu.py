"""The fast path on a processor: read every field of a code as a 32-bit window, then one `embedding_bag` over the rotated table.

Decoded float16 a second on one core of an AMD EPYC (torch 2.13, faiss 1.15.1, GB by processor time, both cores busy with other work),
for 7200 random codes (and for 900), with 2^12 × 2 + 8 × 2^8 centroids at D = 64 and 2^14 × 2 + 8 × 2^10 at D = 80:

| way | D = 64 | D = 80 |
|---|---|---|
| naive | 0.14 (0.21) | 0.12 (0.14) |
| gather the pieces, then one matrix product with the rotation | 0.22 (0.34) | 0.18 (0.32) |
| FAISS's `sa_decode`, to float32 | 0.73 (0.85) | 0.34 (0.69) |
| this with a float32 table, rounded to float16 | 2.1 (1.1) | 1.1 (1.0) |
| **this with a float16 table** | **2.8 (1.2)** | **2.2 (0.9)** |

The float32 table of D = 80 is 13 MB: its rows come out of a cache that all cores share. Blocks that bound the scratch memory
(40 bytes a vector) only cost time, and shifting bytes with torch instead of reading windows took half of it.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding_bag

from kmem.kernels.vq_decode.table import Table

_WINDOW_BYTES = 4


def vq_decode(codes: Tensor, table: Table, first_rows: Tensor) -> Tensor:
    """codes: [n, code_bytes] uint8; first_rows: [n] int32, where each one's set begins → vectors [n, D] of the table's type.

    Any byte decodes to something.
    """
    index = torch.from_numpy(_row_numbers(codes.numpy(), table, first_rows.numpy()))
    fields = len(table.fields)
    bags = torch.arange(0, index.numel() + 1, fields, dtype=torch.int32)
    return embedding_bag(index, table.rows, bags, mode="sum", include_last_offset=True)


def _row_numbers(codes: NDArray[np.uint8], table: Table, first_rows: NDArray[np.int32]) -> NDArray[np.int32]:
    """[n · fields] rows to sum. A field of up to 25 bits lies inside the four bytes that begin where it does."""
    count, code_bytes = codes.shape
    padded = np.empty((count + 1) * code_bytes + _WINDOW_BYTES, dtype=np.uint8)  # the last windows reach past the last code
    padded[: count * code_bytes].reshape(codes.shape)[:] = codes
    index = np.empty((count, len(table.fields)), dtype=np.int32)
    for column, (first, bits, start) in enumerate(table.fields):
        window: NDArray[np.int32] = np.ndarray((count,), dtype="<i4", buffer=padded, offset=first // 8, strides=(code_bytes,))
        index[:, column] = ((window >> first % 8) & (2**bits - 1)) + (first_rows + start)
    return index.reshape(-1)
