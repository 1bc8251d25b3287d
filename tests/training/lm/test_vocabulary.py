"""A tokenizer cut to its first merges writes any text, and as the whole one would with only those merges."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from kmem.errors import UnsupportedModelError
from kmem.training.lm.vocabulary import END, cut

MERGES = [("t", "h"), ("th", "e"), ("i", "n"), ("Ġ", "the"), ("a", "b")]


def tokenizer(alphabet: list[str]) -> PreTrainedTokenizerFast:
    tokens = [*alphabet, *("".join(merge) for merge in MERGES)]
    backend = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=MERGES))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>")


@pytest.fixture
def whole() -> PreTrainedTokenizerFast:
    return tokenizer(sorted(pre_tokenizers.ByteLevel.alphabet()))


def test_the_first_merges_are_kept(whole: PreTrainedTokenizerFast) -> None:
    small = cut(whole, 257 + 3)
    assert small.get_vocab_size() == 260
    assert small.token_to_id(END) == 0
    assert small.encode("the in ab").tokens == ["the", "Ġ", "in", "Ġ", "a", "b"]
    assert small.encode("in the").tokens == ["in", "Ġ", "the"]
    assert cut(whole, 5000).encode("in the").tokens == ["in", "Ġthe"]


def test_any_text_comes_back(whole: PreTrainedTokenizerFast) -> None:
    small, text = cut(whole, 258), "naïve 日本 the\n\t<eos> 🙂"
    assert small.decode(small.encode(text).ids) == text
    assert END not in small.encode(END).tokens


def test_what_merges_no_bytes_is_refused() -> None:
    words = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    with pytest.raises(UnsupportedModelError, match="doesn't merge bytes"):
        cut(PreTrainedTokenizerFast(tokenizer_object=words), 300)
