"""The pipeline's step: documents that score too low are dropped and counted."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from kmem.document import Document
from kmem.errors import ConfigError
from kmem.kbuild.quality.scorer import BATCH, Scorer

DROPPED = "dropped: quality"


class Quality:
    """Keeps what scores at least `minimum`. Raises ConfigError unless that is between 0 and 1."""

    def __init__(self, scorer: Scorer, minimum: float) -> None:
        if not 0 <= minimum <= 1:
            raise ConfigError(f"min_quality is {minimum}; a score lies between 0 and 1.")
        self.scorer = scorer
        self.minimum = minimum

    def keeps(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """[N]: whether each text is kept; for those who hold texts in columns."""
        return self.scorer.score(texts) >= np.float32(self.minimum)

    def run(self, documents: Iterable[Document], counts: Counter[str] | None = None) -> Iterator[Document]:
        """The documents that are kept, in order; `counts` receives the others as "dropped: quality". A batch at a time is held."""
        counts = Counter() if counts is None else counts
        waiting = iter(documents)
        while batch := list(islice(waiting, BATCH)):
            for document, kept in zip(batch, self.keeps([document.text for document in batch]), strict=True):
                if kept:
                    yield document
                else:
                    counts[DROPPED] += 1
