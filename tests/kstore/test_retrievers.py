"""Banks found by words, and by words and vectors together: in Chinese, with deletions, through every change, in S3, damaged."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray

from kmem.errors import ConfigError, CorruptBankError, IdentityMismatchError, MemoryNotFoundError, WrongTypeError
from kmem.kstore.bank import open_bank
from kmem.kstore.digest import digest_of
from kmem.kstore.fields import Fields
from kmem.kstore.index.bm25 import Bm25
from kmem.kstore.index.config import IndexConfig
from kmem.kstore.index.embed import MINILM, Embedder
from kmem.kstore.index.hybrid import FUSION, Fusion, Hybrid, fuse
from kmem.kstore.index.lexical import build_lexical, read_lexical, write_lexical
from kmem.kstore.index.make import make_index
from kmem.kstore.index.queries import Queries
from kmem.kstore.index.reading import OpenIndex
from kmem.kstore.index.retriever import Retriever
from kmem.kstore.index.retrievers import recorded_retriever, retriever
from kmem.kstore.index.tokens import terms
from kmem.kstore.life import compact, convert, delete, merge
from kmem.kstore.manifest import IndexRecord, Manifest
from kmem.kstore.place import LocalPlace
from kmem.kstore.quant import quantiser
from kmem.kstore.stored import store
from kmem.kstore.verify import repair_index, verify
from tests import s3
from tests.kstore.kit import NgramEmbedder, damaged, tiny_chunks, write_bank

LAW = ["劳动者享有平等就业的权利。", "试用期最长不得超过六个月。", "国家保护野生动物及其栖息地。", "The probation period is six months."]
IDS = np.array([40, 10, 30, 20], dtype=np.int64)


def hybrid() -> Hybrid:
    return Hybrid(NgramEmbedder())


@pytest.fixture(params=[Bm25, hybrid], ids=["bm25", "hybrid"])
def finding(request: pytest.FixtureRequest) -> Retriever:
    make: Callable[[], Retriever] = request.param
    return make()


@pytest.fixture
def path(tmp_path: Path, finding: Retriever) -> Path:
    write_bank(tmp_path / "bank", embedder=finding, count=9)
    return tmp_path / "bank"


def top(path: Path | str, finding: Retriever, query: str, k: int = 3) -> list[int]:
    with open_bank(path, finding) as bank:
        return [hit.id for hit in bank.search(query, k=k)]


def test_terms_are_words_and_pairs_of_characters() -> None:
    assert terms("A Hash-table, ＡＳＣＩＩ!") == ["a", "hash", "table", "ascii"]
    assert terms("试用期6个月 法") == ["试用", "用期", "6", "个月", "法"]
    assert terms("ハッシュ表") == ["ハッ", "ッシ", "シュ", "ュ表"]
    assert terms("人々・ハッシュ") == ["人々", "ハッ", "ッシ", "シュ"]
    assert terms("…!?") == []


def test_chinese_and_english_are_found_by_what_they_share() -> None:
    index = build_lexical(LAW, IDS)
    scores, ids = index.search(["试用期有多长？", "野生动物", "probation", "quantum"], 3)
    assert ids[:, 0].tolist() == [10, 30, 20, -1]
    assert (scores[:, 0] > 0).tolist() == [True, True, True, False]
    assert ids[0].tolist() == [10, -1, -1]


def test_scores_are_those_of_bm25() -> None:
    """Lucene's form, computed by hand for one term in two of three texts."""
    index = build_lexical(["a b b", "b c", "c d e"], np.array([7, 8, 9]))
    scores, ids = index.search(["b"], 3)
    idf, average = np.log(1 + (3 - 2 + 0.5) / (2 + 0.5)), 8 / 3
    first, second = (idf * tf / (tf + 1.5 * (1 - 0.75 + 0.75 * length / average)) for tf, length in ((2, 3), (1, 2)))
    assert ids.tolist() == [[7, 8, -1]]
    assert np.allclose(scores[0], [first, second, 0], rtol=1e-6)
    assert np.allclose(index.search(["b b"], 1)[0], 2 * scores[0, 0], rtol=1e-6)


