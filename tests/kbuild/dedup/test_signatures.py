"""What a signature tells of a text."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmem.errors import ConfigError, CorruptBankError, UnknownNameError
from kmem.kbuild.dedup.config import DedupConfig
from kmem.kbuild.dedup.signatures import Signatures, sign
from kmem.words import words
from tests.kbuild.dedup.texts import chinese, edited, english

CONFIG = DedupConfig()
EXACT = [4387830949537145998, 14955045344160970534]
SUMS = (8097041048217710969, 3267825923410974554)
MINHASH = [60, 207, 90, 107]


def jaccard(one: str, two: str, width: int) -> float:
    def shingles(text: str) -> set[tuple[str, ...]]:
        found = words(text)
        return {tuple(found[start : start + width]) for start in range(max(1, len(found) - width + 1))}

    return len(shingles(one) & shingles(two)) / len(shingles(one) | shingles(two))


@given(st.text(max_size=80))
@settings(max_examples=200)
def test_the_words_are_those_of_kmem_words(text: str) -> None:
    assert sign([text], CONFIG).words[0] == len(words(text))


@given(st.lists(st.sampled_from(["the", "Cat", "法", "3", "三", "x1", "ß"]), max_size=12), st.sampled_from([" ", ", ", "\n"]))
def test_punctuation_case_and_spacing_change_no_shingle(parts: list[str], separator: str) -> None:
    plain, other = sign([" ".join(parts), separator.join(parts).upper() + "。"], CONFIG).minhash
    assert (plain == other).all()


@pytest.mark.parametrize(("text", "width"), [(english(1, 600), 5), (english(2, 600), 2), (chinese(3, 600), 5)])
@pytest.mark.parametrize("share", [0.02, 0.05, 0.2])
def test_the_estimate_is_the_jaccard_similarity(text: str, width: int, share: float) -> None:
    config = DedupConfig(shingle_words=width, permutations=1024)
    other = edited(text, 4, share)
    minhash = sign([text, other], config).minhash
    exact = jaccard(text, other, width)
    assert abs((minhash[0] == minhash[1]).mean() - exact) < 4 * np.sqrt(exact * (1 - exact) / 1024)


def test_another_order_of_the_words_is_another_text_with_the_same_sums() -> None:
    text = english(5)
    signatures = sign([text, " ".join(reversed(text.split()))], CONFIG)
    assert signatures.others[0] == signatures.others[1]
    assert signatures.numbers[0] == signatures.numbers[1]
    assert (signatures.minhash[0] == signatures.minhash[1]).mean() < 0.1


def test_numbers_are_summed_apart_from_words_in_either_script() -> None:
    signatures = sign(["in 1999 it had 12 parts", "in 2001 it had 13 parts", "第三条", "第四条", "第三款"], CONFIG)
    assert signatures.others[0] == signatures.others[1]
    assert signatures.numbers[0] != signatures.numbers[1]
    assert signatures.others[2] == signatures.others[3] != signatures.others[4]
    assert signatures.numbers[2] == signatures.numbers[4] != signatures.numbers[3]


def test_a_text_without_words_and_no_texts_have_signatures() -> None:
    assert sign(["…", ""], CONFIG).words.tolist() == [0, 0]
    empty = sign([], CONFIG)
    assert len(empty) == 0
    assert empty.minhash.shape == (0, 128)


def test_signatures_are_the_same_on_every_machine() -> None:
    """Partitions may be signed by different workers: golden values."""
    signatures = sign(["Explicit memory for language models: 128 tokens. 显式记忆"], CONFIG)
    assert signatures.exact[0].tolist() == EXACT
    assert (int(signatures.numbers[0]), int(signatures.others[0])) == SUMS
    assert signatures.minhash[0, :4].tolist() == MINHASH


def test_they_are_saved_and_loaded_and_nothing_else_is() -> None:
    signatures = sign([english(6), chinese(7)], CONFIG, ["one", ""])
    loaded = Signatures.load(signatures.save())
    for name in ("exact", "title", "words", "numbers", "others", "minhash"):
        assert (getattr(loaded, name) == getattr(signatures, name)).all()
        assert getattr(loaded, name).dtype == getattr(signatures, name).dtype
    for data in (b"", b"no file", signatures.save()[:-100]):
        with pytest.raises(CorruptBankError, match="build again"):
            Signatures.load(data)


def test_without_near_duplicates_only_the_exact_hash_is_taken() -> None:
    signatures = sign([english(8)], DedupConfig(mode="exact"))
    assert signatures.minhash.shape == (1, 0)
    assert (signatures.exact == sign([english(8)], CONFIG).exact).all()


@pytest.mark.parametrize(
    "options",
    [{"threshold": 0.0}, {"threshold": 1.1}, {"retitled_threshold": 1.1}, {"min_words": 0}, {"permutations": 4096}],
)
def test_a_config_says_what_it_can_not_be(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        DedupConfig(**options)  # type: ignore[arg-type]


def test_a_higher_threshold_lifts_that_of_other_titles() -> None:
    assert DedupConfig(threshold=0.9).retitled_threshold == 0.9
    assert DedupConfig(threshold=0.6).retitled_threshold == DedupConfig().retitled_threshold


def test_a_mode_is_one_of_three() -> None:
    with pytest.raises(UnknownNameError, match="exact, near, none"):
        DedupConfig(mode="fuzzy")
