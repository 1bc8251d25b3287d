"""Documents → chunks that fill the model's reference span: at most 128 of its own tokens, title included."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kmem.document import Chunk, Document
from kmem.errors import ConfigError
from kmem.identity import content_id
from kmem.kbuild.cuts import beginning, cut, skip_whitespace
from kmem.kbuild.tokens import Tokenizer, meter_for
from kmem.kbuild.tokens.meter import Measured, Meter
from kmem.profile import SPAN_TOKENS

_MIN_TOKENS = 8


@dataclass(frozen=True, kw_only=True)
class ChunkerConfig:
    """What a chunk may hold.

    max_tokens: of its reference. A title may take a quarter of it; a longer one loses its last words.
    overlap_tokens: how many of the tokens at a chunk's end the next chunk may repeat, as whole sentences or else whole words.
    title: whether a chunk's reference begins with its document's title.
    """

    max_tokens: int = SPAN_TOKENS
    overlap_tokens: int = 0
    title: bool = True

    def __post_init__(self) -> None:
        if self.max_tokens < _MIN_TOKENS:
            raise ConfigError(f"max_tokens is {self.max_tokens}, too few for a title and a word: give at least {_MIN_TOKENS}.")
        if self.max_tokens > SPAN_TOKENS:
            raise ConfigError(f"max_tokens is {self.max_tokens}, but a memory holds {SPAN_TOKENS} at most: give no more.")
        if self.overlap_tokens < 0 or 2 * self.overlap_tokens >= self.max_tokens:
            most = (self.max_tokens - 1) // 2
            raise ConfigError(
                f"overlap_tokens is {self.overlap_tokens}, but must be from 0 to {most}, less than half of max_tokens ({self.max_tokens})."
            )


class Chunker:
    """Cuts documents where paragraphs, sentences or words end.

    The chunks of a document hold each of its non-whitespace characters, in order, and once unless an overlap is asked for; a chunk
    neither begins nor ends with whitespace, and `chunk.tokens` is what the tokenizer gives for `chunk.reference` alone, without
    special tokens. `meter` says how tokens are counted, by default the fastest way known to be exact for this tokenizer.
    """

    def __init__(self, tokenizer: Tokenizer, config: ChunkerConfig | None = None, *, meter: Meter | None = None) -> None:
        self.config = config or ChunkerConfig()
        self._meter = meter or meter_for(tokenizer)
        self._untitled = "", self._meter.count("")

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
        title, taken = self._title(document.title) if self.config.title else self._untitled
        if self.config.title and len(title) < len(" ".join(document.title.split())):
            counts["shortened: title"] += 1
        prefix = f"{title}: " if title else ""
        source, text = document.source, document.text
        document_id = content_id(source, text)
        for start, end, tokens in self._spans(text, prefix, taken):
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

    def _spans(self, text: str, prefix: str, taken: int) -> Iterator[tuple[int, int, int]]:
        """(start, end, tokens of prefix and slice) of every chunk. taken: the tokens of the prefix."""
        measured = self._meter.measure(text, prefix)
        room = max(1, self.config.max_tokens - taken)
        start = fresh = skip_whitespace(text, 0)
        while fresh < len(text):
            fitted = self._fit(text, start, fresh, prefix, measured, room)
            if fitted is None:  # no room for anything new after what is repeated
                start = fresh
                continue
            end, tokens = fitted
            yield start, end, tokens
            fresh = skip_whitespace(text, end)
            start = self._repeated(text, start, end, measured) if self.config.overlap_tokens else fresh

    def _fit(self, text: str, start: int, fresh: int, prefix: str, measured: Measured, room: int) -> tuple[int, int] | None:
        """The end of the chunk that begins at `start`, and its tokens; None if it would end before `fresh`, where new text begins.

        A slice tokenised alone may have more tokens than inside the document, so each candidate is counted and the window shrunk
        by the excess; a window of one character can't shrink.
        """
        first = measured.before(start)
        room = min(room, measured.total - first)
        window = len(text) if first + room >= measured.total else measured.end(first + room - 1)
        while window > fresh or start == fresh:
            stop = window if window == len(text) else cut(text, start, window, fresh)
            end = start + len(text[start:stop].rstrip())
            tokens = measured.count(start, end)
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
            window = min(end - 1, measured.end(first + room - 1)) if room > 0 else start + (end - start) // 2
            window = max(window, start + 1)
        return None

    def _repeated(self, text: str, start: int, end: int, measured: Measured) -> int:
        """Where the next chunk begins: with the last sentences or words of the one from `start` to `end` that the overlap has room for."""
        first = measured.before(end) - self.config.overlap_tokens
        place = max(start + 1, measured.end(first - 1) if first > 0 else 0)
        while (place := beginning(text, place, end)) < end:
            if self._meter.count(text[place:end]) <= self.config.overlap_tokens:
                return place
            place += 1
        return skip_whitespace(text, end)

    def _title(self, title: str) -> tuple[str, int]:
        """The title, cut after a word if it can be, so that title and colon take at most a quarter of the tokens, and how many they take;
        at worst "".
        """
        whole = " ".join(title.split())
        if not whole:
            return self._untitled
        limit = self.config.max_tokens // 4
        if (taken := self._meter.count(f"{whole}: ")) <= limit:
            return whole, taken
        measured = self._meter.measure(whole, "")
        for kept in range(min(limit, measured.total), 0, -1):
            start = whole[: measured.end(kept - 1)]
            shorter = start.rpartition(" ")[0] or start.strip()
            if (taken := self._meter.count(f"{shorter}: ")) <= limit:
                return (shorter, taken) if shorter else self._untitled
        return self._untitled
