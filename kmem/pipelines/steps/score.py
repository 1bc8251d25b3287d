"""`score`: a scorer's opinion of the documents that are left, in a stage of its own; those below the minimum go."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice

import numpy as np

from kmem.document import Document
from kmem.errors import ConfigError
from kmem.kbuild.quality.load import load_scorer
from kmem.kbuild.quality.scorer import BATCH
from kmem.kbuild.quality.step import DROPPED, Quality
from kmem.kstore.index.retrievers import retriever
from kmem.pipelines.config import QualityConfig
from kmem.pipelines.drops import store_rows
from kmem.pipelines.ledger import ASIDE, CAME, KEPT, REJECTED, Ledger, Receipt
from kmem.pipelines.partitions import digest
from kmem.pipelines.steps.chunk import Sifted, kept_documents, kept_rows
from kmem.pipelines.steps.site import opened
from kmem.pipelines.tools import Tools

SCORE = "score"


@dataclass(frozen=True, kw_only=True)
class ScoreStep:
    """site: of the bank. scored_by: digest of the scorer, which each worker loads by its name."""

    site: str
    quality: QualityConfig
    scored_by: str

    stage = SCORE

    def __call__(self, task: Sifted, tools: Tools) -> Receipt:
        ledger = Ledger(opened(self.site, tools), self.stage)
        return ledger.once(task, self.key, lambda task: self._scored(task, ledger, tools))

    def _scored(self, task: Sifted, ledger: Ledger, tools: Tools) -> Receipt:
        place = ledger.place
        aside, gone = dict(task.aside), list[int]()
        rows, documents = iter(kept_rows(place, task)), enumerate(kept_documents(place, task))
        counts = {CAME: 0, KEPT: 0}
        while batch := list(islice(documents, BATCH)):
            at = list(islice(rows, len(batch)))
            counts[CAME] += len(batch)
            scored = [(row, document) for row, (number, document) in zip(at, batch, strict=True) if number not in aside]
            kept = self._scorer(tools).keeps([document.text for _, document in scored])
            counts[KEPT] += int(np.count_nonzero(kept))
            counts[DROPPED] = counts.get(DROPPED, 0) + int(np.count_nonzero(~kept))
            gone += [row for (row, _), good in zip(scored, kept, strict=True) if not good]
            for row, (number, _) in zip(at, batch, strict=True):
                if number in aside:
                    gone.append(row)
                    counts[f"{REJECTED}{aside[number]}"] = counts.get(f"{REJECTED}{aside[number]}", 0) + 1
        stored = store_rows(place, ledger.file(task.index, "npy"), np.array(sorted(gone), dtype=np.int64))
        return Receipt(index=task.index, files=(stored,), counts=counts, facts={ASIDE: task.aside})

    def key(self, task: Sifted) -> str:
        """Of all that its verdicts follow from."""
        return digest([asdict(self.quality), self.scored_by, task.key, task.aside])

    def units(self, task: Sifted, tools: Tools) -> Iterator[Document]:
        """Every document that is scored."""
        return kept_documents(opened(self.site, tools), task)

    def alone(self, unit: Document, task: Sifted, tools: Tools) -> None:
        self._scorer(tools).keeps([unit.text])

    def _scorer(self, tools: Tools) -> Quality:
        name = self.quality.scorer or ""
        scorer = tools.get(("scorer", name), lambda: load_scorer(name, retriever))
        if scorer.digest != self.scored_by:
            raise ConfigError(f"The scorer {name!r} of this worker is not the one that the build was begun with: give all the same.")
        return Quality(scorer, self.quality.minimum)
