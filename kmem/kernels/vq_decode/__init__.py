"""Codes of the vector quantiser → vectors, without FAISS, on whichever device holds the codes."""

from torch import Tensor

from kmem.errors import ConfigError
from kmem.kernels.vq_decode import cpu
from kmem.kernels.vq_decode.codebooks import Codebooks
from kmem.kernels.vq_decode.table import Table, rotated_table


def vq_decode(codes: Tensor, table: Table) -> Tensor:
    """codes: [..., code_bytes] uint8 → vectors [..., D] of the table's type, on the device of both.

    Raises ConfigError when the codes have another width than the table.
    """
    if codes.shape[-1] != table.code_bytes:
        raise ConfigError(f"Codes of {codes.shape[-1]} bytes don't belong to codebooks of {table.code_bytes} bytes a vector.")
    flat = codes.reshape(-1, table.code_bytes)
    if codes.is_cuda:
        from kmem.kernels.vq_decode import triton  # an extra: only a GPU needs it

        vectors = triton.vq_decode(flat, table)
    else:
        vectors = cpu.vq_decode(flat, table)
    return vectors.view(*codes.shape[:-1], table.rows.shape[1])


__all__ = ["Codebooks", "Table", "rotated_table", "vq_decode"]
