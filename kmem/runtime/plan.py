"""What one forward pass reads: each run of columns with its span's memories, and the attention they got."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from kmem.kernels.memory_attention import LayerMemory, Prepared, Segments, prepare, prepare_joining
from kmem.kernels.memory_attention.dense import Merging
from kmem.runtime.pool import Pool
from kmem.runtime.schedule import Ids, Span

FEW_READINGS = 64
"""Readings of a memory by a segment up to which a prompt's layers are laid out together: at 180 KiB a memory, 23 MiB in float32."""
NOTED = 1024
"""Layers' masses that wait to be added up."""


Laid = TypeVar("Laid")


@dataclass(frozen=True, kw_only=True)
class Columns:
    """One row of a forward pass: `start` real tokens came before; `real[c]` says whether column c is a token or padding."""

    start: int
    real: tuple[bool, ...]

    @property
    def stop(self) -> int:
        return self.start + sum(self.real)


@dataclass(eq=False, kw_only=True)
class Plan:
    """C segments, the spans they are of, and mass [C, R]: the probability on each memory summed over columns, heads and layers."""

    spans: tuple[Span, ...]
    segments: Segments
    mass: Tensor
    _kept: list[Any] = field(default_factory=list)
    _noted: list[Tensor] = field(default_factory=list)

    def __deepcopy__(self, memo: dict[int, object]) -> "Plan":
        """A copied cache goes on with the same spans; what layers read is laid out anew."""
        return Plan(spans=self.spans, segments=self.segments, mass=self.take_mass())

    def layer(self, pool: Pool, index: int, *, keep: bool) -> Prepared:
        """What a layer's attention reads. keep: the next forward passes read the same.

        All layers' are laid out together, in a fraction of the time that it takes between two layers of a model, which empty the
        processor's caches; those of a long prompt, which may be large and serve once, one at a time.
        """
        return self._laid(pool, index, prepare, keep=keep)

    def joining(self, pool: Pool, index: int, *, keep: bool) -> Merging:
        """The same for a layer that attends to its context in a way of its own."""
        return self._laid(pool, index, prepare_joining, keep=keep)

    def _laid(self, pool: Pool, index: int, lay: Callable[[LayerMemory, Segments], Laid], *, keep: bool) -> Laid:
        if not keep and self.segments.resident.numel() > FEW_READINGS:
            return lay(pool.layer(index), self.segments)
        if not self._kept:
            with torch.inference_mode(False):  # the next step may want a gradient
                self._kept = [lay(pool.layer(each), self.segments) for each in range(pool.layers)]
        laid: Laid = self._kept[index]
        return laid

    def note(self, mass: Tensor) -> None:
        """Count one layer's mass [C, R]; added up later, in one go."""
        self._noted.append(mass.detach() if mass.requires_grad else mass)
        if len(self._noted) >= NOTED:
            self.take_mass()

    def take_mass(self) -> Tensor:
        """[C, R] all that was noted so far."""
        if self._noted:
            self.mass = self.mass + torch.stack(self._noted).sum(0)  # never in place: a step in inference mode, the next one outside
            self._noted.clear()
        return self.mass


def plan_of(rows: Sequence[Sequence[Span]], columns: Sequence[Columns], pool: Pool) -> Plan | None:
    """The plan of a forward pass whose rows read these spans, or None where none reads anything; `pool` holds every id."""
    runs = [
        (span, first, last)
        for spans, row in zip(rows, columns, strict=True)
        for span in spans
        if span.ids
        for first, last in _runs(row, span.start, span.stop)
    ]
    if not runs:
        return None
    widest = max(len(span.ids) for span, _, _ in runs)
    resident = torch.tensor([[*pool.rows(span.ids), *[-1] * (widest - len(span.ids))] for span, _, _ in runs], device=pool.device)
    return Plan(
        spans=tuple(span for span, _, _ in runs),
        segments=Segments(
            row=tuple(span.row for span, _, _ in runs),
            first=tuple(first for _, first, _ in runs),
            last=tuple(last for _, _, last in runs),
            resident=resident,
        ),
        mass=torch.zeros(resident.shape, device=pool.device),
    )


def _runs(row: Columns, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """First and last + 1 of each unbroken run of columns that hold tokens start..stop−1; padding may lie between two."""
    token, first = row.start, None
    for column, real in enumerate((*row.real, False)):
        inside = real and start <= token < stop
        if inside and first is None:
            first = column
        elif not inside and first is not None:
            yield first, column
            first = None
        token += real


def ids_in(spans: Sequence[Span]) -> Ids:
    """What the spans read, each id once, in order."""
    return tuple(dict.fromkeys(memory_id for span in spans for memory_id in span.ids))
