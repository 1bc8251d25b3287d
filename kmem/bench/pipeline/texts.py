"""Real documents of several corpora, mixed."""

import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from kmem.bench.pipeline.config import PipelineConfig
from kmem.document import Document
from kmem.kbuild.chunker import Chunker
from kmem.kbuild.sources import documents
from kmem.kbuild.tokens import Tokenizer


def mixed(config: PipelineConfig) -> list[Document]:
    """All documents of the corpora in an order drawn by the seed; every second one without its title."""
    found = list(documents(config.corpora, Counter()))
    random.Random(config.seed).shuffle(found)
    return [replace(document, title="") if number % 2 else document for number, document in enumerate(found)]


def megabytes(several: Iterable[Document]) -> float:
    """UTF-8 bytes of the texts, in millions."""
    return sum(len(document.text.encode()) for document in several) / 1e6


def chunks_per_mb(several: Sequence[Document], tokenizer: Tokenizer) -> float:
    """Chunks that a megabyte of these documents has, by the first megabyte."""
    sample = first(several, 1.0)
    return sum(1 for _ in Chunker(tokenizer).run(sample)) / megabytes(sample)


def first(several: Iterable[Document], size: float) -> list[Document]:
    """The first of them, up to so many megabytes, at least one."""
    taken: list[Document] = []
    total = 0.0
    for document in several:
        if total >= size:
            break
        taken.append(document)
        total += megabytes([document])
    return taken


def write_lines(several: Iterable[Document], path: Path) -> str:
    """JSON lines of title and text → the path, as a source."""
    with path.open("w", encoding="utf-8") as file:
        for document in several:
            file.write(json.dumps({"title": document.title, "text": document.text}, ensure_ascii=False) + "\n")
    return str(path)
