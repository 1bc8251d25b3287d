"""The reference: spell out the bits, look up every piece, rotate back. Every faster kernel must agree with it."""

import torch
from torch import Tensor

from kmem.kernels.vq_decode.codebooks import Codebooks


def vq_decode(codes: Tensor, books: Codebooks) -> Tensor:
    """codes: [..., code_bytes] uint8 → vectors [..., D] float32, as FAISS's `sa_decode` has them."""
    bits = (codes[..., None].long() >> torch.arange(8)) & 1  # [..., code_bytes, 8], lowest first
    stream = bits.flatten(-2)
    numbers = [(stream[..., first : first + width] << torch.arange(width)).sum(-1) for first, width in books.fields]
    halves = [table[number] for table, number in zip(books.coarse, numbers[:2], strict=True)]
    pieces = [table[number] for table, number in zip(books.fine, numbers[2:], strict=True)]
    return (torch.cat(halves, dim=-1) + torch.cat(pieces, dim=-1)) @ books.rotation
