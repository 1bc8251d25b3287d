"""The benchmark of retrieval on a corpus of nonsense words, with a tiny model's hidden states beside words."""

import json
from pathlib import Path

import numpy as np
import pytest

from kmem.bench.retrieval.config import CHINESE, ENGLISH, LAW, RetrievalConfig
from kmem.bench.retrieval.embeddings import BLOCK, cached_embeddings
from kmem.bench.retrieval.measure import measure_retrieval
from kmem.bench.retrieval.paired import paired
from kmem.errors import ConfigError, MissingDependencyError
from kmem.kstore.index.bm25 import Bm25
from kmem.kstore.index.hybrid import Hybrid
from tests.kstore.kit import NgramEmbedder
from tests.tiny import byte_tokenizer, tiny_model


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("KMEM_CACHE", str(tmp_path / "cache"))
    generator = np.random.default_rng(0)
    syllables = ["".join(pair) for pair in np.stack([generator.permutation(list("bcdfgklmnprstvz")) for _ in range(2)], axis=1)]
    lines = []
    for number in range(12):
        words = ["a".join(generator.choice(syllables, size=3)) for _ in range(24)]
        sentences = [" ".join(words[start : start + 8]).capitalize() + "." for start in (0, 8, 16)]
        lines.append(json.dumps({"title": f"Article{number}", "text": " ".join(sentences)}))
    path = tmp_path / "nonsense.jsonl"
    path.write_text("\n".join(lines))
    return str(path)


class Counted(NgramEmbedder):
    texts = 0

    def embed(self, texts, progress=None):  # type: ignore[no-untyped-def]
        self.texts += len(texts)
        return super().embed(texts, progress)


def test_every_retriever_is_measured(corpus: str) -> None:
    config = RetrievalConfig(corpora=(corpus,), retrievers=("bm25", "hidden", "hybrid:hidden"), questions=6)
    told: list[tuple[str, int, int]] = []
    figures = measure_retrieval(tiny_model(), byte_tokenizer(), config, progress=lambda *said: told.append(said))
    found = figures["corpora"][corpus]
    assert (found["questions"], found["articles"]) == (6, 12)
    assert list(found["retrievers"]) == ["bm25", "hidden", "hybrid:hidden"]
    assert found["retrievers"]["bm25"]["recall@1"] == 1.0
    for row in found["retrievers"].values():
        assert 0 <= row["recall@1"] <= row["recall@5"] <= row["recall@20"] <= 1
        assert row["search_p50_ms"] > 0
    assert found["retrievers"]["hidden"]["recall@20"] == 1.0  # of twelve articles all are ranked
    assert found["retrievers"]["bm25"]["index"] == "BM25"
    assert figures["search_p50_ms"] == max(row["search_p50_ms"] for row in found["retrievers"].values())
    assert list(found["against_parts"]) == ["hybrid:hidden"]
    assert list(found["against_parts"]["hybrid:hidden"]["recall@5"]) == ["hidden", "bm25"]
    assert "recall5" not in figures
    assert told[0][1] == 0
    assert told[-1][1] == told[-1][2] == found["rows"] + 6


def test_full_measures_an_index_too(corpus: str) -> None:
    config = RetrievalConfig(corpora=(corpus,), retrievers=("bm25",), questions=2, full=True, index_rows=300)
    figures = measure_retrieval(tiny_model(), byte_tokenizer(), config)
    assert figures["index"]["rows"] == 300
    assert 0 < figures["index"]["recall5"] <= 1
    left_out, short = figures["harder"].values()
    assert left_out["retrievers"]["bm25"]["recall@1"] < 1
    assert left_out["rows"] < short["rows"] == figures["corpora"][corpus]["rows"]


def test_what_is_not_installed_is_left_out_unless_it_was_asked_for(corpus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kmem.kstore.index.multilingual.PACKAGE", "no_such_package")
    monkeypatch.setattr("kmem.bench.retrieval.config.ENGLISH", ("bm25", "multilingual"))
    figures = measure_retrieval(tiny_model(), byte_tokenizer(), RetrievalConfig(corpora=(corpus,), questions=2))
    assert list(figures["corpora"][corpus]["retrievers"]) == ["bm25"]
    assert "pip install" in figures["skipped"]["multilingual"]
    with pytest.raises(MissingDependencyError, match="multilingual"):
        measure_retrieval(tiny_model(), byte_tokenizer(), RetrievalConfig(corpora=(corpus,), retrievers=("multilingual",)))


def test_embeddings_are_computed_once_whoever_asks(corpus: str) -> None:
    texts = [f"text {number}" for number in range(BLOCK + 3)]
    embedder = Counted()
    told: list[int] = []
    first = cached_embeddings(embedder, texts, told.append)
    assert np.array_equal(first, NgramEmbedder().embed(texts))
    assert np.array_equal(first, cached_embeddings(Hybrid(embedder), texts, lambda _: None))
    assert embedder.texts == len(texts) == sum(told)
    other = Counted(salt="other")
    assert not np.array_equal(first, cached_embeddings(other, texts, lambda _: None))
    assert other.texts == len(texts)
    assert cached_embeddings(embedder, [*texts[:-1], "another"], lambda _: None).shape == first.shape
    assert embedder.texts == len(texts) + 3
    assert cached_embeddings(Bm25(), texts, told.append).shape == (len(texts), 0)


def test_pairs() -> None:
    same = paired([True] * 100, [True] * 100)
    assert (same["difference"], same["wins"], same["losses"]) == (0, 0, 0)
    assert same["low95"] == -same["high95"] < -0.01
    better = paired([True] * 90 + [False] * 10, [True] * 60 + [False] * 30 + [True] * 10)
    assert (better["difference"], better["wins"], better["losses"]) == (0.2, 30, 10)
    assert 0.05 < better["low95"] < 0.2 < better["high95"] < 0.35
    assert paired([True] * 3, [False] * 3)["high95"] == 1.0


def test_retrievers_go_by_the_corpus() -> None:
    assert RetrievalConfig().retrievers_of("corpus:foldoc") == ENGLISH
    assert RetrievalConfig().retrievers_of(LAW) == CHINESE
    assert RetrievalConfig(retrievers=("bm25", "bm25")).retrievers_of(LAW) == ("bm25",)
    for wrong in ({"questions": 0}, {"pool": 0}, {"corpora": ()}, {"retrievers": ()}, {"retrievers": ("",)}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            RetrievalConfig(**wrong)
