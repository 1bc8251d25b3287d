"""Text → the terms that BM25 counts: words where words are spaced, pairs of neighbours where they are not (Chinese, Japanese)."""

import re
import unicodedata
from itertools import pairwise

from kmem.words import SPACELESS

TOKENS = "words and pairs (2)"
"""What `terms` does, for the record of an index: another number, other terms."""

_RUN = re.compile(rf"[{SPACELESS}]+|[^\W_{SPACELESS}]+")
_IS_SPACELESS = re.compile(f"[{SPACELESS}]")


def terms(text: str) -> list[str]:
    """The terms of a text in order, repeats included; compatible spellings and cases are one (NFKC, casefold).

    A character of kana or Han that stands alone is a term; beside others it counts in its pairs only, as in Lucene's CJK analyzer.
    """
    found: list[str] = []
    for run in _RUN.findall(unicodedata.normalize("NFKC", text).casefold()):
        if len(run) > 1 and _IS_SPACELESS.match(run):
            found += map("".join, pairwise(run))
        else:
            found.append(run)
    return found
