"""A text as words, for those who compare texts without a tokenizer."""

import re

SPACELESS = (
    r"\u2e80-\u2fdf\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    r"\u3041-\u3096\u309d-\u30fa\u30fc-\u30ff\u31f0-\u31ff"  # kana
)
"""Characters of scripts that write words without spaces (Chinese, Japanese), for use inside the brackets of a regular expression."""

WORD = re.compile(rf"[{SPACELESS}]|[^\W_{SPACELESS}]+")
"""A word, in case-folded text or not."""


def words(text: str) -> list[str]:
    """Its words without case and punctuation, in order; scripts that write without spaces character by character."""
    return WORD.findall(text.casefold())
