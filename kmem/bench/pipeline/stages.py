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
from kmem.kbuild.rules.config import RulesConfig
from kmem.kbuild.rules.rule import WEB
from kmem.kbuild.rules.run import Rules
from kmem.kbuild.sources import documents
from kmem.kbuild.tokens import Tokenizer

DEDUP, RULES = DedupConfig(), RulesConfig()
"""As a build has them."""
PLACES = 3


def measure_stages(several: Sequence[Document], tokenizer: Tokenizer, config: PipelineConfig, folder: Path) -> dict[str, Any]:
    """`mb_per_s_core`: megabytes of text over processor seconds, by stage; `clean_mb_per_s_core`: through reading, rules, MinHash and
    the chunker, one document after another as a partition is worked on. Medians of `config.rounds`, each on other documents.

    Two chunkers go through all rounds, one for each of the two figures, and through one part before that is not timed: a worker's chunker
    knows the words of the partitions before, and none of the next. The documents are written into `folder` as JSON lines.
    """
    alone, among = Chunker(tokenizer), Chunker(tokenizer)
    rates: dict[str, list[float]] = {}
    sizes = []
    start = 0
    for turn in range(config.rounds + 1):
        sample = first(several[start:] or several, config.megabytes)
        start += len(sample)
        size = megabytes(sample)
        stages = _stages(sample, write_lines(sample, folder / f"{turn}.jsonl"), alone, among)
        seconds = {name: processor_seconds(stage) for name, stage in stages.items()}
        if turn:
            sizes.append(size)
            for name, spent in seconds.items():
                rates.setdefault(name, []).append(size / max(spent, 1e-9))
    medians = {name: round(median(own), PLACES) for name, own in rates.items()}
    return {"clean_mb_per_s_core": medians.pop("together"), "mb_per_s_core": medians, "sample_mb": round(median(sizes), PLACES)}


def _stages(sample: Sequence[Document], file: str, alone: Chunker, among: Chunker) -> dict[str, Callable[[], object]]:
    chunks: list[Chunk] = []
    signatures: list[Signatures] = []
    return {
        "read": lambda: list(documents([file], Counter())),
        "rules": lambda: list(Rules(RULES).run(sample)),
        "rules for the web": lambda: list(Rules(RulesConfig(preset=WEB)).run(sample)),
        "minhash": lambda: signatures.append(signed(sample)),
        "deduplicate": lambda: find_duplicates([lambda: signatures[0]], DEDUP),
        "chunk": lambda: chunks.extend(alone.run(sample)),
        "minhash of chunks": lambda: signatures.append(signed(chunks)),
        "deduplicate chunks": lambda: find_duplicates([lambda: signatures[1]], DEDUP),
        "together": lambda: list(cleaned(file, among)),
    }


def cleaned(file: str, chunker: Chunker) -> Iterator[Chunk]:
    """The chunks of a partition, its documents judged and signed on the way."""
    signer = Signer(DEDUP)
    yield from chunker.run(signing(Rules(RULES).run(documents([file], Counter())), signer))
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