def test_equal_scores_keep_the_order_written_and_excluded_ids_take_no_place() -> None:
    index = build_lexical(["same words"] * 6, np.arange(6)[::-1].copy())
    assert index.search(["words"], 3)[1].tolist() == [[5, 4, 3]]
    assert index.search(["words"], 3, exclude=[5, 3])[1].tolist() == [[4, 2, 1]]
    assert index.search(["words"], 9, exclude=[0, 1, 2])[1].tolist() == [[5, 4, 3, -1, -1, -1]]


@pytest.mark.parametrize("k", [1, 7, 40, 900])
def test_the_best_of_many_are_those_of_a_sort(k: int) -> None:
    """Enough texts that the best are looked for among the highest of groups; few different scores, so many are equal."""
    generator = np.random.default_rng(k)
    texts = [" ".join(generator.choice(["a", "b", "c", "rare"], size=3, p=[0.5, 0.3, 0.19, 0.01])) for _ in range(900)]
    index = build_lexical(texts, np.arange(900))
    for query, gone in (("a c", []), ("b rare", [3, 5, 8]), ("rare", [])):
        whole = index._scores(query)
        whole[gone] = 0
        order = [row for row in np.argsort(-whole, kind="stable").tolist() if whole[row] > 0][:k]
        scores, ids = index.search([query], k, exclude=gone)
        assert ids[0].tolist() == order + [-1] * (k - len(order))
        assert np.array_equal(scores[0, : len(order)], whole[order].astype(np.float32))


def test_texts_without_any_word_make_an_index_that_finds_nothing(tmp_path: Path) -> None:
    place = LocalPlace(tmp_path)
    index = read_lexical(place, store(place, "index/x", write_lexical(build_lexical(["…", "!"], np.array([1, 2])))), 2)
    assert index.search(["a"], 2)[1].tolist() == [[-1, -1]]
    with pytest.raises(ConfigError, match="1 and 2"):
        build_lexical(["one"], np.array([1, 2]))


