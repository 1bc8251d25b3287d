"""The two long stages of a build, each resumable shard by shard, and what a dry run foretells of them."""

import time
from collections.abc import Iterable, Sequence

import numpy as np

from kmem.encoder.encode import Encoder
from kmem.kbuild.document import Chunk
from kmem.kstore.index.embed import TextEmbedder
from kmem.kstore.manifest import Shard
from kmem.kstore.writer import BankWriter
from kmem.pipelines.progress import Progress
from kmem.pipelines.receipts import Receipts
from kmem.pipelines.report import BuildReport

CHUNKS_A_REPORT = 64


def cut(chunks: Iterable[Chunk], limit: int, progress: Progress) -> list[Chunk]:
    """All chunks; `limit` is how many there can be, 0 when nobody knows."""
    kept: list[Chunk] = []
    progress("chunk", 0, limit)
    for chunk in chunks:
        kept.append(chunk)
        if len(kept) % CHUNKS_A_REPORT == 0:
            progress("chunk", len(kept), limit)
    progress("chunk", len(kept), len(kept))
    return kept


def encode_shards(
    shards: Sequence[Sequence[Chunk]], encoder: Encoder, writer: BankWriter, receipts: Receipts, progress: Progress
) -> tuple[list[Shard], int]:
    """Write the shards that have no receipt yet → all receipts, and how many were there already."""
    total, done, reused = sum(map(len, shards)), 0, 0
    finished = []
    progress("encode", 0, total)
    for index, chunks in enumerate(shards):
        shard = receipts.finished(index)
        if shard is None:
            base = done
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


def embed_shards(shards: Sequence[Sequence[Chunk]], embedder: TextEmbedder, receipts: Receipts, progress: Progress) -> np.ndarray:
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


def estimate(report: BuildReport, encoder: Encoder, embedder: TextEmbedder, chunks: Sequence[Chunk], missing: Sequence[Chunk]) -> None:
    """Encode and embed one batch spread over the corpus; extrapolate by tokens into `report.seconds`.

    `missing` are the chunks that are still to be encoded; all are embedded.
    """
    sample = list(chunks[:: max(1, len(chunks) // encoder.config.batch_size)])[: encoder.config.batch_size]
    texts = [chunk.reference for chunk in sample]
    sampled = sum(chunk.tokens for chunk in sample)
    for name, work, whole in (("encode", encoder.encode, missing), ("embed", embedder.embed, chunks)):
        work(texts[:1])  # warm up: weights are read from disk on the first pass
        began = time.perf_counter()
        work(texts)
        report.seconds[name] = (time.perf_counter() - began) * sum(chunk.tokens for chunk in whole) / sampled
