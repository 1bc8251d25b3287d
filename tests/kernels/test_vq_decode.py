"""Fast decoders against the naive one, and the naive one against FAISS, over every family and odd counts."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
import pytest
import torch
from torch import Tensor

from kmem.errors import ConfigError
from kmem.kernels.vq_decode import Codebooks, Table, cpu, rotated_table, vq_decode
from kmem.kernels.vq_decode.naive import vq_decode as naive
from kmem.kstore.quant.family import Family, family

TOLERANCE = 1e-5
COUNTS = (1, 63, 64, 65, 1000)
FAMILIES = [family(dim, samples) for dim, samples in [(8, 40), (10, 999), (12, 400), (16, 65_536), (64, 999), (64, 65_536)]]
FAMILIES += [family(dim, 65_536) for dim in (80, 96, 128, 256)]


def books_of(wanted: Family) -> Codebooks:
    """Random tables behind a random rotation."""
    random = torch.Generator().manual_seed(wanted.head_dim)
    return Codebooks(
        rotation=torch.linalg.qr(torch.randn(wanted.head_dim, wanted.head_dim, generator=random))[0],
        coarse=torch.randn(2, 2**wanted.coarse_bits, wanted.head_dim // 2, generator=random),
        fine=torch.randn(wanted.pieces, 2**wanted.piece_bits, wanted.head_dim // wanted.pieces, generator=random),
    )


def codes_of(books: Codebooks, count: int) -> Tensor:
    """Random numbers in every field, zeros in the bits between."""
    bits = np.zeros((count, 8 * books.code_bytes), dtype=np.uint8)
    for first, width in books.fields:
        bits[:, first : first + width] = np.random.default_rng(count + first).integers(0, 2, (count, width))
    return torch.from_numpy(np.packbits(bits, axis=1, bitorder="little"))


def cpu_decode(codes: Tensor, table: Table, first_rows: Tensor | None = None) -> Tensor:
    return cpu.vq_decode(codes, table, torch.zeros(len(codes), dtype=torch.int32) if first_rows is None else first_rows)


def triton_decode(codes: Tensor, table: Table, first_rows: Tensor | None = None) -> Tensor:
    """On the GPU where there is one, else in Triton's interpreter."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    os.environ.setdefault("TRITON_INTERPRET", "0" if device == "cuda" else "1")
    from kmem.kernels.vq_decode import triton

    begin = torch.zeros(len(codes), dtype=torch.int32) if first_rows is None else first_rows
    return triton.vq_decode(codes.to(device), dataclasses.replace(table, rows=table.rows.to(device)), begin.to(device)).cpu()


def faiss_index(wanted: Family, books: Codebooks) -> Any:
    """FAISS's own codec with these codebooks; its annotations stop at `Index`."""
    index: Any = faiss.index_factory(wanted.head_dim, wanted.factory)
    inner: Any
    halves: Any
    rotation: Any
    inner, rotation = faiss.downcast_index(index.index), faiss.downcast_VectorTransform(index.chain.at(0))
    halves = faiss.downcast_index(inner.q1.quantizer)
    faiss.copy_array_to_vector(books.rotation.numpy().reshape(-1), rotation.A)
    rotation.set_is_orthonormal()
    for quantiser, centroids in ((halves.pq, books.coarse), (inner.pq, books.fine)):
        faiss.copy_array_to_vector(centroids.numpy().reshape(-1), quantiser.centroids)
    for part in (index, inner, halves, rotation):
        part.is_trained = True
    return index


@pytest.mark.parametrize("wanted", FAMILIES, ids=lambda wanted: wanted.factory)
def test_naive_equals_faiss(wanted: Family) -> None:
    books = books_of(wanted)
    index, codes = faiss_index(wanted, books), codes_of(books, 1000)
    assert index.sa_code_size() == books.code_bytes == wanted.code_bytes
    torch.testing.assert_close(naive(codes, books), torch.from_numpy(index.sa_decode(codes.numpy())), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("decode", [cpu_decode, triton_decode])
@pytest.mark.parametrize("wanted", FAMILIES, ids=lambda wanted: wanted.factory)
def test_fast_equals_naive(wanted: Family, decode: Callable[[Tensor, Table], Tensor]) -> None:
    books = books_of(wanted)
    table = rotated_table([books])
    for count in COUNTS:
        codes = codes_of(books, count)
        torch.testing.assert_close(decode(codes, table), naive(codes, books), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("decode", [cpu_decode, triton_decode])
def test_half_tables_cost_half_an_ulp_of_every_summand(decode: Callable[[Tensor, Table], Tensor]) -> None:
    books = books_of(family(64, 65_536))
    codes, exact = codes_of(books, 1000), rotated_table([books])
    decoded = decode(codes, rotated_table([books], torch.float16))
    assert decoded.dtype == torch.float16
    summands = decode(codes, dataclasses.replace(exact, rows=exact.rows.abs()))
    assert bool(((decoded.float() - naive(codes, books)).abs() <= 2.0**-11 * (summands + decoded.float().abs()) + TOLERANCE).all())


@pytest.mark.parametrize("decode", [cpu_decode, triton_decode])
def test_every_vector_has_its_own_set(decode: Callable[..., Tensor]) -> None:
    one = books_of(family(16, 999))
    other = dataclasses.replace(one, coarse=one.coarse + 1, fine=one.fine * 2)
    table, codes = rotated_table([one, other]), codes_of(one, 65)
    sets = torch.arange(65, dtype=torch.int32) % 2
    expected = torch.where(sets[:, None] > 0, naive(codes, other), naive(codes, one))
    torch.testing.assert_close(decode(codes, table, sets * table.set_rows), expected, rtol=TOLERANCE, atol=TOLERANCE)
    torch.testing.assert_close(vq_decode(codes.view(5, 13, -1), table, sets.view(5, 13)).view(65, 16), expected)


def test_any_bytes_decode_alike() -> None:
    """Bits between the fields mean nothing, and no byte leads outside a table."""
    books = books_of(family(80, 65_536))
    codes = torch.randint(0, 256, (1000, books.code_bytes), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(cpu_decode(codes, rotated_table([books])), naive(codes, books), rtol=TOLERANCE, atol=TOLERANCE)


def test_shape_is_kept_and_nothing_decodes_to_nothing() -> None:
    books = books_of(family(16, 999))
    table, codes = rotated_table([books]), codes_of(books, 30)
    assert vq_decode(codes[:0], table).shape == (0, 16)
    strided = codes.view(5, 2, 3, -1)[:, 1]
    assert torch.equal(vq_decode(strided, table), vq_decode(codes, table).view(5, 2, 3, 16)[:, 1])


def test_codes_of_another_width_are_refused() -> None:
    with pytest.raises(ConfigError, match="Codes of 3 bytes don't belong to codebooks of 2 bytes"):
        vq_decode(torch.zeros(4, 3, dtype=torch.uint8), rotated_table([books_of(family(16, 999))]))
