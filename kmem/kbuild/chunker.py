"""Documents → chunks that fill the model's reference span: at most 128 of its own tokens, title included."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol

from kmem.document import Chunk, Document
from kmem.errors import ConfigError, UnsupportedModelError
from kmem.identity import content_id
from kmem.kbuild.cuts import cut
from kmem.profile import SPAN_TOKENS

_MIN_TOKENS = 8
_BLOCK_CHARACTERS = 4096


class Tokenizer(Protocol):
    """What the chunker needs of a transformers tokenizer: ids, and the characters each of them covers."""

    def __call__(self, text: str, *, add_special_tokens: bool, return_offsets_mapping: bool) -> Mapping[str, Any]: ...


@dataclass(frozen=True, kw_only=True)
class ChunkerConfig:
    """`max_tokens` bounds a chunk's reference. A title may take a quarter of it; a longer one loses its last words."""

    max_tokens: int = SPAN_TOKENS

    def __post_init__(self) -> None:
        if self.max_tokens < _MIN_TOKENS:
            raise ConfigError(f"max_tokens is {self.max_tokens}, too few for a title and a word: give at least {_MIN_TOKENS}.")


class Chunker:
    """Cuts documents where paragraphs, sentences or words end.

    The chunks of a document hold each of its non-whitespace characters once, in order; a chunk neither begins nor ends with
    whitespace, and `chunk.tokens` is what the tokenizer gives for `chunk.reference` alone, without special tokens.
    """

    def __init__(self, tokenizer: Tokenizer, config: ChunkerConfig | None = None) -> None:
        self.tokenizer = tokenizer
        self.config = config or ChunkerConfig()
        try:
            self._ends("a")
        except (NotImplementedError, KeyError) as error:
            name = type(tokenizer).__name__
            raise UnsupportedModelError(f"{name} gives no character offsets: load the fast tokenizer of this model.") from error

    def run(self, documents: Iterable[Document], counts: Counter[str] | None = None) -> Iterator[Chunk]:
        """The chunks of all documents, in order; `counts` receives `chunks`, `tokens`, and every drop by reason."""
        counts = Counter() if counts is None else counts
        seen: set[int] = set()
        for document in documents:
            for chunk in self._chunks(document, counts):
                if chunk.id in seen:
                    counts["dropped: duplicate id"] += 1
                elif not chunk.tokens:  # characters that the tokenizer ignores
                    counts["dropped: no tokens"] += 1
                else:
                    seen.add(chunk.id)
                    counts["chunks"] += 1
                    counts["tokens"] += chunk.tokens
                    yield chunk

    def _chunks(self, document: Document, counts: Counter[str]) -> Iterator[Chunk]:
        title = self._title(document.title)
        if len(title) < len(" ".join(document.title.split())):
            counts["shortened: title"] += 1
        prefix = f"{title}: " if title else ""
        source, text = document.source, document.text
        document_id = content_id(source, text)
        for start, end, tokens in self._spans(text, prefix):
            piece = text[start:end]
            yield Chunk(
                id=content_id(source, start, end, prefix + piece),
                document_id=document_id,
                source=source,
                title=title,
                text=piece,
                start=start,
                end=end,
                tokens=tokens,
            )

    def _spans(self, text: str, prefix: str) -> Iterator[tuple[int, int, int]]:
        """(start, end, tokens of prefix and slice) of every chunk."""
        ends = self._ends(text)
        room = max(1, self.config.max_tokens - self._count(prefix))
        start = _skip_whitespace(text, 0)
        while start < len(text):
            end, tokens = self._fit(text, start, prefix, ends, room)
            yield start, end, tokens
            start = _skip_whitespace(text, end)

    def _fit(self, text: str, start: int, prefix: str, ends: list[int], room: int) -> tuple[int, int]:
        """The end of the chunk that begins at `start`, and its tokens.

        A slice tokenised alone may have more tokens than inside the document, so each candidate is counted and the window shrunk
        by the excess; a window of one character can't shrink.
        """
        first = bisect_right(ends, start)
        room = min(room, len(ends) - first)
        window = len(text) if first + room >= len(ends) else ends[first + room - 1]
        while True:
            stop = window if window == len(text) else cut(text, start, window)
            end = start + len(text[start:stop].rstrip())
            tokens = self._count(prefix + text[start:end])
            excess = tokens - self.config.max_tokens
            if excess <= 0:
                return end, tokens
            if end - start == 1:
                raise ConfigError(
                    f"max_tokens is {self.config.max_tokens}, but the one character {text[start]!r} after the title "
                    f"{prefix!r} takes {tokens} tokens: raise max_tokens."
                )
            room -= excess
            # Always less than before, also where the document's tokens say nothing about the slice's.
            window = min(end - 1, ends[first + room - 1]) if room > 0 else start + (end - start) // 2
            window = max(window, start + 1)

    def _title(self, title: str) -> str:
        """The title, cut after a word if it can be, so that title and colon take at most a quarter of the tokens; at worst ""."""
        whole = " ".join(title.split())
        limit = self.config.max_tokens // 4
        if self._count(f"{whole}: ") <= limit:
            return whole
        ends = self._ends(whole)
        for kept in range(min(limit, len(ends)), 0, -1):
            start = whole[: ends[kept - 1]]
            shorter = start.rpartition(" ")[0] or start.strip()
            if self._count(f"{shorter}: ") <= limit:
                return shorter
        return ""

    def _count(self, text: str) -> int:
        return len(self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["input_ids"])

    def _ends(self, text: str) -> list[int]:
        """Where each token of the text ends, ascending.

        Tokenised by blocks: a window need not be exact, since every chunk is counted, and no tokenizer is fed a whole book.
        """
        ends: list[int] = []
        for block in range(0, len(text), _BLOCK_CHARACTERS):
            piece = text[block : block + _BLOCK_CHARACTERS]
            offsets = self.tokenizer(piece, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
            ends += [block + end for _, end in offsets]
        return list(accumulate(ends, max))


def _skip_whitespace(text: str, start: int) -> int:
    while start < len(text) and text[start].isspace():
        start += 1
    return start
