"""What FAISS's `OPQ…,Residual2xb,PQMxB` learns, and where each number stands in a code."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Codebooks:
    """One trained vector quantiser: two coarse halves of D/2 numbers each, and M fine pieces of D/M that correct them.

    rotation: [D, D] float32, orthogonal (to 1e-3); a vector is `(coarse + fine) @ rotation`.
    coarse: [2, 2^b, D/2] float32. fine: [M, 2^B, D/M] float32.
    """

    rotation: Tensor
    coarse: Tensor
    fine: Tensor

    @property
    def head_dim(self) -> int:
        return self.rotation.shape[0]

    @property
    def fields(self) -> tuple[tuple[int, int], ...]:
        """(first bit, bits) of the two coarse numbers and the M fine ones; the lowest bit of byte 0 comes first, as FAISS packs them.

        The fine numbers begin at a byte of their own.
        """
        wide, narrow = _bits(self.coarse), _bits(self.fine)
        begin = 8 * -(-2 * wide // 8)
        return ((0, wide), (wide, wide), *((begin + piece * narrow, narrow) for piece in range(self.fine.shape[0])))

    @property
    def code_bytes(self) -> int:
        """Bytes of one vector."""
        first, bits = self.fields[-1]
        return -(-(first + bits) // 8)


def _bits(centroids: Tensor) -> int:
    """Bits of an index into [pieces, 2^bits, numbers]."""
    return centroids.shape[1].bit_length() - 1
