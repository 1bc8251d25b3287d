"""What a chunk costs in small and in large corpora: it should not depend on how many there are."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import count, islice
from statistics import mean
from typing import Any

from kmem.bench.pipeline.config import PipelineConfig
from kmem.bench.pipeline.stages import DEDUP, RULES, processor_seconds, signed, signing
from kmem.document import Document
from kmem.kbuild.chunker import Chunker
from kmem.kbuild.dedup.duplicates import find_duplicates
from kmem.kbuild.dedup.signatures import Signer
from kmem.kbuild.rules.run import Rules
from kmem.kbuild.tokens import Tokenizer
from kmem.progress import Progress

PLACES = 4


def measure_growth(several: Sequence[Document], tokenizer: Tokenizer, config: PipelineConfig, progress: Progress) -> dict[str, Any]:
    """`cost_growth`: processor seconds a chunk at the largest of `config.chunks` over those at the size before it; `ms_per_chunk` by size.

    What is timed: rules, MinHash, the chunker, MinHash of the chunks, and deduplication of both, all in one process.
    """
    seconds: dict[int, list[float]] = {size: [] for size in config.chunks}
    # The smaller sizes before and after the largest: a machine that slows down meanwhile does so for both.
    turns = [*config.chunks, *reversed(config.chunks[:-1])]
    done = 0
    progress("grow", done, sum(turns))
    for size in turns:
        seconds[size].append(processor_seconds(partial(_chunks, several, tokenizer, size)))
        done += size
        progress("grow", done, sum(turns))
    costs = {size: mean(own) / size for size, own in seconds.items()}
    before, largest = config.chunks[-2:]
    return {
        "cost_growth": round(costs[largest] / costs[before], PLACES),
        "ms_per_chunk": {str(size): round(1000 * cost, PLACES) for size, cost in costs.items()},
    }


def _chunks(several: Sequence[Document], tokenizer: Tokenizer, size: int) -> None:
    signer = Signer(DEDUP)
    chunks = list(islice(Chunker(tokenizer).run(signing(Rules(RULES).run(endless(several)), signer)), size))
    of_documents, of_chunks = signer.signatures(), signed(chunks)
    for signatures in (of_documents, of_chunks):
        find_duplicates([lambda signatures=signatures: signatures], DEDUP)  # type: ignore[misc]


def endless(several: Sequence[Document]) -> Iterator[Document]:
    """The documents, then again and again, their words in another order each time: texts of the same lengths that are no duplicates."""
    yield from several
    for turn in count(1):
        draw = random.Random(turn)
        for document in several:
            parts = document.text.split(" ") if " " in document.text else list(document.text)
            draw.shuffle(parts)
            joined = (" " if " " in document.text else "").join(parts)
            yield replace(document, source=f"{document.source}, turn {turn}", text=joined)
