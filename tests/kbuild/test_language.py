"""Languages told by the kept library, and the step that keeps some."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmem.document import Document
from kmem.errors import ConfigError
from kmem.kbuild.language import Languages, LanguagesConfig, codes, detect

TEXTS = {
    "en": "A hash table gives rapid access to data items which are distinguished by some key.",
    "zh": "哈希表根据键值快速访问数据。散列函数决定存储的位置。",
    "ja": "ハッシュ表はキーから値を素早く求めるためのデータ構造である。",
    "de": "Eine Hashtabelle ist eine Datenstruktur, mit der sich Einträge anhand eines Schlüssels schnell finden lassen.",
    "fr": "Une table de hachage est une structure de données qui permet de retrouver rapidement une valeur par sa clé.",
    "ru": "Хеш-таблица — это структура данных, которая позволяет быстро находить значение по ключу.",
    "he": "טבלת גיבוב היא מבנה נתונים שמאפשר למצוא במהירות ערך לפי המפתח שלו.",
}


@pytest.mark.parametrize("code", TEXTS)
def test_detect(code: str) -> None:
    told, share = detect(TEXTS[code])
    assert told == code
    assert 0.9 <= share <= 1


def test_traditional_chinese_is_chinese() -> None:
    assert detect("雜湊表根據鍵值快速存取資料。雜湊函數決定儲存的位置。")[0] == "zh"


@pytest.mark.parametrize("text", ["", "42 17 3.14", "\0\x01\x02", "\ud800", "ࠀ"])
def test_no_language(text: str) -> None:
    assert detect(text) == ("und", 0.0)


def test_japanese_without_kana_is_chinese() -> None:
    assert detect("第三条 地方各级人民政府")[0] == "zh"


def test_only_the_start_is_read() -> None:
    assert detect(TEXTS["en"] + TEXTS["zh"] * 50, characters=80)[0] == "en"


def test_control_characters_hide_nothing() -> None:
    assert detect(f"\0\x01{TEXTS['en']}\ud800\ufffe")[0] == "en"


@given(st.text(max_size=100))
def test_any_text_has_a_known_code(text: str) -> None:
    code, share = detect(text)
    assert code in codes()
    assert 0 <= share <= 1


def test_in_is_kept_and_dropped() -> None:
    documents = [Document(source=code, text=text) for code, text in [*TEXTS.items(), ("und", "42")]]
    counts: Counter[str] = Counter()
    kept = list(Languages(LanguagesConfig(keep=("EN", "zh"))).run(documents, counts))
    assert [document.source for document in kept] == ["en", "zh"]
    assert counts == {f"dropped: language {code}": 1 for code in ("ja", "de", "fr", "ru", "he", "und")}


def test_no_code_keeps_all_and_detects_nothing() -> None:
    counts: Counter[str] = Counter()
    documents = [Document(source="", text="42")]
    assert list(Languages().run(documents, counts)) == documents
    assert not counts


def test_a_wrong_code_is_told() -> None:
    with pytest.raises(ConfigError, match="Language 'english' is none that is ever told: give ISO 639 codes such as en"):
        Languages(LanguagesConfig(keep=("english",)))
    with pytest.raises(ConfigError, match="must be a list of codes such as en and zh, not 'en'"):
        LanguagesConfig(keep="en")
    with pytest.raises(ConfigError, match="characters must be at least 1"):
        LanguagesConfig(characters=0)
