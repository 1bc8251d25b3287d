"""`deduplicate`: the signatures of all partitions → the rows of each that are copies of an earlier text. One task sees them all."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from kmem.kbuild.dedup.config import DedupConfig
from kmem.kbuild.dedup.duplicates import find_duplicates
from kmem.kbuild.dedup.signatures import Signatures
from kmem.kstore.place import Place
from kmem.pipelines.drops import drops_file, store_rows
from kmem.pipelines.ledger import CAME, KEPT, Ledger, Receipt
from kmem.pipelines.partitions import digest
from kmem.pipelines.steps.sign import SIGNATURES
from kmem.pipelines.steps.site import opened
from kmem.pipelines.tools import Tools

DEDUPLICATE, DEDUPLICATE_CHUNKS = "deduplicate", "deduplicate-chunks"


@dataclass(frozen=True, kw_only=True)
class Signed:
    """Partitions 0 to `end`, of which those from `first` on have no verdict yet. keys: of the receipts that came with the signatures."""

    index: int
    first: int
    end: int
    keys: tuple[str, ...]
    aside: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class DeduplicateStep:
    """site: of the bank. source: the stage whose texts are compared. Of texts that are alike the first stays."""

    site: str
    dedup: DedupConfig
    source: str
    stage: str

    def __call__(self, task: Signed, tools: Tools) -> Receipt:
        ledger = Ledger(opened(self.site, tools), self.stage)
        return ledger.once(task, self.key, lambda task: self._compared(task, ledger.place))

    def _compared(self, task: Signed, place: Place) -> Receipt:
        signed = Ledger(place, self.source)
        parts: list[Callable[[], Signatures]] = [partial(_signatures, place, signed.file(index, SIGNATURES)) for index in range(task.end)]
        counts: Counter[str] = Counter()
        files = []
        for index, found in enumerate(find_duplicates(parts, self.dedup)):
            if index >= task.first:
                counts[CAME] += len(found.drop)
                counts[KEPT] += int(np.count_nonzero(~found.drop))
                counts.update(found.counts())
                files.append(store_rows(place, drops_file(place, self.stage, index), np.flatnonzero(found.drop)))
        return Receipt(index=task.index, files=tuple(files), counts=dict(counts))

    def key(self, task: Signed) -> str:
        """Of all that its verdicts follow from."""
        return digest([self.dedup.to_dict(), task.keys, task.first])

    def units(self, task: Signed, tools: Tools) -> Iterator[Any]:
        """None: it sees no texts."""
        return iter(())

    def alone(self, unit: Any, task: Signed, tools: Tools) -> None:
        """Never called."""


def _signatures(place: Place, file: str) -> Signatures:
    return Signatures.load(place.read(file))
