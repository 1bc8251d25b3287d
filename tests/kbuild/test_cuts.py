"""A cut prefers paragraphs to sentences to words, and never leaves less than half a window."""

import pytest

from kmem.kbuild.cuts import cut


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
