"""Copies planted among real documents: exact, with edited words, with paragraphs in another order."""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from kmem.bench.pipeline.config import EDITED, PARAGRAPH_WORDS, PLANT_WORDS, PipelineConfig
from kmem.document import Document
from kmem.errors import ConfigError
from kmem.words import WORD, words

_BREAK = re.compile(r"\s*\n[^\S\n]*\n\s*|\n(?=\S)")
"""An empty line, or a line break before text that is not indented: FOLDOC wraps and indents its paragraphs, the laws have one a line."""


@dataclass(frozen=True, kw_only=True)
class Planted:
    """`family` of each document: the number of the document that it is or was copied from. `kinds`: family → how its copy was made."""

    documents: list[Document]
    family: list[int]
    kinds: dict[int, str]


def plant(several: Sequence[Document], config: PipelineConfig) -> Planted:
    """`config.documents` documents, in an order drawn by the seed, so that a copy stands before what it copies as often as behind it.

    A document has one copy at most, which keeps its title. Raises ConfigError for corpora with too few documents to copy.
    """
    draw = random.Random(config.seed)
    copied = 3 * config.planted
    originals = list(several[: config.documents - copied])
    if len(originals) < config.documents - copied:
        raise ConfigError(
            f"The corpora have {len(originals)} documents, not {config.documents - copied}: name more, or ask for fewer documents."
        )
    vocabulary = [word for document in originals[::10] for word in words(document.text)]
    ways: dict[str, Callable[[Document], str | None]] = {
        "reordered": lambda document: reordered(document.text, draw),
        "edited": lambda document: edited(document.text, vocabulary, draw),
        "exact": lambda document: document.text,
    }
    together = [(document, number) for number, document in enumerate(originals)]
    kinds: dict[int, str] = {}
    for number in draw.sample(range(len(originals)), len(originals)):
        document = originals[number]
        if len(kinds) == copied or len(words(document.text)) < PLANT_WORDS:
            continue
        for kind, copy in ways.items():
            text = copy(document) if sum(other == kind for other in kinds.values()) < config.planted else None
            if text is not None:
                kinds[number] = kind
                together.append((replace(document, source=f"{document.source}, {kind}", text=text), number))
                break
    if len(kinds) < copied:
        raise ConfigError(f"Only {len(kinds)} of {len(originals)} documents are long enough to copy, not {copied}: plant fewer.")
    draw.shuffle(together)
    return Planted(documents=[document for document, _ in together], family=[family for _, family in together], kinds=kinds)


def edited(text: str, vocabulary: Sequence[str], draw: random.Random) -> str:
    """5% of the words, each another one of the vocabulary; a Chinese character is a word."""
    places = [found.span() for found in WORD.finditer(text)]
    for start, end in sorted(draw.sample(places, max(1, round(EDITED * len(places)))), reverse=True):
        text = text[:start] + draw.choice([word for word in draw.sample(vocabulary, 8) if word != text[start:end].casefold()]) + text[end:]
    return text


def reordered(text: str, draw: random.Random) -> str | None:
    """Its paragraphs in another order; None where it has one only, or where they are short."""
    paragraphs = [paragraph for paragraph in _BREAK.split(text) if paragraph.strip()]
    if len(set(paragraphs)) < 2 or len(words(text)) < PARAGRAPH_WORDS * len(paragraphs):
        return None
    order = paragraphs
    while order == paragraphs:
        order = draw.sample(paragraphs, len(paragraphs))
    return "\n\n".join(order)
