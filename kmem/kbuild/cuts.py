"""Where to end a chunk: the last paragraph, sentence, Chinese clause or word that ends in the second half of its window."""

import re
from collections.abc import Iterator

_PARAGRAPH = re.compile(r"(?=\n[^\S\n]*\n)")
# A stop after a single letter (`J. Smith`, `e.g.`) or before a small letter ends no sentence; Chinese stops need no space.
_SENTENCE = re.compile(r"(?:(?<!\b\w)\.|[!?…])[\"'”’»)\]]*(?=\s+[^\sa-z])|[。！？｡][”’」』）]*")
# Chinese has no spaces between words: its semicolon, its comma and colon, then what parts its lists are better ends than some character.
_CLAUSE = re.compile(r"；[”’」』）]*")
_PAUSE = re.compile(r"[，：][”’」』）]*")
_ITEM = re.compile(r"、")
_WORD = re.compile(r".*(?=\s)", re.DOTALL)
# Each boundary with the characters at which a match of it begins, which are found faster than the match.
_BOUNDARIES = ((_PARAGRAPH, "\n"), (_SENTENCE, ".?!…。！？｡"), (_CLAUSE, "；"), (_PAUSE, "，："), (_ITEM, "、"))
_STARTS = tuple(re.compile(pattern) for pattern in (rf"{_PARAGRAPH.pattern}|{_SENTENCE.pattern}", "[；，：、][”’」』）]*", r"(?=\s)"))
_LOOKAHEAD = 64


def cut(text: str, start: int, end: int, after: int = 0) -> int:
    """The best end, above `after` and at most `end`, of a chunk of `text` from `start`; `end` itself when there is no better one."""
    middle = max(start + (end - start) // 2, after)
    for boundary, beginnings in _BOUNDARIES:
        if found := _last(boundary, beginnings, text, middle, end):
            return found
    words = _WORD.match(text, middle + 1, end + 1)
    return words.end() if words else end


def _last(boundary: re.Pattern[str], beginnings: str, text: str, middle: int, end: int) -> int:
    """Where the boundary ends for the last time above `middle` and at most at `end`, or 0."""
    found = 0
    for character in beginnings:
        low = max(middle, found)
        at = text.rfind(character, low, end + 1)
        while at >= 0:
            # The boundary may lie at `end` itself, so the search looks a little beyond it.
            match = boundary.match(text, at, end + _LOOKAHEAD)
            if match and low < match.end() <= end:
                found = match.end()
                break
            at = text.rfind(character, low, at)
    return found


def beginning(text: str, start: int, end: int) -> int:
    """The first place from `start` on and before `end` where a sentence begins, else a Chinese clause, else a word; else `end`."""
    for boundary in _STARTS:
        for match in boundary.finditer(text, max(0, start - _LOOKAHEAD), end):
            place = skip_whitespace(text, match.end())
            if start <= place < end:
                return place
    return end


def skip_whitespace(text: str, start: int) -> int:
    """The first place from `start` on that is no whitespace, or the text's end."""
    while start < len(text) and text[start].isspace():
        start += 1
    return start


def sentences(text: str) -> Iterator[str]:
    """The sentences of a text, in order, without the whitespace around them and none empty."""
    start = 0
    for end in (*(match.end() for match in _SENTENCE.finditer(text)), len(text)):
        if sentence := text[start:end].strip():
            yield sentence
        start = end
