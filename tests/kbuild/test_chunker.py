"""Whatever the text: every non-whitespace character in exactly one chunk, and no reference longer than its span."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from kmem.document import Chunk, Document
from kmem.errors import ConfigError, UnsupportedModelError
from kmem.identity import content_id
from kmem.kbuild.chunker import Chunker, ChunkerConfig
from tests.kbuild.conftest import SENTENCES, fast

PROSE = " ".join(SENTENCES * 10) + "\n\n" + "\n".join(SENTENCES)
TEXTS = st.one_of(
    st.text(max_size=400),
    st.text(alphabet="哈希表。！？；，", max_size=200),
    st.text(alphabet="👩‍🦰🏽e\u0301", max_size=100),
    st.text(alphabet=" \n\t\r\u3000a.", max_size=300),
    st.text(alphabet="abc", max_size=400),
    st.lists(st.sampled_from([*SENTENCES, "\n\n", "\n", " ", "x" * 300, "🤯" * 50]), max_size=20).map("".join),
)


def chunks_of(tokenizer: PreTrainedTokenizerFast, text: str, title: str = "", max_tokens: int = 128) -> list[Chunk]:
    return list(Chunker(tokenizer, ChunkerConfig(max_tokens=max_tokens)).run([Document(source="s", text=text, title=title)]))


def check(tokenizer: PreTrainedTokenizerFast, text: str, chunks: list[Chunk], max_tokens: int) -> None:
    position = 0
    for chunk in chunks:
        assert chunk.text == text[chunk.start : chunk.end] == chunk.text.strip() != ""
        assert chunk.tokens == len(tokenizer(chunk.reference, add_special_tokens=False)["input_ids"]) <= max_tokens
        assert chunk.start >= position
        assert not text[position : chunk.start].strip()
        position = chunk.end
    assert not text[position:].strip()


@settings(max_examples=300)
@given(text=TEXTS, title=st.one_of(st.just(""), st.text(max_size=80)), max_tokens=st.integers(min_value=24, max_value=128))
@example(text=" \n\t ", title="T", max_tokens=24)
@example(text="\ufdfa" * 40, title="", max_tokens=24)
def test_any_text(tokenizer: PreTrainedTokenizerFast, text: str, title: str, max_tokens: int) -> None:
    check(tokenizer, text, chunks_of(tokenizer, text, title, max_tokens), max_tokens)


@pytest.fixture(scope="module")
def expanding_tokenizer() -> PreTrainedTokenizerFast:
    """Normalises before it counts (one ligature becomes many tokens) and puts `▁` before a text: alone, a slice has more tokens."""
    backend = Tokenizer(models.BPE(vocab={"<unk>": 0, "▁": 1, **{chr(97 + i): 2 + i for i in range(26)}}, merges=[], unk_token="<unk>"))
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    return fast(backend, unk_token="<unk>")


@settings(max_examples=150)
@given(text=st.text(alphabet=st.sampled_from("ab \n\ufdfa\ufb03Ⅷ½é."), max_size=120), title=st.sampled_from(["", "T", "\ufdfa" * 9]))
def test_a_tokenizer_that_expands_characters(expanding_tokenizer: PreTrainedTokenizerFast, text: str, title: str) -> None:
    check(expanding_tokenizer, text, chunks_of(expanding_tokenizer, text, title, 32), 32)


def test_a_text_that_fits_is_one_chunk(tokenizer: PreTrainedTokenizerFast) -> None:
    [chunk] = chunks_of(tokenizer, "\n One.\n\nTwo. \n", "Title")
    assert (chunk.text, chunk.reference, chunk.start, chunk.end) == ("One.\n\nTwo.", "Title: One.\n\nTwo.", 2, 12)


def test_prose_fills_its_chunks(tokenizer: PreTrainedTokenizerFast) -> None:
    chunks = chunks_of(tokenizer, PROSE, "Hash table", 64)
    check(tokenizer, PROSE, chunks, 64)
    assert all(chunk.text[-1] in ".。" for chunk in chunks)
    assert sum(chunk.tokens for chunk in chunks) / len(chunks) > 32


def test_chinese_without_spaces_ends_at_its_stops(tokenizer: PreTrainedTokenizerFast) -> None:
    law = "重点排污单位应当如实公开其主要污染物的名称；防治污染设施的建设和运行情况，接受社会监督。" * 8
    chunks = chunks_of(tokenizer, law, "环境保护法")
    check(tokenizer, law, chunks, 128)
    assert len(chunks) > 5
    assert all(chunk.text[-1] in "。；，" for chunk in chunks)


def test_hard_cuts_fill_the_span(tokenizer: PreTrainedTokenizerFast) -> None:
    chunks = chunks_of(tokenizer, "🤯" * 1000)
    assert {chunk.tokens for chunk in chunks[:-1]} == {128}
    assert {len(chunk.text) for chunk in chunks[:-1]} == {32}


def test_a_long_text_is_not_tokenised_over_and_over(tokenizer: PreTrainedTokenizerFast) -> None:
    characters = 0

    def counting(text: str, *, add_special_tokens: bool, return_offsets_mapping: bool) -> dict[str, list[int]]:
        nonlocal characters
        characters += len(text)
        encoded = tokenizer(text, add_special_tokens=add_special_tokens, return_offsets_mapping=return_offsets_mapping)
        return dict(encoded)

    text = PROSE * 50
    assert len(list(Chunker(counting).run([Document(source="s", text=text)]))) > 100
    assert characters < 4 * len(text)


@pytest.mark.parametrize(
    ("title", "kept"),
    [
        ("Hash table", "Hash table"),
        ("  Hash \n table ", "Hash table"),
        ("The hash table " + "which grows " * 30, None),
        ("哈希表" * 40, None),
        ("x" * 500, None),
    ],
)
def test_titles_take_at_most_a_quarter(tokenizer: PreTrainedTokenizerFast, title: str, kept: str | None) -> None:
    counts: Counter[str] = Counter()
    [chunk] = Chunker(tokenizer).run([Document(source="s", text="Text.", title=title)], counts)
    assert len(tokenizer(f"{chunk.title}: ", add_special_tokens=False)["input_ids"]) <= 32
    assert chunk.title == kept if kept else title.startswith(chunk.title) and len(chunk.title) > 5
    assert counts["shortened: title"] == (0 if kept else 1)


def test_ids_are_content(tokenizer: PreTrainedTokenizerFast) -> None:
    document = Document(source="s", text=PROSE, title="T")
    first, *others = Chunker(tokenizer).run([document])
    assert first.id == content_id("s", first.start, first.end, first.reference)
    assert first.document_id == content_id("s", PROSE)
    assert len({chunk.id for chunk in (first, *others)}) == len(others) + 1


def test_duplicates_are_dropped_and_counted(tokenizer: PreTrainedTokenizerFast) -> None:
    one, two = Document(source="s", text="Text."), Document(source="t", text="Text.")
    counts: Counter[str] = Counter()
    chunks = list(Chunker(tokenizer).run([one, two, one], counts))
    assert [chunk.source for chunk in chunks] == ["s", "t"]
    assert counts == {"chunks": 2, "tokens": sum(chunk.tokens for chunk in chunks), "dropped: duplicate id": 1}


def test_characters_that_have_no_token_are_dropped_and_counted() -> None:
    backend = Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    counts: Counter[str] = Counter()
    chunker = Chunker(fast(backend))
    assert list(chunker.run([Document(source="s", text="zzz")], counts)) == []
    assert counts == {"dropped: no tokens": 1}


def test_a_slow_tokenizer_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="ByT5Tokenizer gives no character offsets: load the fast tokenizer"):
        Chunker(ByT5Tokenizer())


def test_too_few_tokens(tokenizer: PreTrainedTokenizerFast, expanding_tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ConfigError, match=r"max_tokens is 7.*at least 8"):
        ChunkerConfig(max_tokens=7)
    with pytest.raises(ConfigError, match=r"the one character .* takes \d+ tokens: raise max_tokens"):
        chunks_of(expanding_tokenizer, "a \ufdfa", max_tokens=8)


@settings(max_examples=150)
@given(text=TEXTS, max_tokens=st.integers(min_value=24, max_value=128), share=st.floats(min_value=0.0, max_value=0.49))
def test_overlap(tokenizer: PreTrainedTokenizerFast, text: str, max_tokens: int, share: float) -> None:
    """New text in every chunk, none left out, and what is repeated is whole words within the overlap."""
    overlap = int(max_tokens * share)
    config = ChunkerConfig(max_tokens=max_tokens, overlap_tokens=overlap)
    chunks = list(Chunker(tokenizer, config).run([Document(source="s", text=text, title="T")]))
    position = 0
    for chunk in chunks:
        assert chunk.text == text[chunk.start : chunk.end] == chunk.text.strip() != ""
        assert chunk.tokens == len(tokenizer(chunk.reference, add_special_tokens=False)["input_ids"]) <= max_tokens
        assert chunk.end > position
        repeated = text[chunk.start : position]
        assert len(tokenizer(repeated, add_special_tokens=False)["input_ids"]) <= overlap
        assert not repeated or text[chunk.start - 1].isspace() or text[chunk.start - 1] in ".!?…。！？｡；，：、”’」』）"
        assert not text[position : chunk.start].strip()
        position = chunk.end
    assert not text[position:].strip()


def test_overlap_repeats_whole_sentences(tokenizer: PreTrainedTokenizerFast) -> None:
    text = " ".join([SENTENCES[0], SENTENCES[1], SENTENCES[3]] * 8)
    config = ChunkerConfig(max_tokens=96, overlap_tokens=40)
    chunks = list(Chunker(tokenizer, config).run([Document(source="s", text=text)]))
    assert len(chunks) > 5
    for one, other in pairwise(chunks):
        assert text[other.start : one.end] in SENTENCES
    law = list(Chunker(tokenizer, config).run([Document(source="s", text="重点排污单位应当公开名称；防治污染设施。" * 20)]))
    assert all(law[i].end - law[i + 1].start in (7, 20) for i in range(len(law) - 1))


def test_overlap_repeats_words_where_no_sentence_fits(tokenizer: PreTrainedTokenizerFast) -> None:
    text = "the key and the hash of it " * 60
    config = ChunkerConfig(max_tokens=64, overlap_tokens=9)
    chunks = list(Chunker(tokenizer, config).run([Document(source="s", text=text)]))
    for one, other in pairwise(chunks):
        repeated = text[other.start : one.end]
        assert repeated.split()[0] in ("the", "key", "and", "hash", "of", "it")
        assert 4 <= len(tokenizer(repeated, add_special_tokens=False)["input_ids"]) <= 9


def test_a_title_left_out(tokenizer: PreTrainedTokenizerFast) -> None:
    counts: Counter[str] = Counter()
    titled = Document(source="s", text=PROSE, title="Hash table " * 40)
    without = list(Chunker(tokenizer, ChunkerConfig(title=False)).run([titled], counts))
    assert without[0].title == ""
    assert without[0].reference == without[0].text
    assert "shortened: title" not in counts
    bare = Chunker(tokenizer).run([Document(source="s", text=PROSE)])
    assert without == list(bare)


@pytest.mark.parametrize("overlap", [-1, 12, 13])
def test_overlap_has_bounds(overlap: int) -> None:
    with pytest.raises(ConfigError, match=rf"overlap_tokens is {overlap}, but must be from 0 to 11, less than half of max_tokens \(24\)"):
        ChunkerConfig(max_tokens=24, overlap_tokens=overlap)
    assert ChunkerConfig(max_tokens=24, overlap_tokens=11).overlap_tokens == 11
