r"""Which tokenizers cut a text into words by a known rule, and that rule as a pattern for Python's `re`; scan.py has it as machine code.

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
from typing import Any, NamedTuple

from tokenizers import Regex, pre_tokenizers
from tokenizers import Tokenizer as Backend
from tokenizers.models import BPE

_SPACE = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_ANY_CASE = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_ANY_CASE_SPELLED = "'(?:[sSſtTmMdD]|[rRvV][eE]|[lL][lL])"
BYTE_LEVEL, DIGITS_FIRST, THREE_DIGITS, ONE_DIGIT = range(4)
"""The rules by which words are found, each a pattern below: GPT-2's, with single digits, Llama 3's, that of Qwen 2 and 3."""
_PATTERNS = (
    r"'(?:[stmd]|re|ve|ll)| ?{L}+| ?{N}+| ?[^{s}{l}{n}]+|{S}+(?![^{s}])|{S}+",
    # `Digits` parts every digit from the rest first, so the end of whitespace before a digit is an end.
    r"{N}|'(?:[stmd]|re|ve|ll)| ?{L}+| ?[^{s}{l}{n}]+|{S}+(?![^{s}{n}])|{S}+",
    _ANY_CASE_SPELLED + r"|[^\r\n{l}{n}]?{L}+|{N}{{1,3}}| ?[^{s}{l}{n}]+[\r\n]*|{S}*[\r\n]+|{S}+(?![^{s}])|{S}+",
    _ANY_CASE_SPELLED + r"|[^\r\n{l}{n}]?{L}+|{N}| ?[^{s}{l}{n}]+[\r\n]*|{S}*[\r\n]+|{S}+(?![^{s}])|{S}+",
)
_SPLITS = {
    _ANY_CASE + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+": THREE_DIGITS,
    _ANY_CASE + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+": ONE_DIGIT,
}
# Composed already, whatever stands beside them: Latin, Greek and Cyrillic letters, punctuation, Chinese.
_COMPOSED = re.compile(
    r"[\0-\u02ff\u0391-\u03a1\u03a3-\u03c9\u0400-\u0482\u2010-\u2027\u2030-\u205e\u3000-\u3029\u4e00-\u9fff\uff01-\uffee]*"
)


def word_rule(backend: Backend) -> int | None:
    """The rule of the words within which the backend's model works, or None where none is known."""
    model = backend.model
    if not isinstance(model, BPE) or model.dropout is not None or _state(backend.normalizer).get("type") not in (None, "NFC"):
        return None
    state = _state(backend.pre_tokenizer)
    *first, last = state.get("pretokenizers") or [state]
    if last.get("type") != "ByteLevel" or last["add_prefix_space"] or len(first) > 1:
        return None
    if last["use_regex"]:
        return DIGITS_FIRST if first == [{"type": "Digits", "individual_digits": True}] else None if first else BYTE_LEVEL
    return _split(first[0]) if first else None


def word_pattern(rule: int) -> re.Pattern[str]:
    """A rule's words, for `re`."""
    return _compiled(_PATTERNS[rule])


def composes(backend: Backend) -> bool:
    """Whether the backend normalises a text before it cuts it."""
    return backend.normalizer is not None


class Trims(NamedTuple):
    """spaces: do places leave out spaces around a token. first: is that of spaces alone at a text's beginning is empty."""

    spaces: bool
    first: bool


def trims(backend: Backend) -> Trims:
    """What the backend's last step does to the places of tokens."""
    state = _state(backend.post_processor)
    steps = [step for step in state.get("processors") or [state] if step.get("type") == "ByteLevel" and step["trim_offsets"]]
    return Trims(spaces=bool(steps), first=any(step["add_prefix_space"] for step in steps))


def composed(text: str) -> bool:
    """Whether NFC surely leaves the text as it is, alone and beside any other for which this holds."""
    return _COMPOSED.fullmatch(text) is not None


def _state(step: Any) -> dict[str, Any]:
    found: dict[str, Any] = {} if step is None else json.loads(step.__getstate__())
    return found


def _split(step: dict[str, Any]) -> int | None:
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
        self._theirs = [(pre_tokenizers.Split(Regex(name), "removed"), re.compile(ours)) for name, ours in classes()]

    def agreed(self, text: str) -> set[str]:
        """The characters of the text of which they agree."""
        new = set(text)
        for split, ours in self._theirs:
            outside = {character for piece, _ in split.pre_tokenize_str("".join(new)) for character in piece}
            new = {character for character in new if (ours.match(character) is None) == (character in outside)}
        return new


def classes() -> list[tuple[str, str]]:
    r"""\p{L}, \p{N} and \s, each with the characters up to U+FFFF that are in it."""
    return [(r"\p{L}", f"[{_ranges('L')}]"), (r"\p{N}", f"[{_ranges('N')}]"), (r"\s", f"[{_SPACE}]")]
