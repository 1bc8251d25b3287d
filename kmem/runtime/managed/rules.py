"""What decides what is dropped, for all layers of all caches alike."""

from dataclasses import dataclass, field

from kmem.runtime.managed.timing import Clock
from kmem.runtime.policies.protocol import Policy


@dataclass(frozen=True, kw_only=True, eq=False)
class Rules:
    """budget: tokens kept a key-value head, None where the policy decides; greediest: see `kept`; layers: of the model."""

    policy: Policy
    layers: int
    budget: int | None
    greediest: bool
    clock: Clock = field(default_factory=Clock)

    def __deepcopy__(self, memo: dict[int, object]) -> "Rules":
        """A copied cache goes by the same rules."""
        return self
