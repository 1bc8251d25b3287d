"""Whatever counts the tokens, they are what the tokenizer gives when it is called."""

import itertools
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from kmem.document import Chunk, Document
from kmem.errors import ConfigError
from kmem.kbuild.chunker import Chunker, ChunkerConfig
from kmem.kbuild.tokens import NaiveMeter, meter_for
from kmem.kbuild.tokens.alphabet import Alphabet
from kmem.kbuild.tokens.backend import BackendMeter, backend_of
from kmem.kbuild.tokens.known import points_of
from kmem.kbuild.tokens.meter import Meter
from kmem.kbuild.tokens.patterns import word_pattern, word_rule
from kmem.kbuild.tokens.words import WordMeter
from tests.kbuild.conftest import SENTENCES, fast
from tests.tiny import byte_tokenizer

CODE = "def it's(x):\n\treturn  x['we\\'LL'] + 12345  # 6\n\n\n"
PIECES = [
    *SENTENCES,
    CODE,
    "\n\n",
    "\n",
    "  ",
    " ",
    "\t \n",
    "\u3000",
    "\u00a0",
    "\x1c",
    "x" * 70,
    "7" * 9,
    "🤯👩‍🦰",
    "𠀀𝐀",
    "e\u0301ſ",
    "한국어",
    "<eot>",
    "<e",
    "ot>",
    "…’",
]
TEXTS = st.one_of(
    st.text(max_size=300),
    st.text(alphabet=" \n\t\r\u3000\x1ca.'s1é哈。<", max_size=200),
    st.lists(st.sampled_from(PIECES), max_size=60).map("".join),
)
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace("{1,3}", "")