def found(scores: list[float], ids: list[int]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    return np.array([scores], dtype=np.float32), np.array([ids], dtype=np.int64)


def test_scores_are_fused_as_standard_deviations_above_their_mean() -> None:
    """0.9, 0.6, 0.3 are √1.5, 0, −√1.5; 10 and 4 are 1 and −1."""
    scores, ids = fuse(found([0.9, 0.6, 0.3], [1, 2, 3]), found([10, 4], [3, 4]), 5)
    side = 1.5**0.5
    assert ids.tolist() == [[1, 3, 2, 4, -1]]
    assert np.allclose(scores, [[(side - 1) / 2, (1 - side) / 2, -0.5, -(side + 1) / 2, 0]], atol=1e-6)
    words = np.array([10.0, 4.0, 0.0])
    best, second, none = (words - words.mean()) / words.std()
    scores, ids = fuse(found([0.9, 0.6, 0.3], [1, 2, 3]), found([10, 4, 0], [3, 4, -1]), 4, Fusion(words=0.25))
    assert ids.tolist() == [[1, 2, 3, 4]]
    expected = [(3 * side + none) / 4, none / 4, (best - 3 * side) / 4, (second - 3 * side) / 4]
    assert np.allclose(scores, [expected], atol=1e-6)


def test_how_large_scores_are_does_not_matter() -> None:
    """Cosines of one embedder lie between 0 and 1, of another between 0.8 and 0.9."""
    near, sharing = found([0.9, 0.5, 0.2, 0.1], [1, 2, 3, 4]), found([9, 5, 1], [4, 2, 7])
    scores, ids = fuse(near, sharing, 5)
    other, same = fuse((0.8 + 0.1 * near[0], near[1]), (7 * sharing[0], sharing[1]), 5)
    assert ids.tolist() == same.tolist()
    assert np.allclose(scores, other, atol=1e-4)


def test_fusing_what_one_search_did_not_find() -> None:
    assert fuse(found([0.9, 0.1], [1, 2]), found([0, 0], [-1, -1]), 2)[1].tolist() == [[1, 2]]
    assert fuse(found([0.5, 0.5, 0.5], [1, 2, 5]), found([3, 0, 0], [2, -1, -1]), 3)[1].tolist() == [[2, 1, 5]]
    scores, ids = fuse(found([0.3, 0.1, -np.inf], [1, 2, -1]), found([0], [-1]), 3)
    assert ids.tolist() == [[1, 2, -1]]
    assert np.allclose(scores, [[0.5, -0.5, 0]])
    scores, ids = fuse(found([-np.inf], [-1]), found([2], [4]), 2)
    assert (ids.tolist(), scores.tolist()) == ([[4, -1]], [[0, 0]])


def test_the_defaults_that_were_measured() -> None:
    """docs/decisions.md; another weight or depth takes other figures."""
    assert (FUSION.words, FUSION.depth) == (0.5, 100)


def test_a_weight_lies_between_nothing_and_all() -> None:
    near, sharing = found([0.9, 0.8], [1, 2]), found([7, 3], [2, 1])
    assert fuse(near, sharing, 2, Fusion(words=0))[1].tolist() == [[1, 2]]
    assert fuse(near, sharing, 2, Fusion(words=1))[1].tolist() == [[2, 1]]
    for wrong in ({"words": 1.5}, {"words": -0.1}, {"depth": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            Fusion(**wrong)


def test_each_list_is_deeper_than_what_is_asked_for(tmp_path: Path) -> None:
    """What comes second in both lists is the best of both; a list as short as the answer has only what comes first in one."""
    texts = ["nothing shared", "hash table", "hash table hash hash", *(f"filler {row}" for row in range(60))]
    vectors = np.zeros((len(texts), 2), dtype=np.float32)
    vectors[:, 0] = [1.0, 0.99, -1.0, *([-0.5] * 60)]
    vectors[:, 1] = np.sqrt(1 - vectors[:, 0] ** 2)
    place, ids = LocalPlace(tmp_path), np.arange(len(texts), dtype=np.int64)
    index = OpenIndex(place, make_index(place, vectors, lambda: texts, ids, hybrid().identity()))
    query = Queries(vectors=np.array([[1.0, 0.0]], dtype=np.float32), texts=("hash table",))
    one, three = (index.search(query, k) for k in (1, 3))
    assert one[1].tolist() == [[1]]
    assert three[1][0, 0] == 1
    assert one[0][0, 0] == three[0][0, 0]


def test_every_text_finds_itself(path: Path, finding: Retriever) -> None:
    with open_bank(path, finding) as bank:
        chunks = tiny_chunks(9)
        for chunk, hits in zip(chunks, bank.search_many([chunk.reference for chunk in chunks], k=4), strict=True):
            assert hits[0].id == chunk.id
            assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert verify(path, deep=True)["memories"] == 9


def test_deletions_take_no_place_and_compaction_scores_anew(path: Path, finding: Retriever, tmp_path: Path) -> None:
    before = top(path, finding, "hash table queue", 9)
    delete(path, before[:2])
    assert top(path, finding, "hash table queue", 3)[:1] != before[:1]
    assert len(top(path, finding, "hash table queue", 3)) == 3
    assert not set(top(path, finding, "hash table queue", 9)) & set(before[:2])
    compact(path)
    verify(path, deep=True)
    left = [chunk for chunk in tiny_chunks(9) if chunk.id not in before[:2]]
    alone = build_lexical([chunk.reference for chunk in left], np.array([chunk.id for chunk in left]))
    with open_bank(path, finding) as bank:
        words = bank.manifest.index.words
        assert words is not None
        compacted = read_lexical(bank.place, words, 7)
    assert np.array_equal(compacted.search(["hash table"], 7)[0], alone.search(["hash table"], 7)[0])


def test_merged_and_converted_banks_find_the_same(path: Path, finding: Retriever, tmp_path: Path) -> None:
    write_bank(tmp_path / "more", embedder=finding, count=12)
    merge([path, tmp_path / "more"], tmp_path / "both")
    convert(tmp_path / "both", quantiser("fp32"), tmp_path / "wide")
    assert top(tmp_path / "both", finding, "heap of pages") == top(tmp_path / "more", finding, "heap of pages")
    assert top(tmp_path / "wide", finding, "heap of pages") == top(tmp_path / "more", finding, "heap of pages")
    write_bank(tmp_path / "dense")
    with pytest.raises(IdentityMismatchError, match=r"differ in their embedder .* and ngrams"):
        merge([path, tmp_path / "dense"], tmp_path / "mixed")


def test_another_retriever_is_refused(path: Path, finding: Retriever, tmp_path: Path) -> None:
    with pytest.raises(IdentityMismatchError, match=r"made by embedder '(bm25|hybrid:ngrams)' and .* with 'ngrams' \(.*lexical"):
        open_bank(path, NgramEmbedder())
    write_bank(tmp_path / "dense")
    with pytest.raises(IdentityMismatchError, match="made by embedder 'ngrams'"):
        open_bank(tmp_path / "dense", finding)


def words_file(path: Path, manifest: Manifest) -> Path:
    assert manifest.index.words is not None
    return path / manifest.index.words.file


def test_damaged_words_are_named_and_made_again(path: Path, finding: Retriever) -> None:
    with open_bank(path, finding) as bank:
        file = words_file(path, bank.manifest)
        hits = bank.search("hash table", k=3)
    data = bytearray(file.read_bytes())
    data[-9] ^= 1
    with damaged(file, bytes(data)):
        with open_bank(path, finding) as bank, pytest.raises(CorruptBankError, match=rf"{file.name} was altered.*--repair-index"):
            bank.search("hash table")
        with pytest.raises(CorruptBankError, match=file.name):
            verify(path)
        repair_index(path, embedder=finding)
        verify(path, deep=True)
        with open_bank(path, finding) as bank:
            assert bank.search("hash table", k=3) == hits
    file.unlink()
    compact(path)  # the repaired index stands beside it
    verify(path, deep=True)


@pytest.mark.parametrize(
    ("name", "value"), [("rows", 99), ("starts", 5), ("scores", float("nan")), ("terms", ord("\n")), ("ids", None), ("rows", "float")]
)
def test_an_index_of_words_that_no_kmem_wrote(tmp_path: Path, name: str, value: object) -> None:
    """Its digest is right, its arrays are not."""
    place, arrays = LocalPlace(tmp_path), safetensors.numpy.load(write_lexical(build_lexical(LAW, IDS)))
    arrays = {key: array.copy() for key, array in arrays.items()}
    if value is None:
        del arrays[name]
    elif value == "float":
        arrays[name] = arrays[name].astype(np.float32)
    else:
        arrays[name][0] = value
    with pytest.raises(CorruptBankError, match=r"is no index of 4 texts .*--repair-index"):
        read_lexical(place, store(place, "index/x", safetensors.numpy.save(arrays)), 4)


def test_another_bank_s_words_are_told_by_deep_verification(path: Path, finding: Retriever, tmp_path: Path) -> None:
    with open_bank(path, finding) as bank:
        bank._index.__dict__["lexical"] = build_lexical(LAW, IDS)
        with pytest.raises((CorruptBankError, MemoryNotFoundError), match=r"lacks an id|knows id"):
            bank.search("probation", k=1) if isinstance(finding, Bm25) else bank.verify_texts()


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3.served() as endpoint:
        yield endpoint


def test_in_an_object_store(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, finding: Retriever) -> None:
    bucket = s3.use_bucket(endpoint, monkeypatch)
    assert write_bank(bucket, embedder=finding) == write_bank(tmp_path / "bank", embedder=finding)
    assert top(bucket, finding, "hash table") == top(tmp_path / "bank", finding, "hash table")
    delete(bucket, top(bucket, finding, "hash table")[:1])
    assert len(top(bucket, finding, "hash table n1", 2)) == 2
    compact(bucket)
    assert verify(bucket, deep=True)["memories"] == 4


def test_the_index_is_the_same_bytes_each_time() -> None:
    assert digest_of(write_lexical(build_lexical(LAW, IDS))) == digest_of(write_lexical(build_lexical(iter(LAW), IDS)))


def test_names() -> None:
    assert isinstance(retriever("bm25"), Bm25)
    assert retriever("hybrid") == retriever("hybrid:minilm") == Hybrid(Embedder(MINILM))
    assert retriever("hybrid:some/model", query_prefix="q: ") == Hybrid(Embedder("some/model", query_prefix="q: "))
    assert recorded_retriever({"name": "hybrid:some/model", "passage_prefix": "p: "}) == Hybrid(
        Embedder("some/model", query_prefix="", passage_prefix="p: ")
    )
    assert recorded_retriever({"name": "minilm"}) == Embedder()
    with pytest.raises(ConfigError, match="takes no prefixes"):
        retriever("bm25", query_prefix="query: ")
    for name in ("hybrid:bm25", "hybrid:hybrid"):
        with pytest.raises(ConfigError, match="name one of vectors"):
            retriever(name)
    for name in ("BM25", "bm25:minilm", "Hybrid:minilm", "hidden:minilm", "hybrid:MiniLM"):
        with pytest.raises(ConfigError, match="is none of minilm, multilingual, bm25, hybrid, null, hidden; only hybrid takes another"):
            retriever(name)
    for misspelt, meant in (("minlm", "minilm"), ("hybrid:mini-lm", "minilm"), ("multilingua", "multilingual"), ("bm-25", "bm25")):
        with pytest.raises(ConfigError, match=rf"is none of minilm, .*; did you mean {meant}\?$"):
            retriever(misspelt)
    assert retriever("gtr-t5-base") == Embedder("gtr-t5-base")


def test_a_name_is_no_retriever(path: Path) -> None:
    with pytest.raises(WrongTypeError, match="embedder is 'bm25', a name and no retriever; leave it out"):
        open_bank(path, "bm25")  # type: ignore[arg-type]


@pytest.mark.parametrize(("factory", "kind"), [("IVF2,Flat", "ivf"), ("IVF2,PQ4x4,RFlat", "ivfpq"), ("HNSW4", "hnsw")])
def test_words_stand_beside_an_index_of_any_kind_and_both_stay_what_was_asked_for(tmp_path: Path, factory: str, kind: str) -> None:
    write_bank(tmp_path / "bank", embedder=hybrid(), count=20, index=IndexConfig(factory=factory))
    delete(tmp_path / "bank", [tiny_chunks(20)[0].id])
    compact(tmp_path / "bank")
    repaired = repair_index(tmp_path / "bank", embedder=hybrid())
    assert (repaired.index.asked, repaired.index.kind) == (factory, kind)
    assert repaired.index.words is not None
    assert len(repaired.index.files) == (3 if "PQ" in factory else 2)
    for chunk in tiny_chunks(20)[1:]:
        assert top(tmp_path / "bank", hybrid(), chunk.reference)[0] == chunk.id
    assert verify(tmp_path / "bank", deep=True)["memories"] == 19


def test_words_alone_stay_words_alone_and_a_bank_without_words_does_not_mention_them(tmp_path: Path) -> None:
    write_bank(tmp_path / "words", embedder=Bm25(), index=IndexConfig(factory="HNSW4"))
    record = repair_index(tmp_path / "words", embedder=Bm25()).index
    assert (record.kind, record.asked, record.dim, record.files) == ("words", "HNSW4", 0, (record.stored,))
    assert "words" not in write_bank(tmp_path / "vectors").index.to_dict()


@pytest.mark.parametrize(
    "changes",
    [
        {"factory": "IDMap2,Flat"},
        {"dim": 4},
        {"words": None},
        {"words": {"file": "index/other.safetensors", "size_bytes": 1, "digest": f"blake3:{'0' * 64}"}},
        {"vectors": {"file": "index/other.safetensors", "size_bytes": 1, "digest": f"blake3:{'0' * 64}"}},
        {"search": {"nprobe": 1}},
    ],
    ids=lambda changes: ", ".join(changes),
)
def test_a_record_of_words_alone_agrees_with_itself(tmp_path: Path, changes: dict[str, object]) -> None:
    record = write_bank(tmp_path / "bank", embedder=Bm25()).index
    plain = record.to_dict()
    assert IndexRecord.of(Fields(plain)) == record
    with pytest.raises(ValueError, match=r"kind is words, which factory, dim, words, vectors or search are not"):
        IndexRecord.of(Fields(plain | changes))
