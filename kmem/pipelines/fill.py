"""Filling the search index on all workers: trained once, filled in parts of a fixed size, merged in order."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmem.kstore.index.exact import BLOCK_ROWS
from kmem.kstore.index.parts import merged, read_part, write_part
from kmem.pipelines.drops import store_rows
from kmem.pipelines.run import Runner
from kmem.pipelines.steps.fill import TRAINED, FillStep, PartTask, ids_file, part_file
from kmem.pipelines.steps.site import site_of

PART_ROWS = 16 * BLOCK_ROWS
"""Whole blocks, so that parts are filled as a single process would have filled the whole."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ParallelFill:
    """Given to `build_index`. ids: [N] of all rows."""

    runner: Runner
    ids: NDArray[np.int64]
    rows_per_shard: int

    @property
    def worthwhile(self) -> bool:
        """Whether there are several workers and several parts."""
        return self.runner.executor.workers > 1 and len(self.ids) > PART_ROWS

    def __call__(self, trained: Any) -> Any:
        """The trained index with all vectors in it."""
        place, rows = self.runner.place, len(self.ids)
        write_part(place, TRAINED, trained)
        tasks = [
            PartTask(index=index, first=first, end=min(first + PART_ROWS, rows), rows=rows, rows_per_shard=self.rows_per_shard)
            for index, first in enumerate(range(0, rows, PART_ROWS))
        ]
        for task in tasks:
            store_rows(place, ids_file(task.index), self.ids[task.first : task.end])
        self.runner.run(FillStep(site=site_of(place)), tasks, units=lambda task: task.end - task.first)
        return merged(trained, self._parts(len(tasks)))

    def _parts(self, count: int) -> Iterator[Any]:
        for index in range(count):
            yield read_part(self.runner.place, part_file(index))
