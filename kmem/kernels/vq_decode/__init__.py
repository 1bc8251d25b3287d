"""Codes of the vector quantiser → vectors, without FAISS, on whichever device holds the codes."""

import torch
from torch import Tensor

from kmem.errors import ConfigError
from kmem.kernels.vq_decode import cpu
from kmem.kernels.vq_decode.codebooks import Codebooks
from kmem.kernels.vq_decode.table import Table, rotated_table


def vq_decode(codes: Tensor, table: Table, sets: Tensor | None = None) -> Tensor:
    """codes: [..., code_bytes] uint8 → vectors [..., D] of the table's type, on the device of all three.

    sets: number of each vector's set of codebooks, int32, broadcast to the leading dimensions of codes; None = the first for all.
    Raises ConfigError when the codes have another width than the table.
    """
    if codes.shape[-1] != table.code_bytes:
        raise ConfigError(f"Codes of {codes.shape[-1]} bytes don't belong to codebooks of {table.code_bytes} bytes a vector.")
    flat = codes.reshape(-1, table.code_bytes)
    leading = codes.shape[:-1]
    first_rows = torch.zeros(leading, dtype=torch.int32, device=codes.device) if sets is None else (sets * table.set_rows).expand(leading)
    if codes.is_cuda:
        from kmem.kernels.vq_decode import triton  # an extra: only a GPU needs it

        vectors = triton.vq_decode(flat, table, first_rows.reshape(-1))
    else:
        vectors = cpu.vq_decode(flat, table, first_rows.reshape(-1))
    return vectors.view(*leading, table.rows.shape[1])


__all__ = ["Codebooks", "Table", "rotated_table", "vq_decode"]
