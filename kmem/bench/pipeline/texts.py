"""Real documents of several corpora, mixed."""

import random
from collections import Counter
from dataclasses import replace

from kmem.bench.pipeline.config import PipelineConfig
from kmem.document import Document
from kmem.kbuild.sources import documents


def mixed(config: PipelineConfig) -> list[Document]:
    """All documents of the corpora in an order drawn by the seed; every second one without its title."""
    found = list(documents(config.corpora, Counter()))
    random.Random(config.seed).shuffle(found)
    return [replace(document, title="") if number % 2 else document for number, document in enumerate(found)]


def megabytes(several: list[Document]) -> float:
    """UTF-8 bytes of the texts, in millions."""
    return sum(len(document.text.encode()) for document in several) / 1e6
