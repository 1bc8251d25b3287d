"""The two long stages of an append, each resumable shard by shard, and what a dry run foretells of them."""

import time
from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np

from kmem.document import Chunk
from kmem.encoder.encode import Encoder
from kmem.kstore.generation import GenerationWriter
from kmem.kstore.index.retriever import Retriever
from kmem.kstore.manifest import Shard
from kmem.pipelines.receipts import Receipts
from kmem.pipelines.report import BuildReport
from kmem.progress import Progress


def encode_shards(
    shards: Sequence[Sequence[Chunk]], encoder: Encoder, writer: GenerationWriter, receipts: Receipts, progress: Progress
) -> tuple[list[Shard], int]:
    """Write the shards that have no receipt yet → all receipts, and how many were there already.

    Where `writer` leaves records to be written on demand, nothing is encoded.
    """
    total, done, reused = sum(map(len, shards)), 0, 0
    finished = []
    progress("encode", 0, total)
    for index, chunks in enumerate(shards):
        shard = receipts.finished(index)
        if shard is None or not writer.would_name(shard):
            base = done
            if writer.on_demand:
                shard = writer.write_texts(index, chunks)
            else:
                memories = encoder.encode(
                    [chunk.reference for chunk in chunks],
                    [chunk.id for chunk in chunks],
                    progress=lambda encoded, base=base: progress("encode", base + encoded, total),  # type: ignore[misc]
                )
                shard = writer.write_shard(index, memories, chunks)
            receipts.finish(index, shard)
        else:
            reused += 1
        done += len(chunks)
        finished.append(shard)
        progress("encode", done, total)
    return finished, reused


def embed_shards(shards: Sequence[Sequence[Chunk]], embedder: Retriever, receipts: Receipts, progress: Progress) -> np.ndarray:
    """[N, dim] embeddings of all references, shard by shard."""
    total, done = sum(map(len, shards)), 0
    parts = []

    def more(count: int) -> None:
        nonlocal done
        done += count
        progress("embed", done, total)

    more(0)
    for index, chunks in enumerate(shards):
        vectors = receipts.vectors(index, rows=len(chunks))
        if vectors is None:
            vectors = embedder.embed([chunk.reference for chunk in chunks], progress=more)
            receipts.save_vectors(index, vectors)
        else:
            more(len(chunks))
        parts.append(vectors)
    return np.concatenate(parts)


def estimate(
    report: BuildReport,
    encoder: Encoder,
    embedder: Retriever,
    *,
    to_encode: int,
    to_embed: int,
    sample: Sequence[Chunk],
) -> None:
    """Encode and embed one batch, `sample` (see `spread`); extrapolate to so many tokens still to be done, into `report.seconds`."""
    texts = [chunk.reference for chunk in sample]
    sampled = sum(chunk.tokens for chunk in sample)
    for name, work, rest in (("encode", encoder.encode, to_encode), ("embed", embedder.embed, to_embed)):
        if not rest:
            report.seconds[name] = 0.0
            continue
        work(texts[:1])  # warm up: weights are read from disk on the first pass
        began = time.perf_counter()
        work(texts)
        report.seconds[name] = (time.perf_counter() - began) * rest / sampled


def spread(chunks: Iterable[Chunk], count: int, batch: int) -> list[Chunk]:
    """At most `batch` of `count` chunks, as far apart as they can be; of the others none is kept."""
    return list(islice(chunks, 0, None, max(1, count // batch)))[:batch]
