"""Which language a document is written in, and the step that keeps the languages asked for. Nothing here needs a network.

CLD2 (pycld2) tells; where it can't, py3langid does, if it is sure. CLD2 is twenty times as fast and knows terse English; it leaves one
Russian text in ten untold.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

from kmem.arguments import require_count
from kmem.document import Document
from kmem.errors import ConfigError, MissingDependencyError
from kmem.kbuild.kept import kept

UNKNOWN = "und"
"""The code of a text in no language that is told: numbers, code, a name."""
_CHARACTERS = 1000
_ISO = {"un": UNKNOWN, "iw": "he", "jw": "jv", "zh-Hant": "zh"}
_NO_TEXT = {"Cc", "Cs", "Co", "Cn"}
_SURE = 0.9
_JAPANESE, _CHINESE = "ja", "zh"
_KANA = re.compile(r"[\u3041-\u30fa]")


@dataclass(frozen=True, kw_only=True)
class LanguagesConfig:
    """keep: ISO 639 codes (`en`, `zh` in either script, `und` for what can't be told); none keeps everything and detects nothing.

    characters: how many of a document's are looked at, from its start.
    """

    keep: Sequence[str] = ()
    characters: int = _CHARACTERS

    def __post_init__(self) -> None:
        if isinstance(self.keep, str) or not all(isinstance(code, str) for code in self.keep):
            raise ConfigError(f"Languages must be a list of codes such as en and zh, not {self.keep!r:.40}.")
        object.__setattr__(self, "keep", tuple(code.strip().lower() for code in self.keep))
        require_count(self.characters, "characters")


class Languages:
    """Keeps documents in the asked languages.

    Raises ConfigError for a code that is never told, MissingDependencyError without pycld2 and py3langid.
    """

    def __init__(self, config: LanguagesConfig | None = None) -> None:
        self.config = config or LanguagesConfig()
        if unknown := [code for code in self.config.keep if code not in codes()]:
            raise ConfigError(f"Language {unknown[0]!r} is none that is ever told: give ISO 639 codes such as en, zh, de, or {UNKNOWN}.")

    def verdict(self, text: str) -> str | None:
        """`language xx`, the reason to drop this text; None when it is kept."""
        if not self.config.keep:
            return None
        code, _ = detect(text, characters=self.config.characters)
        return None if code in self.config.keep else f"language {code}"

    def run(self, documents: Iterable[Document], counts: Counter[str] | None = None) -> Iterator[Document]:
        """The documents in the asked languages, in order; `counts` receives `dropped: language <code>`."""
        return kept(documents, self.verdict, counts)


def detect(text: str, *, characters: int = _CHARACTERS) -> tuple[str, float]:
    """(code, share): the language most of the first `characters` are in, and how much of them, 0 to 1; (`und`, 0) where none is told."""
    start = text[:characters]
    try:
        found = _cld2().detect(start, bestEffort=True)[2][0]
    except (_cld2().error, UnicodeEncodeError):  # it takes no control characters nor code points that are none
        start = "".join(_text(character) for character in start)
        found = _cld2().detect(start, bestEffort=True)[2][0]
    code = _code(found[1])
    if code == UNKNOWN:
        second, probability = _langid().classify(start)
        return (second, float(probability)) if probability >= _SURE else (UNKNOWN, 0.0)
    if code == _JAPANESE and not _KANA.search(start):  # a list of Chinese nouns
        code = _CHINESE
    return code, found[2] / 100


def _code(told: str) -> str:
    return UNKNOWN if told.startswith("xx") else _ISO.get(told, told.lower())  # xx-…: a script without a language


def _text(character: str) -> str:
    return " " if unicodedata.category(character) in _NO_TEXT else character


@cache
def codes() -> frozenset[str]:
    """Every code that `detect` can give."""
    return frozenset({*(_code(code) for _, code in _cld2().LANGUAGES), *_langid().labels, UNKNOWN})


@cache
def _cld2() -> ModuleType:
    try:
        import pycld2
    except ImportError as error:
        raise MissingDependencyError("Telling languages needs pycld2: pip install 'kmem[language]'.") from error
    module: ModuleType = pycld2
    return module


@cache
def _langid() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise MissingDependencyError("Telling languages needs py3langid: pip install 'kmem[language]'.") from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
