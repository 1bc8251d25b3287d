"""What reading, cleaning and chunking cost, each stage and all of them together, on one core."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from kmem.bench.pipeline.config import PipelineConfig
from kmem.bench.pipeline.texts import megabytes
from kmem.document import Chunk, Document
from kmem.kbuild.chunker import Chunker
from kmem.kbuild.dedup.config import DedupConfig
from kmem.kbuild.dedup.duplicates import find_duplicates
from kmem.kbuild.dedup.signatures import Signatures, Signer, sign
from kmem.kbuild.sources import documents
from kmem.kbuild.tokens.meter import Tokenizer

DEDUP = DedupConfig()
PLACES = 3


def measure_stages(several: Sequence[Document], tokenizer: Tokenizer, config: PipelineConfig, folder: Path) -> dict[str, Any]:
    """`mb_per_s_core`: megabytes of text over processor seconds, by stage; `clean_mb_per_s_core`: through reading, MinHash and the
    chunker, one document after another as a partition is worked on. Medians of `config.rounds`.

    The documents are written into `folder` as JSON lines first.
    """
    sample = first(several, config.megabytes)
    file = write_lines(sample, folder / "sample.jsonl")
    signatures = signed(sample)
    chunks = list(Chunker(tokenizer).run(sample))
    of_chunks = signed(chunks)
    stages: dict[str, Callable[[], object]] = {
        "read": lambda: list(documents([file], Counter())),
        "minhash": lambda: signed(sample),
        "deduplicate": lambda: find_duplicates([lambda: signatures], DEDUP),
        "chunk": lambda: list(Chunker(tokenizer).run(sample)),
        "minhash of chunks": lambda: signed(chunks),
        "deduplicate chunks": lambda: find_duplicates([lambda: of_chunks], DEDUP),
        "together": lambda: list(cleaned(file, tokenizer)),
    }
    size = megabytes(sample)
    rates: dict[str, list[float]] = {name: [] for name in stages}
    for _ in range(config.rounds):
        for name, stage in stages.items():
            rates[name].append(size / max(processor_seconds(stage), 1e-9))
    medians = {name: round(median(own), PLACES) for name, own in rates.items()}
    return {"clean_mb_per_s_core": medians.pop("together"), "mb_per_s_core": medians, "sample_mb": round(size, PLACES)}


def cleaned(file: str, tokenizer: Tokenizer) -> Iterator[Chunk]:
    """The chunks of a partition, its documents signed on the way."""
    signer = Signer(DEDUP)
    yield from Chunker(tokenizer).run(signing(documents([file], Counter()), signer))
    signer.signatures()


def signing(several: Iterable[Document], signer: Signer) -> Iterator[Document]:
    """The same documents, each signed."""
    for document in several:
        signer.add(document.text, document.title)
        yield document


def signed(several: Sequence[Document] | Sequence[Chunk]) -> Signatures:
    return sign((one.text for one in several), DEDUP, (one.title for one in several))


def first(several: Sequence[Document], size: float) -> list[Document]:
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


def processor_seconds(work: Callable[[], object]) -> float:
    """Of all threads: what other processes take meanwhile does not count."""
    began = time.process_time()
    work()
    return time.process_time() - began
