"""A prompt read once with the full cache: what is stored of it, as one file, so that members of a population need not read it again."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from kmem.errors import CorruptBankError
from kmem.training.namm.tasks import Example
from kmem.training.stored import read, write

WHOLE = ("key", "value", "asked", "effect")
EACH = ("statistics", "later")
"""Tensors of a recording, and of a firing of it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Firing:
    """After `end` tokens: statistics [L, H, n, bins] float32; later [L, H, n], the mean attention that text after it paid each token."""

    end: int
    statistics: Tensor
    later: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Recording:
    """key, value [L, H, T, D] of the texts of `example`, as the model cached them; firings, oldest first; full: the full cache's score.

    asked [L, H, T]: mean attention that question and answer paid each token; effect [L, H, T]: see `replay.effects`.
    """

    example: Example
    key: Tensor
    value: Tensor
    asked: Tensor
    effect: Tensor
    firings: tuple[Firing, ...]
    full: float

    def save(self, path: Path) -> None:
        """Replace the file."""
        tensors = {name: getattr(self, name) for name in WHOLE}
        for index, firing in enumerate(self.firings):
            tensors |= {f"{name}.{index}": getattr(firing, name) for name in EACH}
        header = {"example": asdict(self.example), "full": self.full, "ends": [firing.end for firing in self.firings]}
        write(path, tensors, header)


def load_recording(path: Path) -> Recording:
    """What `save` wrote. Raises CorruptBankError for a file that is none."""
    stored = read(path)
    try:
        header, tensors = stored.header, stored.tensors
        example: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in header["example"].items()}
        firings = tuple(
            Firing(end=int(end), **{name: tensors[f"{name}.{index}"] for name in EACH}) for index, end in enumerate(header["ends"])
        )
        full = float(header["full"])
        return Recording(example=Example(**example), **{name: tensors[name] for name in WHOLE}, firings=firings, full=full)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptBankError(f"{path} is damaged or no recording of kmem evolve ({error}); delete it and start again.") from error
