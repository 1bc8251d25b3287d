"""Text → the terms that BM25 counts: words where words are spaced, pairs of neighbours where they are not (Chinese, Japanese)."""

import re
import unicodedata
from itertools import pairwise

TOKENS = "words and pairs (1)"
"""What `terms` does, for the record of an index: another number, other terms."""

_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
"""Kana and Han."""
_RUN = re.compile(rf"[{_UNSPACED}]+|[^\W_{_UNSPACED}]+")
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]")


def terms(text: str) -> list[str]:
    """The terms of a text in order, repeats included; compatible spellings and cases are one (NFKC, casefold).

    A character of kana or Han that stands alone is a term; beside others it counts in its pairs only, as in Lucene's CJK analyzer.
    """
    found: list[str] = []
    for run in _RUN.findall(unicodedata.normalize("NFKC", text).casefold()):
        if len(run) > 1 and _IS_UNSPACED.match(run):
            found += map("".join, pairwise(run))
        else:
            found.append(run)
    return found
