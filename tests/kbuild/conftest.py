"""A real fast tokenizer, trained in milliseconds, and a dictionary as dictd packs it."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

SENTENCES = [
    "A hash table gives rapid access to data items which are distinguished by some key.",
    "The hash function is applied to the key, and the result is the index of a bucket.",
    "哈希表根据键值快速访问数据。散列函数决定存储的位置。",
    "The table must be rebuilt when it grows; the keys are then hashed again.",
]
DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def fast(backend: Tokenizer, unk_token: str | None = None) -> PreTrainedTokenizerFast:
    """The backend as transformers wraps it."""
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token=unk_token)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with 400 tokens, so that words have one to several tokens and an emoji four."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    backend.train_from_iterator(SENTENCES, trainer)
    return fast(backend)


def base64(number: int) -> str:
    """A number in dictd's digits."""
    return (base64(number // 64) if number >= 64 else "") + DIGITS[number % 64]


WriteDictionary = Callable[[list[tuple[list[str], str]]], Path]


@pytest.fixture
def write_dictionary(tmp_path: Path) -> WriteDictionary:
    """Writes `words.index` and `words.dict.dz` of (headwords, text) entries, and returns the index."""

    def write(entries: list[tuple[list[str], str]]) -> Path:
        body, lines = b"", []
        for headwords, text in entries:
            lines += [f"{headword}\t{base64(len(body))}\t{base64(len(text.encode()))}\n" for headword in headwords]
            body += text.encode()
        (tmp_path / "words.dict.dz").write_bytes(gzip.compress(body))
        (tmp_path / "words.index").write_text("".join(sorted(lines)), encoding="utf-8")
        return tmp_path / "words.index"

    return write
