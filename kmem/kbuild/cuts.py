"""Where to end a chunk: the last paragraph, sentence or word that ends in the second half of its window."""

import re

_PARAGRAPH = re.compile(r"(?=\n[^\S\n]*\n)")
# A stop after a single letter (`J. Smith`, `e.g.`) or before a small letter ends no sentence; Chinese stops need no space.
_SENTENCE = re.compile(r"(?:(?<!\b\w)\.|[!?…])[\"'”’»)\]]*(?=\s+[^\sa-z])|[。！？｡][”’」』）]*")
_WORD = re.compile(r"(?=\s)")
_LOOKAHEAD = 64


def cut(text: str, start: int, end: int) -> int:
    """The best end, at most `end`, of a chunk of `text` that begins at `start`; `end` itself when there is no better one."""
    middle = start + (end - start) // 2
    for boundary in (_PARAGRAPH, _SENTENCE, _WORD):
        # The boundary may lie at `end` itself, so the search looks a little beyond it.
        ends = [match.end() for match in boundary.finditer(text, middle, end + _LOOKAHEAD) if middle < match.end() <= end]
        if ends:
            return ends[-1]
    return end
