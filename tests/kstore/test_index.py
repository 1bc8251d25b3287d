"""The index: exact when small, measured when not, and never short of answers because of deletions."""

from pathlib import Path

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from kmem.errors import ConfigError, CorruptBankError
from kmem.kstore.bank import open_bank
from kmem.kstore.index.build import build_index
from kmem.kstore.index.config import IndexConfig
from kmem.kstore.index.factory import list_count
from kmem.kstore.index.queries import Queries
from kmem.kstore.index.search import FEW_QUERIES, read_index, search, write_index
from kmem.kstore.index.tune import noisy_copies
from kmem.kstore.place import LocalPlace
from tests.kstore.kit import NgramEmbedder, tiny_chunks, write_bank


def unit_vectors(count: int, dim: int = 12, seed: int = 0) -> NDArray[np.float32]:
    """Clustered like real embeddings: 20 centres."""
    generator = np.random.default_rng(seed)
    vectors = generator.standard_normal((20, dim))[generator.integers(20, size=count)] + 0.5 * generator.standard_normal((count, dim))
    unit: NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def some_ids(count: int) -> NDArray[np.int64]:
    return np.random.default_rng(1).choice(2**62, size=count, replace=False).astype(np.int64)


def test_flat_below_the_threshold_is_exact() -> None:
    vectors, ids = unit_vectors(300), some_ids(300)
    index, stats = build_index(vectors, ids)
    assert (stats.kind, stats.search, stats.recall_at_5, stats.rows, stats.dim) == ("flat", {}, 1.0, 300, 12)
    _, found = index.once(vectors[:9], 5, {})
    assert np.array_equal(found, ids[np.argsort(-(vectors[:9] @ vectors.T), axis=1)[:, :5]])


def test_ivf_reaches_the_target_and_records_what_it_measured() -> None:
    vectors, ids = unit_vectors(2000), some_ids(2000)
    _, stats = build_index(vectors, ids, config=IndexConfig(flat_below=100, target_recall=0.9))
    assert stats.factory == f"IVF{list_count(2000)},Flat"
    assert 0.9 <= stats.recall_at_5 <= 1
    assert 1 <= stats.search["nprobe"] < list_count(2000)
    assert stats.recall_sample == 500


def test_a_target_of_one_is_reached_by_visiting_enough_lists() -> None:
    _, stats = build_index(unit_vectors(400), some_ids(400), config=IndexConfig(flat_below=1, target_recall=1.0))
    assert stats.recall_at_5 == 1.0


def test_the_build_is_deterministic_over_runs_and_threads() -> None:
    vectors, ids = unit_vectors(3000, dim=32), some_ids(3000)
    threads, found = faiss.omp_get_max_threads(), set()
    for count in (1, 2, 1):
        faiss.omp_set_num_threads(count)
        index, _ = build_index(vectors, ids, config=IndexConfig(flat_below=1))
        found.add(faiss.serialize_index(index.searched).tobytes())
    faiss.omp_set_num_threads(threads)
    assert len(found) == 1


@pytest.mark.parametrize("flat_below", [1, 10_000])
def test_excluded_ids_take_no_place(tmp_path: Path, flat_below: int) -> None:
    vectors, ids = unit_vectors(200), some_ids(200)
    index, stats = build_index(vectors, ids, config=IndexConfig(flat_below=flat_below))
    record = write_index(LocalPlace(tmp_path), index, stats, {"name": "none"})
    loaded = read_index(LocalPlace(tmp_path), record)
    _, before = search(loaded, record, vectors[:4], 5)
    assert np.array_equal(before[:, 0], ids[:4])
    _, after = search(loaded, record, vectors[:4], 5, exclude=ids[:4].tolist())
    assert not np.isin(after, ids[:4]).any()
    assert (after >= 0).all()
    _, everything = search(loaded, record, vectors[:1], 1000, exclude=ids[:4].tolist())
    assert (everything[0] >= 0).sum() == 196  # the lists are widened until all are found


def test_few_queries_are_searched_alone_and_leave_the_number_of_threads(tmp_path: Path) -> None:
    vectors, ids = unit_vectors(200), some_ids(200)
    index, stats = build_index(vectors, ids)
    record = write_index(LocalPlace(tmp_path), index, stats, {"name": "none"})
    before = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(2)
        few, many = (search(index, record, vectors[:count], 3)[1] for count in (FEW_QUERIES, 200))
        assert faiss.omp_get_max_threads() == 2
    finally:
        faiss.omp_set_num_threads(before)
    assert np.array_equal(few, many[:FEW_QUERIES])


def test_an_index_of_other_memories_is_reported(tmp_path: Path) -> None:
    write_bank(tmp_path / "bank", count=6)
    with open_bank(tmp_path / "bank", NgramEmbedder()) as bank:
        vectors = bank.vectors(bank.ids.tolist())
        bank._index.__dict__["dense"], _ = build_index(vectors, np.arange(1, 7))
        with pytest.raises(CorruptBankError, match=r"\.faiss knows id [1-6], of which the bank holds no memory"):
            bank.nearest(Queries(vectors=vectors[:1]))


def test_an_ivf_bank_searches(tmp_path: Path) -> None:
    manifest = write_bank(tmp_path / "bank", count=60, rows_per_shard=16, index=IndexConfig(flat_below=10))
    assert manifest.index.kind == "ivf"
    assert manifest.index.recall_at_5 >= 0.95
    with open_bank(tmp_path / "bank", NgramEmbedder()) as bank:
        for chunk in tiny_chunks(60)[::7]:
            assert bank.search(chunk.reference, k=5)[0].id == chunk.id


def test_real_queries_are_used_when_given() -> None:
    _, stats = build_index(unit_vectors(200), some_ids(200), config=IndexConfig(flat_below=1), queries=unit_vectors(7, seed=3))
    assert stats.recall_sample == 7


def test_noisy_copies_lie_as_far_off_as_they_say() -> None:
    vectors = unit_vectors(600, dim=64)
    noisy, made_of = noisy_copies(vectors, seed=0)
    near = (noisy * vectors[made_of]).sum(axis=1)
    assert len(noisy) == 500
    assert 0.78 < near.mean() < 0.82
    assert np.allclose(np.linalg.norm(noisy, axis=1), 1, atol=1e-6)


def test_bad_input_is_refused() -> None:
    vectors, ids = unit_vectors(10), some_ids(10)
    with pytest.raises(ConfigError, match=r"\(10, 12\) and \(9,\)"):
        build_index(vectors, ids[:9])
    with pytest.raises(ConfigError, match=str(ids[0])):
        build_index(vectors, np.where(np.arange(10) < 2, ids[0], ids))
    vectors[3, 4] = np.nan
    with pytest.raises(ConfigError, match="Vector 3"):
        build_index(vectors, ids)
    with pytest.raises(ConfigError, match="target_recall"):
        IndexConfig(target_recall=0)
