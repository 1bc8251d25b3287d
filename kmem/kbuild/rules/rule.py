"""What a rule is: a figure of a document, and the limit at which the document goes."""

from collections.abc import Callable
from dataclasses import dataclass

from kmem.kbuild.rules.view import View

NONE, LIGHT, WEB = "none", "light", "web"
ABSTAIN = float("nan")
"""The figure of a document that a rule has nothing to say about; it is neither above nor below any limit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """Drops a document whose figure is above `most`, or below `least`; exactly one of the two is given. At the limit it stays.

    source: whose rule it is, and whose limit. presets: which of `light` and `web` apply it; a rule in neither is asked for by name.
    """

    name: str
    figure: Callable[[View], float]
    source: str
    most: float | None = None
    least: float | None = None
    presets: tuple[str, ...] = (WEB,)

    def __post_init__(self) -> None:
        if (self.most is None) == (self.least is None):
            raise ValueError(f"Rule {self.name} needs one limit: most or least.")

    @property
    def limit(self) -> float:
        """The default limit, in the figure's unit."""
        return self.most if self.most is not None else self.least if self.least is not None else ABSTAIN

    def drops(self, view: View, limit: float) -> bool:
        """Whether a document goes at this limit."""
        figure = self.figure(view)
        return figure < limit if self.most is None else figure > limit
