"""Where a calibration stands: what a checkpoint keeps, and what it must hold to be one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kmem.training.numbers import Table, by_size, count, numbers, table
from kmem.training.relax import Search

STAGES_A_SIZE = 3
"""Search, choice of the bracket, refinement."""


@dataclass(kw_only=True)
class State:
    """`stage` stages are behind it; by size: budgets [L, H], losses of the brackets tried, the bracket chosen; losses of all steps."""

    stage: int = 0
    search: Search | None = None
    budgets: dict[str, Table] = field(default_factory=dict)
    bracket_losses: dict[str, list[float]] = field(default_factory=dict)
    brackets: dict[str, int] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)

    @property
    def bracket(self) -> int:
        """The bracket chosen last, the first one until then."""
        return [0, *self.brackets.values()][-1]

    def to_dict(self) -> dict[str, Any]:
        return self.__dict__ | {"search": None if self.search is None else self.search.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, sizes: tuple[int, ...], shape: tuple[int, int], brackets: int) -> "State":
        """The state of a calibration of these sizes, largest first, for a model of `shape` [L, H] with so many brackets to try.

        Raises KeyError for what is missing, ValueError or TypeError for what has another type or shape.
        """
        stage = count(data["stage"], "stage", most=STAGES_A_SIZE * len(sizes))
        whole, begun = divmod(stage, STAGES_A_SIZE)
        budgets = by_size(data["budgets"], "budgets", sizes, least=whole + (begun > 0))
        tried = by_size(data["bracket_losses"], "bracket_losses", sizes, least=whole)
        chosen = by_size(data["brackets"], "brackets", sizes, least=whole + (begun > 1))
        search = None if data["search"] is None else Search.from_dict(data["search"], shape=shape)
        if search is not None and sizes[whole : whole + 1] != (search.target,):
            raise ValueError(f"target {search.target} is not the size that stage {stage} searches")
        return cls(
            stage=stage,
            search=search,
            budgets={size: table(budget, "budgets", shape) for size, budget in budgets.items()},
            bracket_losses={size: numbers(losses, "bracket_losses")[:brackets] for size, losses in tried.items()},
            brackets={size: count(bracket, "brackets", most=brackets - 1) for size, bracket in chosen.items()},
            losses=numbers(data["losses"], "losses"),
        )
