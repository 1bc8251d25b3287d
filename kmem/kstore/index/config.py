"""How a search index is to be built, with the defaults."""

from dataclasses import dataclass

from kmem.errors import ConfigError
from kmem.kstore.index.factory import AUTO, CODES_FROM, FLAT_BELOW, require_factory
from kmem.kstore.manifest import IndexRecord

TARGET_RECALL = 0.95


@dataclass(frozen=True, kw_only=True)
class IndexConfig:
    """factory: `auto`, or a string as FAISS's index_factory reads it, of the kinds in factory.py.

    `auto` is exact search (`Flat`) below `flat_below` rows, `IVFn,Flat` below `codes_from`, and from there on `IVFn,PQm`, whose codes take
    a sixteenth of the vectors' memory. Every search but an exact one is tuned to find `target_recall` of the five nearest.
    """

    factory: str = AUTO
    flat_below: int = FLAT_BELOW
    codes_from: int = CODES_FROM
    target_recall: float = TARGET_RECALL
    seed: int = 0

    def __post_init__(self) -> None:
        require_factory(self.factory)
        if not 0 < self.target_recall <= 1:
            raise ConfigError(f"target_recall must lie in (0, 1], not {self.target_recall}.")


def as_asked(record: IndexRecord) -> IndexConfig:
    """What an index was built by, for the one that takes its place when memories come or go."""
    return IndexConfig(factory=record.asked, target_recall=record.target_recall)
