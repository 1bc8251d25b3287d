r"""Which tokenizers cut a text into words by a known pattern, and that pattern for Python's `re`.

Oniguruma, which the `tokenizers` library uses, and `re` agree on everything in these patterns but the classes `\p{L}`, `\p{N}` and `\s`.
Here they are spelled out, up to U+FFFF, from Python's tables; `Classes.agree` asks the library itself about each character met.

What the word meter takes from every pattern below: each character of a text is in a word; the only look beyond a word is `\s+(?!\S)`;
within a word, a space that follows neither the word's start nor another whitespace doesn't occur.
"""

import json
import re
import sys
import unicodedata
from functools import cache
from typing import Any

from tokenizers import Regex, pre_tokenizers
from tokenizers import Tokenizer as Backend
from tokenizers.models import BPE

_SPACE = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_ANY_CASE = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_ANY_CASE_SPELLED = "'(?:[sSſtTmMdD]|[rRvV][eE]|[lL][lL])"
_BYTE_LEVEL = r"'(?:[stmd]|re|ve|ll)| ?{L}+| ?{N}+| ?[^{s}{l}{n}]+|{S}+(?![^{s}])|{S}+"
# `Digits` parts every digit from the rest first, so the end of whitespace before a digit is an end.
_DIGITS_FIRST = r"{N}|'(?:[stmd]|re|ve|ll)| ?{L}+| ?[^{s}{l}{n}]+|{S}+(?![^{s}{n}])|{S}+"
_SPLITS = {
    # Llama 3; Qwen 2 and 3
    _ANY_CASE + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+": (
        _ANY_CASE_SPELLED + r"|[^\r\n{l}{n}]?{L}+|{N}{{1,3}}| ?[^{s}{l}{n}]+[\r\n]*|{S}*[\r\n]+|{S}+(?![^{s}])|{S}+"
    ),
    _ANY_CASE + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+": (
        _ANY_CASE_SPELLED + r"|[^\r\n{l}{n}]?{L}+|{N}| ?[^{s}{l}{n}]+[\r\n]*|{S}*[\r\n]+|{S}+(?![^{s}])|{S}+"
    ),
}
# Composed already, whatever stands beside them: Latin, Greek and Cyrillic letters, punctuation, Chinese.
_COMPOSED = re.compile(
    r"[\0-\u02ff\u0391-\u03a1\u03a3-\u03c9\u0400-\u0482\u2010-\u2027\u2030-\u205e\u3000-\u3029\u4e00-\u9fff\uff01-\uffee]*"
)


def word_pattern(backend: Backend) -> re.Pattern[str] | None:
    """The pattern of the words within which the backend's model works, or None where none is known."""
    model = backend.model
    if not isinstance(model, BPE) or model.dropout is not None or _state(backend.normalizer).get("type") not in (None, "NFC"):
        return None
    state = _state(backend.pre_tokenizer)
    *first, last = state.get("pretokenizers") or [state]
    if last.get("type") != "ByteLevel" or last["add_prefix_space"] or len(first) > 1:
        return None
    if last["use_regex"]:
        found = _DIGITS_FIRST if first == [{"type": "Digits", "individual_digits": True}] else None if first else _BYTE_LEVEL
    else:
        found = _split(first[0]) if first else None
    return _compiled(found) if found else None


def composes(backend: Backend) -> bool:
    """Whether the backend normalises a text before it cuts it."""
    return backend.normalizer is not None


def composed(text: str) -> bool:
    """Whether NFC surely leaves the text as it is, alone and beside any other for which this holds."""
    return _COMPOSED.fullmatch(text) is not None


def _state(step: Any) -> dict[str, Any]:
    found: dict[str, Any] = {} if step is None else json.loads(step.__getstate__())
    return found


def _split(step: dict[str, Any]) -> str | None:
    if step["type"] != "Split" or step["behavior"] != "Isolated" or step["invert"]:
        return None
    return _SPLITS.get(step["pattern"].get("Regex", ""))


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    letter, number = _ranges("L"), _ranges("N")
    return re.compile(pattern.format(l=letter, n=number, s=_SPACE, L=f"[{letter}]", N=f"[{number}]", S=f"[{_SPACE}]"))


@cache
def _ranges(category: str) -> str:
    """The characters of a category up to U+FFFF, for use inside the brackets of a regular expression."""
    codes = [code for code in range(0x10000) if unicodedata.category(chr(code))[0] == category]
    starts = [code for before, code in zip([-2, *codes], codes, strict=False) if code != before + 1]
    ends = [code for code, after in zip(codes, [*codes[1:], sys.maxunicode + 2], strict=True) if after != code + 1]
    return "".join(f"\\u{start:04x}-\\u{end:04x}" for start, end in zip(starts, ends, strict=True))


class Classes:
    """Whether `tokenizers` puts characters into the classes in which the patterns above have them."""

    def __init__(self) -> None:
        self._agreed: set[str] = set()
        self._theirs = [(pre_tokenizers.Split(Regex(name), "removed"), re.compile(ours)) for name, ours in _classes()]
        self._ascii = False
        self._ascii = self.agree("".join(map(chr, range(128))))

    def agree(self, text: str) -> bool:
        if self._ascii and text.isascii():
            return True
        if self._agreed.issuperset(text):
            return True
        new = set(text) - self._agreed
        for split, ours in self._theirs:
            outside = {character for piece, _ in split.pre_tokenize_str("".join(new)) for character in piece}
            new = {character for character in new if (ours.match(character) is None) == (character in outside)}
        self._agreed |= new
        return self._agreed.issuperset(text)


def _classes() -> list[tuple[str, str]]:
    return [(r"\p{L}", f"[{_ranges('L')}]"), (r"\p{N}", f"[{_ranges('N')}]"), (r"\s", f"[{_SPACE}]")]
