"""CMA-ES by `cmaes`, in a way that goes on where it stopped: its state is what the fitness of all generations so far makes of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from cmaes import CMA, SepCMA
from numpy.typing import NDArray

from kmem.training.namm.recipe import EvolutionConfig

Vectors = NDArray[np.float64]


class Evolution:
    """One stage: from a mean [n], generation after generation.

    The library draws from its own seeded generator, so the same mean, seed and fitness give the same members on the same machine: a
    checkpoint is the list of fitness, and going on replays it. Nothing of the library is stored.
    """

    def __init__(self, mean: Vectors, config: EvolutionConfig, *, seed: int) -> None:
        kind = SepCMA if config.algorithm == "separable" else CMA
        self._strategy: Any = kind(mean=mean.astype(np.float64), sigma=config.sigma, seed=seed, population_size=config.population)
        self._asked: list[Vectors] = []

    @property
    def mean(self) -> Vectors:
        """[n] of the generation that comes next; what is judged and shipped."""
        found: Vectors = self._strategy.mean
        return found

    @property
    def sigma(self) -> float:
        """The step size, of which each parameter has its own share."""
        return float(self._strategy._sigma)

    def ask(self) -> Vectors:
        """[P, n] members of the next generation; the same until `tell`."""
        if not self._asked:
            self._asked = [self._strategy.ask() for _ in range(self._strategy.population_size)]
        return np.stack(self._asked)

    def tell(self, fitness: Sequence[float]) -> None:
        """How fit those members are, the higher the better."""
        members = self.ask()
        self._strategy.tell([(member, -float(value)) for member, value in zip(members, fitness, strict=True)])
        self._asked = []

    def replay(self, history: Sequence[Sequence[float]]) -> None:
        """All generations of a checkpoint."""
        for fitness in history:
            self.tell(fitness)
