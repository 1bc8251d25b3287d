"""What the Triton programs of one batch are told: which rows of the score matrix are whose, laid out once for every layer and step."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from kmem.kernels.memory_attention.layout import Segments

FIELDS = 5
"""Numbers of a work item."""

Run = tuple[int, int, int, int]
"""row, first column, last column + 1, segment or −1."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """work: [W, 5] int32 row, first, last, segment (−1: none) and part of each block of rows; a segment has at most `parts`.

    A row is a column and a query head of the group, the heads of a column side by side, so a run has (last − first) · G of them; part p
    has those from p · block_rows on. resident [C, R] int64 and owned [C] int32 (how many are not −1) are the segments'.
    """

    work: Tensor
    parts: int
    resident: Tensor
    owned: Tensor


_PLANS: WeakKeyDictionary[Segments, dict[tuple[int | torch.device, ...], Plan]] = WeakKeyDictionary()


def plan(segments: Segments, batch: int, length: int, group: int, block_rows: int, device: torch.device) -> Plan:
    """The plan of `batch` rows of `length` columns, the same object again for as long as the segments live."""
    known = _PLANS.setdefault(segments, {})
    wanted = (batch, length, group, block_rows, device)
    if wanted not in known:
        known[wanted] = _plan(segments, batch, length, group, block_rows, device)
    return known[wanted]


def longest_run(segments: Segments, length: int) -> int:
    """Columns of the longest run that there can be; a batch without segments is one run a row."""
    return max((last - first for first, last in zip(segments.first, segments.last, strict=True)), default=length)


@lru_cache(maxsize=256)
def head_starts(budget: tuple[int, ...], device: torch.device) -> Tensor:
    """[H + 1] int32 as in LayerMemory.head_starts."""
    return torch.tensor((0, *accumulate(budget)), dtype=torch.int32, device=device)


def runs(segments: Segments, batch: int, length: int) -> list[Run]:
    """Every row's columns in order: segments, and between them what belongs to none."""
    own = sorted(zip(segments.row, segments.first, segments.last, range(len(segments)), strict=True))
    ends = sorted([*own, *((row, length, length, -1) for row in range(batch))], key=lambda run: run[:2])
    found: list[Run] = []
    cursor = 0
    for row, first, last, segment in ends:
        if cursor < first:
            found.append((row, cursor, first, -1))
        if first < last:
            found.append((row, first, last, segment))
        cursor = 0 if segment < 0 else last
    return found


def _plan(segments: Segments, batch: int, length: int, group: int, block_rows: int, device: torch.device) -> Plan:
    work = [
        (row, first, last, segment, part)
        for row, first, last, segment in runs(segments, batch, length)
        for part in range(-(-(last - first) * group // block_rows))
    ]
    work.sort(key=lambda item: -item[1])  # late columns see the most: the longest programs start first
    resident = segments.resident.to(device=device, dtype=torch.int64).contiguous()
    return Plan(
        work=torch.tensor(work, dtype=torch.int32, device=device).view(-1, FIELDS),
        parts=1 + max((part for *_, segment, part in work if segment >= 0), default=0),
        resident=resident,
        owned=(resident >= 0).sum(1, dtype=torch.int32),
    )
