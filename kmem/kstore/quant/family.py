"""Which of FAISS's `OPQ…,Residual2xb,PQMxB` a head dimension gets: Memory³'s own at D = 80, its like at any other D."""

from dataclasses import dataclass

from kmem.errors import ConfigError

_COARSE_BITS = 14
_PIECE_BITS = 10
_SAMPLES_A_CENTROID = 4
"""D = 80 trains its 2·2^14 centroids on 65,536 vectors."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """A code of `code_bytes`: two coarse halves of `coarse_bits` each, then `pieces` corrections of `piece_bits` each.

    rotation_pieces: parts of a vector that the rotation makes independent of each other.
    """

    head_dim: int
    rotation_pieces: int
    coarse_bits: int
    pieces: int
    piece_bits: int

    @property
    def factory(self) -> str:
        """FAISS's name of it."""
        rotation = f"OPQ{self.rotation_pieces}_{self.head_dim}"
        return f"{rotation},Residual2x{self.coarse_bits},PQ{self.pieces}x{self.piece_bits}"

    @property
    def code_bytes(self) -> int:
        return -(-2 * self.coarse_bits // 8) - (-self.pieces * self.piece_bits // 8)


def family(head_dim: int, samples: int) -> Family:
    """The family for vectors of D numbers, trained on at least `samples` of them.

    Rule: 7 bytes for 40 numbers, rounded down (11.4× less than float16), but never under 2 bytes (one coarse, one fine; D under 12 has
    D×). Two sevenths of the bytes, at most 4, hold the coarse halves, of at most 14 bits each. The rest is cut into the M × B bits,
    M dividing D and B ≤ 10, that waste least; among equals the largest B wins. No codebook has more centroids than a quarter of the
    samples, so that a small bank gets smaller codes. The rotation has pieces of 4 numbers, or the next larger divisor of D.
    D = 80: OPQ20_80,Residual2x14,PQ8x10, 14 bytes. D = 64: OPQ16_64,Residual2x12,PQ8x8, 11 bytes. 128: Residual2x14,PQ16x9, 22 bytes.
    Raises ConfigError for an odd D, and for fewer than 8 samples.
    """
    if head_dim < 2 or head_dim % 2:
        raise ConfigError(f"Quantiser 'vq' halves its vectors, so {head_dim} numbers a head won't do; use --quant int8.")
    if samples < 2 * _SAMPLES_A_CENTROID:
        raise ConfigError(
            f"Quantiser 'vq' needs at least {2 * _SAMPLES_A_CENTROID} filled slots a layer group to train on, not {samples}; "
            "add memories, ask for fewer groups, or use --quant int8."
        )
    affordable = (samples // _SAMPLES_A_CENTROID).bit_length() - 1
    code_bytes = max(2, 7 * head_dim // 40)
    coarse_bytes = min(4, max(1, 2 * code_bytes // 7))
    fine_bits = 8 * (code_bytes - coarse_bytes)
    divisors = [count for count in range(1, head_dim + 1) if head_dim % count == 0]
    cuts = [(count * bits, bits, count) for count in divisors if (bits := min(_PIECE_BITS, affordable, fine_bits // count))]
    _, piece_bits, pieces = max(cuts)
    return Family(
        head_dim=head_dim,
        rotation_pieces=max(count for count in divisors if count <= max(1, head_dim // 4)),
        coarse_bits=min(_COARSE_BITS, affordable, 4 * coarse_bytes),
        pieces=pieces,
        piece_bits=piece_bits,
    )