def byte_level(*steps: pre_tokenizers.PreTokenizer, nfc: bool = False, ignore_merges: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on a few sentences, with an added token."""
    backend = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    backend.pre_tokenizer = pre_tokenizers.Sequence(list(steps)) if len(steps) > 1 else steps[0]
    backend.post_processor = processors.ByteLevel(trim_offsets=True)
    if nfc:
        backend.normalizer = normalizers.NFC()
    trainer = trainers.BpeTrainer(vocab_size=450, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    backend.train_from_iterator([*SENTENCES, CODE], trainer)
    backend.add_special_tokens([AddedToken("<eot>", lstrip=True)])
    return fast(backend)


def trained(model: models.Model, trainer: trainers.Trainer, before: pre_tokenizers.PreTokenizer) -> PreTrainedTokenizerFast:
    backend = Tokenizer(model)
    backend.normalizer, backend.pre_tokenizer = normalizers.NFKC(), before
    backend.train_from_iterator([*SENTENCES, CODE], trainer)
    return fast(backend, unk_token="[UNK]")


def plain(use_regex: bool = True) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


BY_WORDS = {
    "bytes": byte_tokenizer(),
    "gpt2": byte_level(plain()),
    "smollm2": byte_level(pre_tokenizers.Digits(individual_digits=True), plain()),
    "llama3": byte_level(pre_tokenizers.Split(Regex(LLAMA3), "isolated"), plain(use_regex=False), ignore_merges=True),
    "qwen2": byte_level(pre_tokenizers.Split(Regex(QWEN2), "isolated"), plain(use_regex=False), nfc=True),
}
OTHERS = {
    "wordpiece": trained(
        models.WordPiece(unk_token="[UNK]"),
        trainers.WordPieceTrainer(vocab_size=300, special_tokens=["[UNK]"], show_progress=False),
        pre_tokenizers.BertPreTokenizer(),
    ),
    "unigram": trained(
        models.Unigram(),
        trainers.UnigramTrainer(vocab_size=120, special_tokens=["[UNK]"], unk_token="[UNK]", show_progress=False),
        pre_tokenizers.Metaspace(),
    ),
    "prefix space": byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "unknown pattern": byte_level(pre_tokenizers.Split(Regex(r"\s+|\S+"), "isolated"), plain(use_regex=False)),
}
ALL = BY_WORDS | OTHERS
METERS: dict[str, Meter] = {name: meter_for(tokenizer) for name, tokenizer in ALL.items()}


def chunks_of(name: str, document: Document, config: ChunkerConfig, meter: Meter) -> list[Chunk] | str:
    try:
        return list(Chunker(ALL[name], config, meter=meter).run([document], Counter()))
    except ConfigError as error:
        return str(error)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=60)
@given(
    text=TEXTS,
    title=st.one_of(st.just(""), st.sampled_from(PIECES), st.text(max_size=30)),
    max_tokens=st.integers(16, 100),
    overlap=st.sampled_from([0, 0, 3, 7]),
)
@example(text="word " * 818 + "border's end... " * 9, title="T", max_tokens=100, overlap=0)
@example(text="一\n" + "a1 " * 1400 + "\n 5  7", title="", max_tokens=64, overlap=7)
def test_chunks_are_those_of_the_naive_meter(name: str, text: str, title: str, max_tokens: int, overlap: int) -> None:
    document, config = Document(source="s", text=text, title=title), ChunkerConfig(max_tokens=max_tokens, overlap_tokens=overlap)
    naive = chunks_of(name, document, config, NaiveMeter(ALL[name]))
    assert chunks_of(name, document, config, METERS[name]) == naive


def test_each_tokenizer_is_counted_by_the_fastest_exact_way() -> None:
    assert {name for name, meter in METERS.items() if isinstance(meter, WordMeter)} == set(BY_WORDS)
    assert {name for name, meter in METERS.items() if isinstance(meter, BackendMeter)} == set(OTHERS)


@pytest.mark.parametrize("name", BY_WORDS)
@settings(max_examples=100)
@given(text=TEXTS)
def test_words_are_those_of_the_library(name: str, text: str) -> None:
    backend = BY_WORDS[name].backend_tokenizer
    rule, meter = word_rule(backend), METERS[name]
    assert rule is not None
    assert isinstance(meter, WordMeter)
    if Alphabet(composes=False).knows(points_of(text), text):
        words = [text[start:end] for _, (start, end) in backend.pre_tokenizer.pre_tokenize_str(text)]
        assert word_pattern(rule).findall(text) == words
        if (read := meter.known.read(points_of(text), len(text) or 1)) is not None:
            bounds = read[0].tolist()
            inside = set(bounds) - {0, *itertools.accumulate(map(len, words))}
            assert len(bounds) == len(words) + 1 + len(inside)
            assert all("\u4e00" <= text[place + side] <= "\u9fff" for place in inside for side in (-1, 0))


@pytest.mark.parametrize("name", BY_WORDS)
@settings(max_examples=100)
@given(text=TEXTS)
def test_tokens_end_where_the_library_says(name: str, text: str) -> None:
    meter, naive = METERS[name].measure(text, ""), NaiveMeter(BY_WORDS[name]).measure(text, "")
    assert [meter.end(token) for token in range(meter.total)] == [naive.end(token) for token in range(naive.total)]
    assert [meter.before(start) for start in range(len(text))] == [naive.before(start) for start in range(len(text))]


def test_the_classes_of_the_characters_that_texts_are_made_of_agree() -> None:
    usual = "".join(map(chr, [*range(0x250), *range(0x2000, 0x2100), *range(0x3000, 0x3100), *range(0x4E00, 0x5000)])) + "🤯"
    alphabet = Alphabet(composes=False)
    assert alphabet.knows(points_of(usual), usual)
    assert not alphabet.knows(points_of("𠀀"), "𠀀")


def test_an_added_token_may_not_reach_from_the_prefix_into_a_slice() -> None:
    for content in (": A", " hash"):
        tokenizer = byte_level(plain())
        tokenizer.add_tokens([AddedToken(content)])
        assert isinstance(meter_for(tokenizer), BackendMeter)


def test_a_tokenizer_with_a_way_of_its_own_is_called() -> None:
    class Shouting(PreTrainedTokenizerFast):  # type: ignore[misc]
        def _encode_plus(self, text: str, **options: object) -> object:
            return super()._encode_plus(text.upper(), **options)

    tokenizer = Shouting(tokenizer_object=byte_level(plain()).backend_tokenizer)
    meter = meter_for(tokenizer)
    assert isinstance(meter, NaiveMeter)
    assert meter.count("hash table") == len(tokenizer("hash table")["input_ids"]) > METERS["gpt2"].count("hash table")


def test_what_others_set_on_the_tokenizer_changes_nothing() -> None:
    tokenizer = byte_level(plain())
    backend = backend_of(tokenizer)
    assert backend is not None
    meters = [BackendMeter(backend), meter_for(tokenizer)]
    tokenizer(SENTENCES[0], truncation=True, max_length=5)
    tokenizer.backend_tokenizer.enable_padding(length=500)
    found = [meter.count(SENTENCES[0]) for meter in meters]
    assert found == [NaiveMeter(tokenizer).count(SENTENCES[0])] * 2
    assert tokenizer.backend_tokenizer.padding is None  # the naive one resets it, as every call does


def test_words_met_once_too_often_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kmem.kbuild.tokens.words._WORDS_KEPT", 10)
    meter, tokenizer = meter_for(ALL["gpt2"]), ALL["gpt2"]
    text = " ".join(SENTENCES)
    assert list(Chunker(tokenizer, meter=meter).run([Document(source="s", text=text)])) == list(
        Chunker(tokenizer, meter=NaiveMeter(tokenizer)).run([Document(source="s", text=text)])
    )
    assert isinstance(meter, WordMeter)
    assert len(meter.known) <= 10
