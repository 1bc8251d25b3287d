"""Which texts go."""

import tracemalloc
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmem.errors import ConfigError
from kmem.kbuild.dedup import bands, duplicates, spill
from kmem.kbuild.dedup.bands import bands_and_rows
from kmem.kbuild.dedup.config import FILE_BYTES, TEXT_BYTES, DedupConfig
from kmem.kbuild.dedup.duplicates import EXACT, KEPT, NEAR, find_duplicates
from kmem.kbuild.dedup.signatures import Signatures, sign
from tests.kbuild.dedup.texts import chinese, edited, english

CONFIG = DedupConfig()


def found(texts: Sequence[str], config: DedupConfig = CONFIG, titles: Sequence[str] | None = None) -> tuple[list[int], list[int]]:
    """(reason, of) of every text."""
    duplicates = find_duplicates([lambda: sign(texts, config, titles)], config)[0]
    return duplicates.reason.tolist(), duplicates.of.tolist()


@pytest.mark.parametrize("base", [english(1), chinese(1)])
def test_an_exact_an_edited_and_a_reordered_copy_go_and_the_first_stays(base: str) -> None:
    parts = base.split("\n\n") if "\n\n" in base else [part + "。" for part in base.split("。")[:-1]]
    reordered = ("\n\n" if "\n\n" in base else "").join(parts[3:] + parts[:3])
    texts = [english(50), base, base.replace(" ", "\n "), edited(base, 2), english(51), reordered]
    if " " not in base:
        texts[2] = base + "\n"
    assert found(texts) == ([KEPT, KEPT, EXACT, NEAR, KEPT, NEAR], [-1, -1, 1, 1, -1, 1])


def test_of_many_edited_copies_nearly_all_are_found_and_nothing_else() -> None:
    bases = [english(seed, 200) for seed in range(60)] + [chinese(seed, 300) for seed in range(60)]
    reason, of = found(bases + [edited(text, seed) for seed, text in enumerate(bases)])
    assert set(reason[:120]) == {KEPT}
    assert sum(of[120 + place] == place for place in range(120)) >= 114


@given(st.lists(st.integers(0, 5), max_size=24), st.lists(st.integers(0, 24), max_size=3), st.booleans())
@settings(max_examples=40)
def test_how_texts_are_divided_changes_nothing_and_no_cluster_is_emptied(drawn: list[int], cuts: list[int], near: bool) -> None:
    texts = [english(seed, 60) if not near else edited(english(seed, 60), place) for place, seed in enumerate(drawn)]
    bounds = sorted({0, len(texts), *(min(cut, len(texts)) for cut in cuts)})
    parts = [partial(sign, texts[start:end], CONFIG) for start, end in pairwise(bounds)]
    apart = find_duplicates(parts, CONFIG)
    assert [len(part.drop) for part in apart] == [end - start for start, end in pairwise(bounds)]
    reason, of = found(texts)
    assert [value for part in apart for value in part.reason.tolist()] == reason
    assert [value for part in apart for value in part.of.tolist()] == of
    for place, kept in enumerate(of):
        assert (kept == -1) == (reason[place] == KEPT)
        if kept >= 0:
            assert kept < place
            assert reason[kept] == KEPT
            assert drawn[kept] == drawn[place]
    if not near:
        assert reason.count(KEPT) == len(set(drawn))


@given(st.text(min_size=1, max_size=300), st.lists(st.text(max_size=30), max_size=4))
@settings(max_examples=30)
def test_a_text_and_its_copy_are_always_found(text: str, others: list[str]) -> None:
    reason, _ = found([text, *others, text])
    assert reason[0] == KEPT
    assert reason[-1] == EXACT


def test_in_a_chain_only_what_is_like_a_kept_text_goes() -> None:
    """A ~ B ~ C, A and C apart: B goes for A, C stays, and D, like B and C, goes for C."""
    words = english(3, 140).split()
    first, second, third = (" ".join(words[start : start + 80]) for start in (0, 20, 40))
    assert found([first, second, third]) == ([KEPT, NEAR, KEPT], [-1, 0, -1])
    assert found([second, first, third]) == ([KEPT, NEAR, NEAR], [-1, 0, 0])


def test_an_exact_copy_of_a_near_duplicate_is_of_the_one_kept() -> None:
    base = english(4)
    assert found([base, edited(base, 1), edited(base, 1)]) == ([KEPT, NEAR, EXACT], [-1, 0, 0])


def test_what_differs_by_numbers_alone_is_another_statement() -> None:
    law = chinese(5)
    assert found([f"{law}处三年以上五年以下有期徒刑。", f"{law}处三年以上七年以下有期徒刑。"])[0] == [KEPT, KEPT]
    text = english(6)
    assert found([f"{text} Launched in 1999.", f"{text} Launched in 2001.", f"Launched in 1999. {text}"])[0] == [KEPT, KEPT, NEAR]


