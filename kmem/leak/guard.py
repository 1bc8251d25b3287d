"""Which retrieved references may be read, and which ones copy the text they would be read with."""

from collections.abc import Iterable
from dataclasses import dataclass

from kmem.arguments import require_count
from kmem.errors import ConfigError
from kmem.leak.overlap import Tokens, overlap

TRAINING = 0.9
"""Memory³ §3.6: a reference that is nearly the training text itself teaches copying."""
EVALUATION = 2 / 3
"""Memory³ §4.4: references that hold the question have 80% and more, those that are about its matter 40% and less."""


@dataclass(frozen=True, kw_only=True)
class LeakGuard:
    """Drops references whose overlap with the text is above `threshold`; one that equals it stays.

    Works on token ids, as the paper does: the model's own, which training has at hand, weigh words as the model reads them, and one
    rule serves every language. `kmem.words.words` is for texts that were never tokenised; both sides must be of one kind.
    """

    threshold: float

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ConfigError(f"threshold is {self.threshold}, not a share of the reference: give a number from 0 to 1.")

    def keeps(self, reference: Tokens, text: Tokens) -> bool:
        """Whether the reference [n] may be read with the text [m]. Raises WrongTypeError as `overlap` does."""
        return overlap(reference, text) <= self.threshold

    def nearest(self, references: Iterable[Tokens], text: Tokens, count: int) -> tuple[tuple[int, ...], int]:
        """Places of the first `count` references that are kept, and how many were dropped before them: each makes room for the next.

        references: best first; no more of them are taken than it needs, so a search may give them as they come. Raises ConfigError for a
        count under 1.
        """
        require_count(count, "count")
        kept: list[int] = []
        dropped = 0
        for place, reference in enumerate(references):
            if not self.keeps(reference, text):
                dropped += 1
                continue
            kept.append(place)
            if len(kept) == count:
                break
        return tuple(kept), dropped
