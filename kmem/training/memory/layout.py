"""Which chunk of a training sequence reads which references (Memory³ §3.6)."""

from collections.abc import Sequence

import torch

from kmem.kernels.memory_attention.layout import Segments
from kmem.runtime.schedule import Ids


def readings(found: Sequence[Ids], *, before: int) -> list[Ids]:
    """What each chunk reads: what was found for it and for the `before` chunks in front of it, its own first, each reference once.

    found: references of each chunk, best first. The paper's layout is one reference a chunk and `before` 4.
    """
    return [
        tuple(dict.fromkeys(reference for near in reversed(found[max(0, chunk - before) : chunk + 1]) for reference in near))
        for chunk in range(len(found))
    ]


def chunked(reads: Sequence[Ids], tokens: int, *, chunk: int) -> tuple[tuple[int, int, Ids], ...]:
    """(first token, last + 1, references) of each chunk of a sequence that reads any; the last chunk may be short."""
    return tuple((start, min(start + chunk, tokens), ids) for start, ids in zip(range(0, tokens, chunk), reads, strict=True) if ids)


def segments_of(rows: Sequence[Sequence[tuple[int, int, Ids]]], place: dict[int, int]) -> Segments | None:
    """What the columns of a batch read, padded on the right, in the terms of the attention kernel; None where nobody reads anything.

    place: where each reference lies among the memories that were written.
    """
    spans = [(row, *span) for row, own in enumerate(rows) for span in own]
    if not spans:
        return None
    widest = max(len(ids) for *_, ids in spans)
    return Segments(
        row=tuple(row for row, *_ in spans),
        first=tuple(first for _, first, _, _ in spans),
        last=tuple(last for _, _, last, _ in spans),
        resident=torch.tensor([[*(place[reference] for reference in ids), *[-1] * (widest - len(ids))] for *_, ids in spans]),
    )
