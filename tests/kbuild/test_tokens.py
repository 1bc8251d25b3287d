"""Whatever counts the tokens, they are what the tokenizer gives when it is called."""

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
from kmem.kbuild.tokens.backend import BackendMeter, backend_of
from kmem.kbuild.tokens.meter import Meter
from kmem.kbuild.tokens.parts import parts_of
from kmem.kbuild.tokens.patterns import Classes, word_pattern
from kmem.kbuild.tokens.words import WordMeter, byte_symbols
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
SYMBOLS = byte_symbols()
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
    pattern = word_pattern(backend)
    assert pattern is not None
    if Classes().agree(text):
        assert pattern.findall(text) == [text[start:end] for _, (start, end) in backend.pre_tokenizer.pre_tokenize_str(text)]


def joined_bytes() -> PreTrainedTokenizerFast:
    """A byte-level BPE that joins 一个, and the last byte of 数 with the first of 据 wherever such bytes meet."""
    backend = Tokenizer(models.BPE(vocab={symbol: at for at, symbol in enumerate(sorted(SYMBOLS.values()))}, merges=[]))
    spelled = {text: [SYMBOLS[byte] for byte in text.encode()] for text in "一个数据"}
    whole, merges = dict[str, str](), list[tuple[str, str]]()
    for character in "一个":
        first, second, third = spelled[character]
        merges += [(first, second), (first + second, third)]
        whole[character] = first + second + third
    merges += [(whole["一"], whole["个"]), (spelled["数"][-1], spelled["据"][0])]
    vocabulary = backend.get_vocab() | {"".join(pair): 256 + at for at, pair in enumerate(merges)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = plain()
    return fast(backend)


@pytest.mark.parametrize("tokenizer", [joined_bytes(), BY_WORDS["gpt2"], BY_WORDS["smollm2"]])
@settings(max_examples=100, deadline=None)
@given(word=st.text(alphabet="一个数据散列函数决定 a，é𠀀", min_size=1, max_size=12))
@example(word="一个数据")
def test_a_run_of_chinese_has_the_tokens_of_its_parts(tokenizer: PreTrainedTokenizerFast, word: str) -> None:
    backend = tokenizer.backend_tokenizer
    parts = parts_of(backend, SYMBOLS)
    assert parts is not None

    def spelled(text: str) -> str:
        return "".join(SYMBOLS[byte] for byte in text.encode())

    assert "".join(parts.of(word)) == word
    joined = [token.value for token in backend.model.tokenize(spelled(word))]
    assert joined == [token.value for part in parts.of(word) for token in backend.model.tokenize(spelled(part))]


def test_a_run_of_chinese_is_cut_wherever_nothing_joins() -> None:
    parts = parts_of(joined_bytes().backend_tokenizer, SYMBOLS)
    assert parts is not None
    assert list(parts.of("个一个的")) == ["个", "一个", "的"]
    assert list(parts.of("的数据数一")) == ["的", "数据", "数", "一"]  # 据 begins with the byte that 数's last one is joined with
    assert list(parts.of(" 的个a一b")) == [" 的", "个a一b"]
    assert list(parts.of("的个")) == ["的", "个"]


def test_words_are_left_whole_where_parts_might_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parts_of(BY_WORDS["llama3"].backend_tokenizer, SYMBOLS) is None  # a part may stand in its vocabulary though nothing joins to it
    monkeypatch.setattr("kmem.kbuild.tokens.parts._MOST_JOINTS", 1)
    assert parts_of(joined_bytes().backend_tokenizer, SYMBOLS) is None


def test_the_classes_of_the_characters_that_texts_are_made_of_agree() -> None:
    assert Classes().agree(
        "".join(map(chr, [*range(0x250), *range(0x2000, 0x2100), *range(0x3000, 0x3100), *range(0x4E00, 0x5000)])) + "🤯"
    )
    assert not Classes().agree("𠀀")


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
    assert len(meter.counts) <= 10


def test_a_large_document_is_measured_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    document = Document(source="s", text=" ".join(SENTENCES) * 9, title="T")
    small = chunks_of("gpt2", document, ChunkerConfig(), METERS["gpt2"])
    monkeypatch.setattr("kmem.kbuild.tokens.words._LARGE_CHARACTERS", 10)
    assert chunks_of("gpt2", document, ChunkerConfig(), METERS["gpt2"]) == small != []