def test_short_texts_are_compared_exactly() -> None:
    texts = [
        "BOEING: An early system on the IBM 1130. Listed in CACM.",
        "MISHAP: An early system on the IBM 1130. Listed in CACM.",
        "C++",
        "C#",
    ]
    assert found(texts)[0] == [KEPT] * 4
    assert found([*texts, "C#  "])[0] == [KEPT] * 4 + [EXACT]


def test_under_another_title_much_the_same_is_another_statement() -> None:
    base = english(7)
    texts = [base, edited(base, 1), base, edited(base, 2)]
    assert found(texts, titles=["Judges", "Procurators", "Procurators", "JUDGES "]) == ([KEPT, KEPT, NEAR, NEAR], [-1, -1, 0, 0])
    short = "本法自公布之日起施行。"
    assert found([short, short, short], titles=["水法", "森林法", "水法"])[0] == [KEPT, KEPT, EXACT]


def test_modes() -> None:
    base = english(8)
    texts = [base, base, edited(base, 1)]
    assert found(texts, DedupConfig(mode="exact"))[0] == [KEPT, EXACT, KEPT]
    assert found(texts, DedupConfig(mode="none"))[0] == [KEPT, KEPT, KEPT]


def test_in_a_large_cluster_all_are_of_its_first() -> None:
    base = english(9, 80)
    reason, of = found([f"{base} {english(number, 1)}" for number in range(500)])
    assert reason[0] == KEPT
    assert KEPT not in reason[1:]
    assert set(of[1:]) == {0}


def test_counts_name_what_was_dropped() -> None:
    base = english(10)
    duplicates = find_duplicates([lambda: sign([base, base], CONFIG), lambda: sign([edited(base, 1), base], CONFIG)], CONFIG)
    assert [dict(part.counts()) for part in duplicates] == [
        {"dropped: exact duplicate": 1},
        {"dropped: exact duplicate": 1, "dropped: near-duplicate": 1},
    ]
    assert duplicates[1].of.tolist() == [0, 0]
    assert duplicates[1].drop.all()


def test_nothing_and_signatures_of_another_config() -> None:
    assert find_duplicates([], CONFIG) == []
    assert len(find_duplicates([lambda: sign([], CONFIG)], CONFIG)[0].drop) == 0
    with pytest.raises(ConfigError, match="sign the texts again"):
        find_duplicates([lambda: sign(["a"], DedupConfig(permutations=64))], CONFIG)


@pytest.mark.parametrize("copies", [0.0, 0.5])
def test_bytes_a_text_stay_what_is_promised(copies: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """In memory, where tracemalloc sees all but what is mapped, at two sizes; and in files, by what they hold."""
    monkeypatch.setattr(spill, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(bands, "SORTED_TEXTS", 1 << 12)
    monkeypatch.setattr(bands, "BLOCK_TEXTS", 1 << 12)
    monkeypatch.setattr(duplicates, "BLOCK_TEXTS", 1 << 12)
    config, peaks = DedupConfig(permutations=16), list[int]()
    find_duplicates([partial(drawn_signatures, 10, 16, copies)], config)  # compiles
    for count in (50_000, 150_000):
        signatures = drawn_signatures(count, 16, copies)
        tracemalloc.start()
        find_duplicates([lambda signatures=signatures: signatures], config)  # type: ignore[misc]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 100_000 < TEXT_BYTES
    one = sign([english(11)], CONFIG)
    links, of, key = 4 * bands_and_rows(CONFIG.threshold, CONFIG.permutations)[0], 8, 8
    assert sum(getattr(one, field.name).nbytes for field in fields(one)) + links + of + key <= FILE_BYTES


def drawn_signatures(count: int, permutations: int, copies: float) -> Signatures:
    """Of texts that never were, a share of them exact copies of others."""
    draw = np.random.default_rng(0)
    exact = draw.integers(0, 1 << 63, (count, 2), np.uint64)
    first = count - int(count * copies)
    exact[first:] = exact[: count - first]
    sums = draw.integers(0, 1 << 63, count, np.uint64)
    minhash = draw.integers(0, 256, (count, permutations), np.uint8)
    return Signatures(exact=exact, title=sums, words=np.full(count, 99, np.int32), numbers=sums, others=sums, minhash=minhash)


def test_in_files_it_finds_what_it_finds_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [english(seed) for seed in range(8)] + [edited(english(seed), seed) for seed in range(4)] + [english(2), chinese(1)]
    parts = [partial(sign, texts[start : start + 5], CONFIG) for start in range(0, len(texts), 5)]
    in_memory = find_duplicates(parts, CONFIG)
    monkeypatch.setattr(spill, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(bands, "BLOCK_TEXTS", 3)
    monkeypatch.setattr(bands, "SORTED_TEXTS", 2)
    monkeypatch.setattr(duplicates, "BLOCK_TEXTS", 3)
    in_files = find_duplicates(parts, CONFIG)
    assert sum(int(one.drop.sum()) for one in in_memory) == 5
    for one, other in zip(in_memory, in_files, strict=True):
        assert one.of.tolist() == other.of.tolist()
        assert one.reason.tolist() == other.reason.tolist()
