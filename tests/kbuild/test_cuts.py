"""A cut prefers paragraphs to sentences to clauses to words, and never leaves less than half a window."""

import pytest

from kmem.kbuild.cuts import cut, sentences


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
