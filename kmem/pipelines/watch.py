"""How far a build is, written beside it now and then: what `kmem status` shows."""

import json
import time
from dataclasses import dataclass, field
from typing import Any

from kmem.errors import PlaceError
from kmem.kstore.claim import BUILD
from kmem.kstore.place import Place
from kmem.progress import Progress

PROGRESS = f"{BUILD}/progress.json"
EVERY_S = 5.0
"""Seconds between two notes at least."""


@dataclass
class Watch:
    """A progress callback that passes everything on, and notes it down."""

    place: Place
    told: Progress
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    _written: float = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        self.told(stage, done, total)
        now = time.time()
        noted = self.stages.setdefault(stage, {"began": now, "first": done})
        noted.update(done=done, total=total, now=now)
        if now - self._written >= EVERY_S or (total and done == total):
            self.write(now)

    def write(self, now: float) -> None:
        """Note it down; a place that can't be written just now is no reason to stop."""
        said = {"time": now, "stages": self.stages}
        try:
            self.place.replace(PROGRESS, json.dumps(said).encode())
        except (OSError, PlaceError):
            return
        self._written = now
