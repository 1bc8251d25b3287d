"""What was built, and how well it searches."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class IndexStats:
    """An index of `rows` memories, by vectors of `dim` numbers.

    `asked` is `auto` or the factory string that the bank was built with, `factory` what there is. `search` are the settings tuned to find
    `target_recall` of the five exact neighbours, and `recall_at_5` what they find, over `recall_sample` queries (1.0 over 0 queries for an
    exact index).
    """

    kind: str
    asked: str
    factory: str
    metric: str
    search: Mapping[str, int]
    target_recall: float
    recall_at_5: float
    recall_sample: int
    rows: int
    dim: int
