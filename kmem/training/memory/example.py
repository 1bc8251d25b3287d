"""What is trained on: a sequence, what its chunks read, and what a teacher reads instead."""

from dataclasses import dataclass

from kmem.runtime.schedule import Ids


@dataclass(frozen=True, kw_only=True)
class Example:
    """context and target: token ids, of which the target is predicted. reads: (first, last + 1, references) of the tokens that read any,
    counted from the beginning of the context. taught: the context that holds the right reference as text, None where there is none.
    """

    context: tuple[int, ...]
    target: tuple[int, ...]
    reads: tuple[tuple[int, int, Ids], ...]
    taught: tuple[int, ...] | None = None

    @property
    def references(self) -> Ids:
        """All that are read, each once."""
        return tuple(dict.fromkeys(reference for *_, ids in self.reads for reference in ids))
