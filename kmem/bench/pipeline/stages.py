"""What reading, cleaning and chunking cost, each stage and all of them together, on one core."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from statistics import median
from typing import Any

from kmem.bench.pipeline.config import PipelineConfig
from kmem.bench.pipeline.texts import first, megabytes, write_lines
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
_WARM = 50


def measure_stages(several: Sequence[Document], tokenizer: Tokenizer, config: PipelineConfig, folder: Path) -> dict[str, Any]:
    """Megabytes of text over processor seconds on one core: `clean_mb_per_s_core` through reading, rules, MinHash of documents and the
    chunker, as a build works on a partition: all of it read, judged and signed, then all of it cut;
    `clean_with_chunk_dedup_mb_per_s_core` through MinHash of the chunks, too; `mb_per_s_core` by stage; `clean_mb_per_s_core_by_source` as
    the first, for the documents of each file.

    Medians of `config.rounds` over the same text. A chunker starts each time knowing no word, as a worker's does, so the text must be long
    enough that most of its words have come before. What is compiled once and kept on disk, and what a worker makes once (its chunker with
    the tokenizer's tables), is made before. The documents are written into `folder` as JSON lines.
    """
    sample = first(several, config.megabytes)
    files = {"": write_lines(sample, folder / "all.jsonl")}
    groups = {"": sample, **by_source(sample)}
    files |= {name: write_lines(own, folder / f"{number}.jsonl") for number, (name, own) in enumerate(groups.items()) if name}
    sizes = {name: megabytes(own) for name, own in groups.items()}
    signed(list(cleaned(write_lines(sample[:_WARM], folder / "warm.jsonl"), Chunker(tokenizer))))
    rates: dict[str, list[float]] = {}
    together: dict[str, list[float]] = {}
    both = []
    for _ in range(config.rounds):
        seconds = {name: processor_seconds(stage) for name, stage in _stages(sample, files[""], tokenizer).items()}
        for name, spent in seconds.items():
            rates.setdefault(name, []).append(sizes[""] / max(spent, 1e-9))
        for name, file in files.items():
            chunker = Chunker(tokenizer)
            spent = processor_seconds(lambda file=file, chunker=chunker: deque(cleaned(file, chunker), maxlen=0))  # type: ignore[misc]
            together.setdefault(name, []).append(sizes[name] / max(spent, 1e-9))
        both.append(1 / (1 / together[""][-1] + 1 / rates["minhash of chunks"][-1]))
    return {
        "clean_mb_per_s_core": _median(together.pop("")),
        "clean_with_chunk_dedup_mb_per_s_core": _median(both),
        "clean_mb_per_s_core_by_source": {name: _median(own) for name, own in together.items()},
        "mb_per_s_core": {name: _median(own) for name, own in rates.items()},
        "sample_mb": round(sizes[""], PLACES),
    }


def _median(values: Sequence[float]) -> float:
    return round(median(values), PLACES)


def by_source(several: Sequence[Document]) -> dict[str, list[Document]]:
    """The documents of each file, by its name."""
    groups: dict[str, list[Document]] = {}
    for document in several:
        groups.setdefault(PurePosixPath(document.source.partition("#")[0]).name, []).append(document)
    return groups


def _stages(sample: Sequence[Document], file: str, tokenizer: Tokenizer) -> dict[str, Callable[[], object]]:
    chunker = Chunker(tokenizer)
    chunks: list[Chunk] = []
    signatures: list[Signatures] = []
    return {
        "read": lambda: deque(documents([file], Counter()), maxlen=0),
        "rules": lambda: deque(Rules(RULES).run(sample), maxlen=0),
        "rules for the web": lambda: deque(Rules(RulesConfig(preset=WEB)).run(sample), maxlen=0),
        "minhash": lambda: signatures.append(signed(sample)),
        "deduplicate": lambda: find_duplicates([lambda: signatures[0]], DEDUP),
        "chunk": lambda: chunks.extend(chunker.run(sample)),
        "minhash of chunks": lambda: signatures.append(signed(chunks)),
        "deduplicate chunks": lambda: find_duplicates([lambda: signatures[1]], DEDUP),
    }


def cleaned(file: str, chunker: Chunker) -> Iterator[Chunk]:
    """The chunks of a partition, once its documents are all judged and signed."""
    signer = Signer(DEDUP)
    several = list(signing(Rules(RULES).run(documents([file], Counter())), signer))
    signer.signatures()
    yield from chunker.run(several)


def signing(several: Iterable[Document], signer: Signer) -> Iterator[Document]:
    """The same documents, each signed."""
    for document in several:
        signer.add(document.text, document.title)
        yield document


def signed(several: Sequence[Document] | Sequence[Chunk]) -> Signatures:
    return sign((one.text for one in several), DEDUP, (one.title for one in several))


def processor_seconds(work: Callable[[], object]) -> float:
    """Of all threads: what other processes take meanwhile does not count."""
    began = time.process_time()
    work()
    return time.process_time() - began
