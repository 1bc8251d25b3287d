"""The paper's design question (Memory³ Eq. 1): which knowledge belongs in parameters, in memories, in text, by how often it is used."""

import math
from dataclasses import dataclass
from typing import Literal

from kmem.errors import ConfigError
from kmem.plan.cost import Cost, memory, parameters, text
from kmem.plan.lengths import Lengths
from kmem.plan.shape import Shape
from kmem.profile import Profile

Home = Literal["text", "memory", "parameters"]
MOST_USES = 1e30
HOMES: tuple[Home, ...] = ("text", "memory", "parameters")
"""From the cheapest to write and dearest to read to the opposite (Memory³ Table 3)."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What a reference costs in each of the three places."""

    text: Cost
    memory: Cost
    parameters: Cost

    @property
    def low(self) -> float:
        """Uses from which a memory is cheaper than text: write of the memory over what it saves a read (paper: 0.494)."""
        return self.memory.write / (self.text.read - self.memory.read)

    @property
    def high(self) -> float:
        """Uses from which parameters are cheaper than a memory: what the memory saves in writing over its read (paper: 13,400)."""
        return (self.parameters.write - self.memory.write) / self.memory.read

    @property
    def borders(self) -> tuple[tuple[float, Home], ...]:
        """(uses, the place that is cheapest from there on), ascending; where memories are never cheapest, the one border without them."""
        if self.low < self.high:
            return (self.low, "memory"), (self.high, "parameters")
        return ((self.parameters.write / self.text.read, "parameters"),)

    def cost(self, home: Home) -> Cost:
        """The cost in that place."""
        costs: dict[Home, Cost] = {"text": self.text, "memory": self.memory, "parameters": self.parameters}
        return costs[home]

    def cheapest(self, uses: float) -> Home:
        """Where a reference used so often costs least (Eq. 1); of two alike, the one that is written more cheaply.

        Raises ConfigError for a negative or infinite number of uses.
        """
        require_uses(uses)
        return min(HOMES, key=lambda home: self.cost(home).total(uses))


def choice(shape: Shape, profile: Profile, lengths: Lengths) -> Choice:
    """The three costs of a reference under a model's shape and a profile made for it."""
    return Choice(text=text(shape, lengths), memory=memory(shape, profile, lengths), parameters=parameters(shape, lengths))


def require_uses(uses: float) -> None:
    """Raise ConfigError unless `uses` is a finite number from 0 to MOST_USES."""
    if not (math.isfinite(uses) and uses >= 0):
        raise ConfigError(f"uses must be a finite number from 0 on, not {uses}.")
    if uses > MOST_USES:
        raise ConfigError(f"uses must be at most {MOST_USES:g}, not {uses:g}.")
