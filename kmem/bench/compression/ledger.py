"""Memory³'s ledger (its Table 17 and Appendix B), computed by the code that sizes a real bank."""

import torch

from kmem.encoder.presets import MEMORY3_REFERENCES
from kmem.kernels.vq_decode import Codebooks
from kmem.kstore.quant import Quantiser, Vq, quantiser, record_bytes
from kmem.kstore.quant.family import family
from kmem.profile import Profile

LAYERS, MEMORY_LAYERS, QUERY_HEADS, HEADS, TOKENS, KEPT, HEAD_DIM = 44, 22, 40, 8, 128, 8, 80
PAPER = {"dense": 7.17 * 2**50, "sparse": 45.9 * 2**40, "vq": 4.02 * 2**40}
"""7.17 PB, 45.9 TB and 4.02 TB, in binary units."""
DENSE = Profile(name="dense", budget=((TOKENS,) * QUERY_HEADS,) * LAYERS)
SPARSE = Profile(name="memory3", budget=((KEPT,) * HEADS,) * MEMORY_LAYERS + ((0,) * HEADS,) * (LAYERS - MEMORY_LAYERS))
PLENTY = 1 << 20
"""Samples that leave a codebook as large as it can be."""


def ledger(
    references: int = MEMORY3_REFERENCES, *, dense: Profile = DENSE, sparse: Profile = SPARSE, head_dim: int = HEAD_DIM
) -> dict[str, float]:
    """`sizes` of Memory³'s bank unless told otherwise; `*_over_paper` compares with the paper's own totals."""
    found = sizes(references, dense=dense, sparse=sparse, head_dim=head_dim)
    return found | {f"{size}_over_paper": found[f"{size}_bytes"] / paper for size, paper in PAPER.items()}


def sizes(references: int, *, dense: Profile, sparse: Profile, head_dim: int) -> dict[str, float]:
    """Bytes of a bank of so many references: all layers' and query heads' key-values, Memory³'s sparse ones, and those quantised."""
    dense_bytes = references * record_bytes(codec("bf16", dense.slots, head_dim), dense.slots, head_dim)
    sparse_bytes = references * record_bytes(codec("bf16", sparse.slots, head_dim), sparse.slots, head_dim)
    vq_bytes = references * record_bytes(codec("vq", sparse.slots, head_dim), sparse.slots, head_dim)
    return {
        "references": references,
        "dense_bytes": dense_bytes,
        "sparse_bytes": sparse_bytes,
        "vq_bytes": vq_bytes,
        "sparse_ratio": dense_bytes / sparse_bytes,
        "vq_ratio": sparse_bytes / vq_bytes,
        "total_ratio": dense_bytes / vq_bytes,
    }


def codec(name: str, slots: int, head_dim: int) -> Quantiser:
    """The quantiser of that name as a large bank of memories of S slots would have it; raises UnknownNameError."""
    return _untrained(slots, head_dim) if name == "vq" else quantiser(name)


def _untrained(slots: int, head_dim: int) -> Vq:
    """The vector quantiser with codebooks that have a shape and no numbers: enough to say how long a record is."""
    shape = family(head_dim, PLENTY)
    books = Codebooks(
        rotation=torch.empty(head_dim, head_dim, device="meta"),
        coarse=torch.empty(2, 2**shape.coarse_bits, head_dim // 2, device="meta"),
        fine=torch.empty(shape.pieces, 2**shape.piece_bits, head_dim // shape.pieces, device="meta"),
    )
    return Vq(bounds=(0, slots), books=((books,), (books,)))
