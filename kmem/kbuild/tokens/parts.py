"""Where a run of Chinese comes apart: between two characters over which no token of the vocabulary reaches.

A BPE model joins two symbols only to one that its vocabulary has. Where no token holds the end of one character and the beginning of the
next, nothing is ever joined over that place, and a word has the tokens of what stands before it and of what stands behind. A vocabulary
learnt from other languages joins few Chinese characters (SmolLM2's three pairs: 一个, 数据, 文件), so runs of which half are new consist
of parts that are nearly all known.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from tokenizers import Tokenizer as Backend

_MOST_JOINTS = 64
"""Kinds of characters that join the next one: with more, looking for them takes as long as asking the model about the whole run."""
_FIRST, _LAST = "\u4e00", "\u9fff"
_HAN = f"{_FIRST}-{_LAST}"


class Parts:
    """Cuts words; what is no Chinese character stays with its neighbours. `joins` finds a character that may join the next one."""

    def __init__(self, joins: str) -> None:
        self._joins = re.compile(joins)
        self._part = re.compile(f"(?:{joins})*.", re.DOTALL)

    def of(self, word: str) -> Sequence[str]:
        """The parts, one behind the other: where no characters join, they are the word's own characters."""
        return word if self._joins.search(word) is None else self._part.findall(word)


def parts_of(backend: Backend, symbols: Mapping[int, str]) -> Parts | None:
    """None where a word may not be cut, or where too many characters join. symbols: what stands for each byte in the vocabulary."""
    model: Any = backend.model
    if model.ignore_merges or model.fuse_unk or model.continuing_subword_prefix or model.end_of_word_suffix:
        return None
    joined: dict[str, str] = {}
    ends, beginnings = _characters()
    for end, beginning in _joints(backend, symbols):
        if end in ends and beginning in beginnings:
            joined[ends[end]] = joined.get(ends[end], "") + beginnings[beginning]
    if len(joined) > _MOST_JOINTS:
        return None
    joints = "".join(f"|[{before}](?=[{after}])" for before, after in joined.items())
    return Parts(rf"[^{_HAN}]|[{_HAN}](?=[^{_HAN}]){joints}")


def _joints(backend: Backend, symbols: Mapping[int, str]) -> set[tuple[bytes, bytes]]:
    """(last bytes of a character, first bytes of a Chinese one behind it) wherever a token holds some of both, and others."""
    bytes_of = {ord(symbol): chr(byte) for byte, symbol in symbols.items()}
    leads = {chr(code).encode()[0] for code in range(ord(_FIRST), ord(_LAST) + 1, 64)}
    second = re.compile(f".[{''.join(symbols[byte] for byte in sorted(leads))}]", re.DOTALL)
    found = set()
    for token in filter(second.search, backend.get_vocab(with_added_tokens=False)):  # few are: the others begin no such character
        try:
            data = token.translate(bytes_of).encode("latin-1")
        except UnicodeEncodeError:  # holds a symbol of no byte, so no text has it
            continue
        starts = [at for at, byte in enumerate(data) if byte & 0xC0 != 0x80]
        edges = [0, *starts, len(data)] if starts[:1] != [0] else [*starts, len(data)]
        found |= {(data[a:b], data[b:c]) for a, b, c in zip(edges, edges[1:], edges[2:], strict=False)}
    return found


@cache
def _characters() -> tuple[dict[bytes, str], dict[bytes, str]]:
    """Last bytes → the Chinese characters that end in them, first bytes → those that begin with them."""
    ends: dict[bytes, str] = {}
    beginnings: dict[bytes, str] = {}
    for code in range(ord(_FIRST), ord(_LAST) + 1):
        data = chr(code).encode()
        for count in (1, 2, 3):
            ends[data[-count:]] = ends.get(data[-count:], "") + chr(code)
            beginnings[data[:count]] = beginnings.get(data[:count], "") + chr(code)
    return ends, beginnings
