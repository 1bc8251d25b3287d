"""What a build did, and how long each stage took."""

import time
from dataclasses import asdict, dataclass, field
from typing import Any

THERE, BACK = "there already", "deleted before, back again"
NOT_COMPARED = "not compared with the stored texts (--compare)"
"""Reasons that only an append counts."""
TOLD = ("documents", "chunks", "tokens")
"""Counts that a report has elsewhere: of documents, what came in and what was kept of it are in its flow."""


@dataclass(kw_only=True)
class BuildReport:
    """What a build did, or with `dry_run` what it would do; seconds and bytes are measured, or estimated in a dry run.

    encode: whether the memories were encoded; without, `payload_bytes` is what they will take. flow: as `Stats.flow` has it.
    """

    bank: str
    dry_run: bool
    profile: str
    counts: dict[str, int]
    flow: dict[str, dict[str, Any]] = field(default_factory=dict)
    chunks: int
    tokens: int
    slots: int
    record_bytes: int
    payload_bytes: int
    shards: int
    shards_reused: int = 0
    encode: bool = True
    seconds: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Clock:
    """Seconds since the last mark, by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def mark(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage], self._last = now - self._last, now
