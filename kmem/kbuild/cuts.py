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
_WORD = re.compile(r"(?=\s)")
_LOOKAHEAD = 64


def cut(text: str, start: int, end: int) -> int:
    """The best end, at most `end`, of a chunk of `text` that begins at `start`; `end` itself when there is no better one."""
    middle = start + (end - start) // 2
    for boundary in (_PARAGRAPH, _SENTENCE, _CLAUSE, _PAUSE, _ITEM, _WORD):
        # The boundary may lie at `end` itself, so the search looks a little beyond it.
        ends = [match.end() for match in boundary.finditer(text, middle, end + _LOOKAHEAD) if middle < match.end() <= end]
        if ends:
            return ends[-1]
    return end


def sentences(text: str) -> Iterator[str]:
    """The sentences of a text, in order, without the whitespace around them and none empty."""
    start = 0
    for end in (*(match.end() for match in _SENTENCE.finditer(text)), len(text)):
        if sentence := text[start:end].strip():
            yield sentence
        start = end
