"""What came into each stage, what it kept, and every drop by its reason; nothing may be lost unsaid."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from kmem.errors import BuildError
from kmem.pipelines.ledger import CAME, DROPPED, KEPT, REJECTED, balance

DOCUMENTS, CHUNKS = "documents", "chunks"
_UNITS = {"read": DOCUMENTS, "deduplicate": DOCUMENTS, "score": DOCUMENTS}
IN_ORDER = ("read", "deduplicate", "score", "chunk", "deduplicate-chunks", "cut", "embed", "encode")
"""The stages, as documents go through them."""
BYTES = "bytes"
PROGRESS_UNITS = {
    "load": "models",
    "read": BYTES,
    "chunk": BYTES,
    "deduplicate": "passes",
    "deduplicate-chunks": "passes",
    "score": "partitions",
    "fill": "parts",
}
"""What a stage that is at work tells its progress in; in chunks unless it stands here."""


@dataclass(kw_only=True)
class Stats:
    """Grows with the receipts of each stage."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)

    def add(self, stage: str, counts: Mapping[str, int], seconds: float, span: tuple[float, float] | None = None) -> None:
        """One task's; span: when it began and ended, None where it was done before.

        Raises BuildError unless what came in is what was kept, dropped or rejected.
        """
        if left := balance(counts):
            raise BuildError(f"Stage {stage} lost {left} of {counts.get(CAME, 0)} {unit(stage)} without a reason; please report it.")
        self.counts.setdefault(stage, Counter()).update(counts)
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        if span is not None:
            first, last = self.spans.get(stage, span)
            self.spans[stage] = min(first, span[0]), max(last, span[1])

    def require_handed_on(self, documents: int) -> None:
        """Raise BuildError unless each stage so far was given what the one before it had kept. documents: what was given to the chunker."""
        for before, after in pairwise(self.counts):
            kept = self.counts[before][KEPT]
            came = self.counts[after][CAME] if unit(before) == unit(after) else documents
            if kept != came:
                raise BuildError(f"Stage {before} kept {kept} {unit(before)}, but stage {after} was given {came}; please report it.")

    def reasons(self) -> Counter[str]:
        """Drops, rejections and other counts over all stages, less what each took in and kept."""
        total: Counter[str] = Counter()
        for counts in self.counts.values():
            total.update({reason: count for reason, count in counts.items() if reason not in (CAME, KEPT)})
        return total

    def flow(self) -> dict[str, dict[str, Any]]:
        """Of documents, and of chunks: `in`, `kept`, and `lost`, the others by reason; a document that can't be cut is lost as a chunk."""
        found: dict[str, dict[str, Any]] = {}
        for kind in (DOCUMENTS, CHUNKS):
            stages = [counts for stage, counts in self.counts.items() if unit(stage) == kind]
            lost = Counter[str]()
            for counts in stages:
                lost.update({reason: count for reason, count in counts.items() if reason.startswith((DROPPED, REJECTED)) and count})
            if stages:
                found[kind] = {"in": stages[0][CAME], "kept": stages[0][CAME] - lost.total(), "lost": dict(sorted(lost.items()))}
        return found

    def to_dict(self) -> dict[str, Any]:
        """By stage: unit, in, kept, dropped and rejected by reason, seconds of its workers together, and seconds from the beginning of the
        first task that was done now to the end of the last one, 0 where none was.
        """
        return {
            stage: {
                "unit": unit(stage),
                "in": counts[CAME],
                "kept": counts[KEPT],
                "dropped": _named(counts, DROPPED),
                "rejected": _named(counts, REJECTED),
                "worker_seconds": round(self.seconds[stage], 3),
                "wall_seconds": round(self._wall(stage), 3),
            }
            for stage, counts in self.counts.items()
        }

    def _wall(self, stage: str) -> float:
        first, last = self.spans.get(stage, (0.0, 0.0))
        return last - first


def unit(stage: str) -> str:
    """What a stage counts."""
    return _UNITS.get(stage, CHUNKS)


def _named(counts: Mapping[str, int], prefix: str) -> dict[str, int]:
    return {reason.removeprefix(prefix): count for reason, count in sorted(counts.items()) if reason.startswith(prefix) and count}
