"""How a chunker asks for tokens: how many a text has, and where those of a document end."""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any, Protocol

from kmem.errors import UnsupportedModelError

BLOCK_CHARACTERS = 4096
"""A document's tokens are located block by block, so no tokenizer is fed a whole book; every chunk is counted by itself."""


class Measured(Protocol):
    """A document and the prefix of its chunks. Tokens are numbered over the document's blocks, each block tokenised alone."""

    total: int

    def before(self, start: int) -> int:
        """How many tokens end at or before the character `start`."""
        ...

    def end(self, token: int) -> int:
        """The character where this token ends, or a later one where an earlier token ends later."""
        ...

    def count(self, start: int, end: int) -> int:
        """The tokens of `prefix + text[start:end]` tokenised alone. Neither end of the slice is whitespace, the slice not empty."""
        ...


class Meter(Protocol):
    """Counts what a tokenizer gives without special tokens."""

    def count(self, text: str) -> int: ...

    def measure(self, text: str, prefix: str) -> Measured:
        """`prefix` is empty or ends with a colon and a space."""
        ...


class Tokenizer(Protocol):
    """What the chunker needs of a transformers tokenizer: ids, and the characters each of them covers."""

    def __call__(self, text: str, *, add_special_tokens: bool, return_offsets_mapping: bool) -> Mapping[str, Any]: ...


class MeasuredByEnds:
    """A document whose every token end is known, and whose slices are tokenised to be counted."""

    def __init__(self, text: str, prefix: str, ends: Callable[[str], Sequence[int]], count: Callable[[str], int]) -> None:
        self._text, self._prefix, self._count = text, prefix, count
        found: list[int] = []
        for block in range(0, len(text), BLOCK_CHARACTERS):
            found += [block + end for end in ends(text[block : block + BLOCK_CHARACTERS])]
        self._ends = list(accumulate(found, max))
        self.total = len(found)

    def before(self, start: int) -> int:
        return bisect_right(self._ends, start)

    def end(self, token: int) -> int:
        return self._ends[token]

    def count(self, start: int, end: int) -> int:
        return self._count(self._prefix + self._text[start:end])


class NaiveMeter:
    """Any tokenizer, by calling it as transformers wraps it: the reference. Raises UnsupportedModelError if it gives no offsets."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        try:
            self._ends("a")
        except (NotImplementedError, KeyError) as error:
            name = type(tokenizer).__name__
            raise UnsupportedModelError(f"{name} gives no character offsets: load the fast tokenizer of this model.") from error

    def count(self, text: str) -> int:
        return len(self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["input_ids"])

    def measure(self, text: str, prefix: str) -> Measured:
        return MeasuredByEnds(text, prefix, self._ends, self.count)

    def _ends(self, text: str) -> list[int]:
        offsets = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        return [end for _, end in offsets]
