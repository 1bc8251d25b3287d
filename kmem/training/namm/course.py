"""The stages of evolution, and what is known of them at any moment."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kmem.errors import ConfigError, CorruptBankError
from kmem.models.namm.scorer import Namm, with_vector
from kmem.options import differing
from kmem.progress import Progress, silent
from kmem.training.namm.collection import Collection
from kmem.training.namm.evolution import Evolution, Vectors
from kmem.training.namm.fitness import Outcome, by_task, fitness, kept_share, normalised
from kmem.training.namm.population import Population
from kmem.training.namm.recipe import Recipe
from kmem.training.stored import read, write

PLACES = 5


@dataclass(kw_only=True)
class State:
    """start: where evolution begins. mean: where the stage at hand began. history: fitness of its generations so far. best: what the judges
    like best so far, and `judged` its fitness. curve: a line a generation or judgement.
    """

    recipe: Recipe
    start: Vectors | None = None
    mean: Vectors | None = None
    best: Vectors | None = None
    judged: float = -np.inf
    stage: int = 0
    history: list[list[float]] = field(default_factory=list)
    curve: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0

    def begin(self, start: Vectors) -> None:
        """From there."""
        self.start, self.mean = start, start.copy()

    def shipped(self, namm: Namm) -> Namm:
        """The best, in the place of these parameters."""
        assert self.best is not None  # the judges have seen the start at least
        return with_vector(namm, torch.from_numpy(self.best))

    def report(self) -> dict[str, Any]:
        """What is kept of a finished run."""
        judgements = [line for line in self.curve if "judged" in line]
        best = max(judgements, key=lambda line: line["judged"]["fitness"])
        return {
            "judged": {"start": judgements[0]["judged"], "best": best["judged"]},
            "best_at": {"stage": best["stage"], "generation": best["generation"]},
            "generations": len(self.curve) - len(judgements),
            "evolution_s": round(self.seconds, 1),
        }

    # ------------------------------------------------------------------ checkpoints

    def save(self, path: Path) -> None:
        """Replace the file."""
        tensors = {name: torch.from_numpy(part) for name in ("start", "mean", "best") if (part := getattr(self, name)) is not None}
        header = {name: getattr(self, name) for name in ("stage", "history", "curve", "seconds")}
        judged = None if self.best is None else self.judged
        write(path, tensors, {**header, "judged": judged, "recipe": self.recipe.to_dict()})

    @classmethod
    def load(cls, path: Path, recipe: Recipe) -> "State":
        """Raises ConfigError for a checkpoint of another recipe, CorruptBankError for what is none."""
        stored = read(path)
        changed = differing(stored.header.get("recipe", {}), recipe.to_dict())
        if changed:
            raise ConfigError(f"{path} was begun with other settings: {'; '.join(changed)}; give the same again, or delete that file.")
        try:
            header = stored.header
            vectors: dict[str, Any] = {name: stored.tensors[name].numpy() for name in ("start", "mean", "best") if name in stored.tensors}
            judged = -np.inf if header["judged"] is None else float(header["judged"])
            rest = {name: header[name] for name in ("stage", "history", "curve", "seconds")}
            return cls(recipe=recipe, **vectors, judged=judged, **rest)
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptBankError(f"{path} is damaged ({error}); delete it and start again.") from error


class Course:
    """Goes on with `state`, generation after generation: a stage a task, with it and those before it (incremental evolution)."""

    def __init__(self, recipe: Recipe, collection: Collection, population: Population, state: State) -> None:
        self._recipe, self._collection, self._population, self.state = recipe, collection, population, state
        self._names = list(collection.learnt)

    def run(self, save: Callable[[State], None] = lambda state: None, *, progress: Progress = silent) -> None:
        """To the last generation; `save` is handed the state after each."""
        state, config = self.state, self._recipe.evolution
        total = config.generations * len(self._names)
        progress("evolve", state.stage * config.generations + len(state.history), total)
        if state.best is None:
            self._judge()
            save(state)
        while config.generations and state.stage < len(self._names):
            assert state.mean is not None  # `begin` set it
            evolution = Evolution(state.mean, config, seed=self._recipe.seed + state.stage)
            evolution.replay(state.history)
            while len(state.history) < config.generations:
                self._generation(evolution)
                if len(state.history) % config.judged == 0 or len(state.history) == config.generations:
                    self._judge(evolution.mean)
                if len(state.history) < config.generations:
                    save(state)
                progress("evolve", state.stage * config.generations + len(state.history), total)
            state.mean, state.stage, state.history = evolution.mean.copy(), state.stage + 1, []
            save(state)

    def _generation(self, evolution: Evolution) -> None:
        """The members, and beside them their mean, on this generation's prompts."""
        began, state = time.perf_counter(), self.state
        members = evolution.ask()
        outcomes = self._population(np.concatenate([members, evolution.mean[None]]), self._drawn(len(state.history)))
        found = fitness(outcomes, self._recipe.size).tolist()
        evolution.tell(found[:-1])
        line = {"stage": state.stage, "generation": len(state.history), "sigma": evolution.sigma, "mean": _figures(outcomes, found)}
        members_line = {"best": round(max(found[:-1]), PLACES), "median": round(float(np.median(found[:-1])), PLACES)}
        state.history.append(found[:-1])
        state.curve.append({**line, "members": members_line})
        state.seconds += time.perf_counter() - began

    def _judge(self, mean: Vectors | None = None) -> None:
        """The mean, or the start, on all judges of all tasks."""
        state = self.state
        tried = state.start if mean is None else mean
        assert tried is not None  # `begin` set it
        outcomes = self._population(tried[None], [path for paths in self._collection.judges.values() for path in paths])
        found = fitness(outcomes, self._recipe.size).tolist()
        state.curve.append({"stage": state.stage, "generation": len(state.history), "judged": _figures(outcomes, found)})
        if found[-1] > state.judged:
            state.judged, state.best = found[-1], tried.copy()

    def _drawn(self, generation: int) -> list[Path]:
        """As many recordings of each task that has come up; the same for all members."""
        chosen: list[Path] = []
        for index, name in enumerate(self._names[: self.state.stage + 1]):
            random = np.random.default_rng([self._recipe.seed, self.state.stage, generation, index])
            paths = self._collection.learnt[name]
            chosen += [paths[place] for place in random.permutation(len(paths))[: self._recipe.evolution.prompts]]
        return chosen


def _figures(outcomes: Sequence[Outcome], found: Sequence[float]) -> dict[str, Any]:
    """Of the last of the members."""
    return {
        "fitness": round(found[-1], PLACES),
        "score_of_full": round(float(normalised(outcomes)[-1]), PLACES),
        "cache_fraction": round(float(kept_share(outcomes)[-1]), PLACES),
        "tasks": {name: round(float(normalised(own)[-1]), PLACES) for name, own in by_task(outcomes).items()},
    }
