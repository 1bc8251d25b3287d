"""How a search index is to be built, with the defaults."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kmem.kstore.index.factory import AUTO, CODES_FROM, FLAT_BELOW, TARGET_RECALL, Factory, chosen, require_factory, require_target
from kmem.kstore.manifest import IndexRecord


@dataclass(frozen=True, kw_only=True)
class IndexConfig:
    """factory: `auto`, or a string as FAISS's index_factory reads it, of the kinds in factory.py.

    `auto` is exact search (`Flat`) below `flat_below` rows, `IVFn,Flat` below `codes_from`, and from there on `IVFn,PQm`, whose codes take
    a sixteenth of the vectors' memory. Every search but an exact one is tuned to find `target_recall` of the five nearest.
    at_least: settings that a tuning without real queries never goes below, as those of the index that this one takes the place of.
    """

    factory: str = AUTO
    flat_below: int = FLAT_BELOW
    codes_from: int = CODES_FROM
    target_recall: float = TARGET_RECALL
    seed: int = 0
    at_least: Mapping[str, int] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        require_factory(self.factory)
        require_target(self.target_recall)

    def factory_of(self, rows: int, dim: int) -> Factory:
        """The index for so many vectors. Raises ConfigError as `chosen` does."""
        return chosen(self.factory, rows=rows, dim=dim, flat_below=self.flat_below, codes_from=self.codes_from)


def as_asked(record: IndexRecord) -> IndexConfig:
    """What an index was built by, for the one that takes its place when memories come or go: questions that it was tuned with are gone."""
    return IndexConfig(factory=record.asked, target_recall=record.target_recall, at_least=dict(record.search))
