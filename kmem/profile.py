"""A profile says what a memory keeps: how many tokens each (layer, key-value head) may store, chosen how, bracketed by what.

Pure data: importing it imports neither torch nor a model. Shapes as in the shape alphabet: L layers, H key-value heads, S slots.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any, Literal

import numpy as np

from kmem.errors import ConfigError

SPAN_TOKENS = 128
"""Tokens of a reference, and length of the position span that all memories share (Memory³ §3.3)."""

_EXAMPLE = 'as in {"name": "mine", "budget": [[8, 8], [0, 128]]}: two layers of two key-value heads.'

Align = Literal["start", "end"]


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Budget, selector and bracket of a bank; `budget[l][h]` is the token budget of layer l, key-value head h.

    `prefix` and `suffix` are the texts of the constant bracket around every reference; the tokenizer's beginning-of-sequence
    token goes before the prefix. `align` says which end of the 128-position span a shorter chunk touches.
    Raises ConfigError on a ragged, negative, oversized or all-zero budget.
    """

    name: str
    budget: tuple[tuple[int, ...], ...]
    selector: str = "memory3"
    prefix: str = "Reference:"
    suffix: str = ""
    align: Align = "end"
    provenance: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if not self.budget or len({len(row) for row in self.budget}) != 1 or not self.budget[0]:
            raise ConfigError(f"Profile {self.name!r}: the budget must be a non-empty [L, H] table with rows of equal length.")
        for layer, row in enumerate(self.budget):
            for head, tokens in enumerate(row):
                if not 0 <= tokens <= SPAN_TOKENS:
                    raise ConfigError(
                        f"Profile {self.name!r}: budget {tokens} at layer {layer}, head {head} must lie between 0 and {SPAN_TOKENS}."
                    )
        if self.slots == 0:
            raise ConfigError(f"Profile {self.name!r} keeps no token at all; give at least one head a budget.")
        if self.align not in ("start", "end"):
            raise ConfigError(f"Profile {self.name!r}: align must be 'start' or 'end', not {self.align!r}.")

    @property
    def layers(self) -> int:
        """L, all layers of the model, with or without a budget."""
        return len(self.budget)

    @property
    def heads(self) -> int:
        """H, key-value heads of a layer."""
        return len(self.budget[0])

    @cached_property
    def slots(self) -> int:
        """S, tokens kept by one memory over all layers and heads."""
        return sum(map(sum, self.budget))

    @cached_property
    def last_layer(self) -> int:
        """The deepest layer with a budget: encoding stops inside it."""
        return max(layer for layer, row in enumerate(self.budget) if any(row))

    @cached_property
    def slot_layer(self) -> np.ndarray:
        """[S] layer of each slot; slots are ordered by layer, then head, then position."""
        return np.repeat(np.arange(self.layers), [sum(row) for row in self.budget])

    @cached_property
    def slot_head(self) -> np.ndarray:
        """[S] key-value head of each slot."""
        return np.concatenate([np.repeat(np.arange(self.heads), row) for row in self.budget])

    @cached_property
    def slot_rank(self) -> np.ndarray:
        """[S] place of each slot among those of its layer and head."""
        return np.concatenate([np.arange(tokens) for row in self.budget for tokens in row])

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"budget": [list(row) for row in self.budget], "provenance": dict(self.provenance)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Profile":
        """The profile of a JSON object; raises ConfigError naming a field that is missing, unknown or of another type."""
        if not isinstance(data, Mapping):
            raise ConfigError(f"A profile is a JSON object with the fields name and budget, not {data!r:.40}.")
        _require_fields(data, [entry.name for entry in fields(cls)])
        for layer, row in enumerate(data["budget"]):
            for head, tokens in enumerate(row):
                if type(tokens) is not int:
                    raise ConfigError(
                        f"Profile {data.get('name')!r}: budget {tokens!r} at layer {layer}, head {head} must be a whole number of tokens."
                    )
        return cls(**{**data, "budget": tuple(map(tuple, data["budget"]))})


def _require_fields(data: Mapping[str, Any], known: list[str]) -> None:
    for needed in ("name", "budget"):
        if needed not in data:
            raise ConfigError(f"The field {needed!r} is missing; {_EXAMPLE}")
    for field_name, value in data.items():
        if field_name not in known:
            raise ConfigError(f"There is no field {field_name!r}; a profile has {', '.join(known)}.")
        if field_name == "name" and not value:
            raise ConfigError("The field 'name' is empty; give the profile a name.")
        if field_name == "provenance" and not isinstance(value, Mapping):
            raise ConfigError(f"The field 'provenance' must be an object, not {value!r:.40}.")
        if field_name not in ("budget", "provenance") and not isinstance(value, str):
            raise ConfigError(f"The field {field_name!r} must be a string, not {value!r:.40}.")
    if not isinstance(data["budget"], list | tuple) or not all(isinstance(row, list | tuple) for row in data["budget"]):
        raise ConfigError(f"The field 'budget' must be a table with a row a layer, not {data['budget']!r:.40}; {_EXAMPLE}")
