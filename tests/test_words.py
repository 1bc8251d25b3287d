"""Words of scripts with and without spaces."""

from kmem.words import words


def test_words() -> None:
    assert words("Café, état_2 — 3.14") == ["café", "état", "2", "3", "14"]
    assert words("哈希表用Python写。ハッシュ") == ["哈", "希", "表", "用", "python", "写", "ハ", "ッ", "シ", "ュ"]
    assert words(" 。！、〜 ") == []
