"""Indexes that aren't exact are tuned to pieces of their own texts, embedded as questions are."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kmem.kstore.bank import open_bank
from kmem.kstore.index.bm25 import Bm25
from kmem.kstore.index.build import build_index
from kmem.kstore.index.config import IndexConfig, as_asked
from kmem.kstore.index.excerpts import CHARACTERS, EXCERPTS, excerpts
from kmem.kstore.index.make import make_index
from kmem.kstore.life import compact, delete
from kmem.kstore.place import LocalPlace
from kmem.kstore.verify import repair_index
from tests.kstore.kit import NgramEmbedder, tiny_chunks, write_bank
from tests.kstore.test_index import some_ids, unit_vectors

ENGLISH = "A hash table gives rapid access to data items which are distinguished by some key, and stores them in buckets."
CHINESE = "工资应当以货币形式按月支付给劳动者本人，用人单位不得克扣或者无故拖欠劳动者的工资。" * 3
ROWS, DIM = 800, 12


class Asked(NgramEmbedder):
    """Notes what it embeds as queries."""

    def __init__(self) -> None:
        super().__init__()
        self.queries: list[str] = []

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.queries += texts
        return super().embed_queries(texts)


def test_pieces_of_some_texts() -> None:
    texts = [f"{row} {ENGLISH}" for row in range(EXCERPTS + 50)]
    found = excerpts(iter(texts), len(texts), seed=0)
    assert len(found) == EXCERPTS
    assert len(set(found)) > 10  # of all places
    assert all(CHARACTERS // 2 < len(piece) <= CHARACTERS and set(piece.split()) <= set(texts[0].split()) for piece in found)
    assert found == excerpts(texts, len(texts), seed=0) != excerpts(texts, len(texts), seed=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("one two three four five six seven", "five six"), ("hash tables", "tables"), ("水", "水"), ("", None), (" \n ", None)],
)
def test_of_a_short_text_its_second_half(text: str, expected: str | None) -> None:
    assert excerpts([text], 1, seed=0) == ([expected] if expected else [])


def test_chinese_is_cut_anywhere() -> None:
    (piece,) = excerpts([CHINESE], 1, seed=0)
    assert len(piece) == CHARACTERS
    assert piece in CHINESE


def vectors_of_questions(texts: Sequence[str]) -> NDArray[np.float32]:
    """Far from all clusters alike, as the texts' number says."""
    far = np.random.default_rng(len(texts)).standard_normal((len(texts), DIM)).astype(np.float32)
    unit: NDArray[np.float32] = far / np.linalg.norm(far, axis=1, keepdims=True)
    return unit


def test_questions_that_lie_far_off_make_it_look_farther(tmp_path: Path) -> None:
    vectors, ids, embedder = unit_vectors(ROWS), some_ids(ROWS), {"name": "none"}
    config = IndexConfig(factory="IVF32,Flat")
    near, far = (
        make_index(LocalPlace(tmp_path), vectors, lambda: [ENGLISH] * ROWS, ids, embedder, config=config, embed_queries=questions)
        for questions in (None, vectors_of_questions)
    )
    assert far.search["nprobe"] > near.search["nprobe"]
    assert far.recall_sample == EXCERPTS
    assert far.recall_at_5 >= far.target_recall


@pytest.mark.parametrize("factory", ["Flat", "auto"])
def test_an_exact_index_asks_nothing(tmp_path: Path, factory: str) -> None:
    asked = Asked()
    vectors, config = unit_vectors(50), IndexConfig(factory=factory)
    make_index(LocalPlace(tmp_path), vectors, lambda: [ENGLISH] * 50, some_ids(50), {}, config=config, embed_queries=asked.embed_queries)
    assert asked.queries == []


def test_without_texts_noise_has_to_do(tmp_path: Path) -> None:
    vectors, config = unit_vectors(50), IndexConfig(factory="IVF4,Flat")
    record = make_index(LocalPlace(tmp_path), vectors, tuple, some_ids(50), {}, config=config, embed_queries=vectors_of_questions)
    assert record.recall_sample == 50


def test_a_mended_index_is_tuned_to_the_bank_s_texts(tmp_path: Path) -> None:
    write_bank(tmp_path / "bank", count=40, index=IndexConfig(factory="IVF4,Flat"))
    asked = Asked()
    repaired = repair_index(tmp_path / "bank", embedder=asked)
    assert repaired.index.recall_sample == len(asked.queries) == 40
    references = [chunk.reference for chunk in tiny_chunks(40)]
    assert all(any(piece in reference for reference in references) for piece in asked.queries)


def test_words_alone_are_not_tuned(tmp_path: Path) -> None:
    write_bank(tmp_path / "bank", embedder=Bm25(), index=IndexConfig(factory="IVF4,Flat"))
    assert repair_index(tmp_path / "bank", embedder=Bm25()).index.recall_sample == 0


def test_what_takes_its_place_looks_as_far(tmp_path: Path) -> None:
    """Compaction has no embedder to tune with."""
    write_bank(tmp_path / "bank", count=60, index=IndexConfig(factory="IVF16,Flat", at_least={"nprobe": 13}))
    with open_bank(tmp_path / "bank") as bank:
        assert bank.manifest.index.search == {"nprobe": 13}
        gone = bank.ids[:3].tolist()
    delete(tmp_path / "bank", gone)
    compact(tmp_path / "bank")
    with open_bank(tmp_path / "bank") as bank:
        assert bank.manifest.index.search == {"nprobe": 13}
        assert len(bank) == bank.manifest.index.rows == 57


def test_never_farther_than_there_are_lists_and_real_questions_decide() -> None:
    vectors, ids = unit_vectors(200), some_ids(200)
    config = IndexConfig(factory="IVF8,Flat", at_least={"nprobe": 64})
    assert build_index(vectors, ids, config=config)[1].search == {"nprobe": 8}
    assert build_index(vectors, ids, config=config, queries=vectors[:9])[1].search["nprobe"] < 8


def test_settings_travel_with_the_record(tmp_path: Path) -> None:
    record = make_index(LocalPlace(tmp_path), unit_vectors(200), tuple, some_ids(200), {}, config=IndexConfig(factory="HNSW8"))
    assert as_asked(record).at_least == record.search
