"""A cut prefers paragraphs to sentences to clauses to words, and never leaves less than half a window."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmem.kbuild import cuts
from kmem.kbuild.cuts import beginning, cut, sentences


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("One sentence. Two sentences.", "\n\nA paragraph. And mo"),
        ("One sentence here. And a second.", "\n \r\nA para. Two"),
        ("A first sentence that is long.", " The second is cu"),
        ("He asked: “Is it so?”", " She said that"),
        ("A value of 3.14 by Mr J. Smith, e.g. Pi, which isn't all.", " Then come mo"),
        ("哈希表根据键值快速访问数据。", "散列函数决定存储"),
        ("他说：“散列函数决定位置。”", "散列函数决定存储"),
        ("哈希表根据键值快速访问数据！", "散列函数决定；存储"),
        ("（一）污染物排放情况；", "（二）防治污染设施"),
        ("他说：“先查表；”", "再存，并"),
        ("根据键值快速访问数据；散列函数的结果，", "决定存储"),
        ("侵犯专利权的赔偿，", "数额、权利人"),
        ("侵犯专利权的赔偿数额、", "权利人的损失"),
        ("因不可抗力的事由：", "或者其他正当理由"),
        ("some words without any end", " ofthesent"),
        ("Early. then only words follow, more and more of", " them"),
        ("onewordonly", ""),
    ],
)
def test_cut(before: str, after: str) -> None:
    text = before + after
    assert text[: cut(text + "tail.", 0, len(text))] == before


def test_a_boundary_at_the_very_end_of_the_window() -> None:
    text = "A sentence. Another sentence. A third."
    assert cut(text, 0, 29) == 29
    assert cut("words and words", 0, 9) == 9
    assert cut("A paragraph\n\nB", 0, 11) == 11


def test_a_stop_inside_a_number_at_the_end_of_the_window() -> None:
    assert cut("It costs exactly 3.14 euros", 0, 19) == 16


def test_start_is_honoured() -> None:
    assert cut("Long ago. Now the words go on and on", 10, 30) == 29


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two? “Three!” Four", ["One.", "Two?", "“Three!”", "Four"]),
        ("Pi is 3.14, e.g. by J. Smith. It ends.\n\n Next ", ["Pi is 3.14, e.g. by J. Smith.", "It ends.", "Next"]),
        ("甲方付款；乙方交货。“丙方同意！”丁方不同意", ["甲方付款；乙方交货。", "“丙方同意！”", "丁方不同意"]),
        (" \n", []),
    ],
)
def test_sentences(text: str, parts: list[str]) -> None:
    assert list(sentences(text)) == parts


def naive_cut(text: str, start: int, end: int, after: int) -> int:
    """Every match of each boundary, from the left."""
    middle = max(start + (end - start) // 2, after)
    for boundary in (*(boundary for boundary, _ in cuts._BOUNDARIES), re.compile(r"(?=\s)")):
        ends = [match.end() for match in boundary.finditer(text, middle, end + cuts._LOOKAHEAD) if middle < match.end() <= end]
        if ends:
            return ends[-1]
    return end


PIECES = [
    "word ",
    "J. ",
    "e.g. ",
    "End. ",
    "3.14",
    "!?",
    "…",
    '."',
    "”",
    ")",
    "\n",
    " \n\t",
    "\r\n\n",
    "。",
    "”’",
    "；",
    "，",
    "、",
    "哈希",
    "x" * 9,
    "\u3000",
]


@settings(max_examples=500)
@given(text=st.lists(st.sampled_from(PIECES), min_size=1, max_size=60).map("".join), places=st.tuples(*[st.floats(0, 1)] * 3))
def test_cut_is_the_last_match_of_the_best_boundary(text: str, places: tuple[float, float, float]) -> None:
    start, after, end = sorted(int(place * (len(text) - 1)) for place in places)
    after = min(after, end)
    assert cut(text, start, end + 1, after) == naive_cut(text, start, end + 1, after)


@pytest.mark.parametrize(
    ("text", "start", "found"),
    [
        ("One two. Three four. Five", 3, "Three"),
        ("One two. Three four. Five", 9, "Three"),
        ("One two. Three four. Five", 10, "Five"),
        ("a heading\n\nits text goes on", 2, "its"),
        ("one word after another", 5, "after"),
        ("散列函数；决定、位置", 1, "决定"),
        ("oneword", 1, ""),
        ("The end. ", 5, ""),
    ],
)
def test_beginning(text: str, start: int, found: str) -> None:
    place = beginning(text, start, len(text))
    assert text[place : place + len(found)] == found
    assert bool(found) == (place < len(text))
