"""The two records that flow from sources to a bank: a document as a reader yields it, and a chunk cut out of it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A text with its origin. `source` is a URI that finds it again (`file.jsonl#3`, `foldoc.index#hash table`)."""

    source: str
    text: str
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """`text` is exactly `document.text[start:end]`; `tokens` counts the model tokens of `reference`."""

    id: int
    document_id: int
    source: str
    title: str
    text: str
    start: int
    end: int
    tokens: int

    @property
    def reference(self) -> str:
        """The text the model encodes: the title, when there is one, tells what the passage is about."""
        return referred(self.title, self.text)


def referred(title: str, text: str) -> str:
    """The `reference` of a chunk with this title and text."""
    return f"{title}: {text}" if title else text
