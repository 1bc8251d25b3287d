"""What the chunks of running text read, found once before training: near references that are not the text itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from kmem.kstore.index.retriever import Retriever
from kmem.leak.guard import LeakGuard
from kmem.progress import Progress, silent
from kmem.runtime.schedule import Ids
from kmem.training.memory.recipe import TextConfig

EMBEDDED = 256
"""Texts that are embedded between two reports."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """reads[s][c]: references found for chunk c of sequence s, best first, none for the first chunk in mode `shifted`.

    leaks: references that were near, but were the text itself.
    """

    reads: tuple[tuple[Ids, ...], ...]
    leaks: int


def find(
    sequences: Sequence[Sequence[int]],
    references: Sequence[Sequence[int]],
    tokenizer: PreTrainedTokenizerBase,
    embedder: Retriever,
    text: TextConfig,
    *,
    progress: Progress = silent,
) -> Found:
    """The `text.references` nearest references of each chunk, less those of which the whole sequence has more than `text.leak`."""
    stored = _embedded(embedder.embed, references, tokenizer, "embed references", progress)
    chunks = [tokens[at : at + text.chunk] for tokens in sequences for at in range(0, len(tokens), text.chunk)]
    queries = _embedded(embedder.embed_queries, chunks, tokenizer, "embed chunks", progress)
    guard, reads, leaks, at = LeakGuard(threshold=text.leak), [], 0, 0
    progress("retrieve", 0, len(sequences))
    for done, tokens in enumerate(sequences, 1):
        count = -(-len(tokens) // text.chunk)
        own: list[Ids] = []
        for row in np.argsort(-(queries[at : at + count] @ stored.T), axis=1, kind="stable"):
            kept, dropped = guard.nearest((references[place] for place in row), tokens, text.references)
            own.append(tuple(int(row[place]) for place in kept))
            leaks += dropped
        reads.append(tuple(own) if text.mode == "paper" else ((), *own[:-1]))
        at += count
        progress("retrieve", done, len(sequences))
    return Found(reads=tuple(reads), leaks=leaks)


def _embedded(
    embed: Callable[[Sequence[str]], NDArray[np.float32]],
    texts: Sequence[Sequence[int]],
    tokenizer: PreTrainedTokenizerBase,
    stage: str,
    progress: Progress,
) -> NDArray[np.float32]:
    parts = []
    progress(stage, 0, len(texts))
    for start in range(0, len(texts), EMBEDDED):
        part = texts[start : start + EMBEDDED]
        parts.append(embed([tokenizer.decode(tokens, skip_special_tokens=True) for tokens in part]))
        progress(stage, start + len(part), len(texts))
    found: NDArray[np.float32] = np.concatenate(parts)
    return found
