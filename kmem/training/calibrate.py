"""Calibration: budgets per head, bracket and alignment that make memories readable for a model that was never trained on them.

The largest size is searched first, from half of everything downwards; with its budgets the bracket is chosen, and the budgets are
searched a little further in it; each smaller size goes on from the one before.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kmem.encoder.anatomy import examine
from kmem.encoder.encode import Encoder
from kmem.encoder.profiles import dense_profile
from kmem.errors import ConfigError
from kmem.profile import SPAN_TOKENS, Align, Profile
from kmem.progress import Progress, silent
from kmem.training.budgets import whole
from kmem.training.config import CalibrateConfig
from kmem.training.gates import gates_of
from kmem.training.objective import Objective, whole_loss
from kmem.training.passages import passages
from kmem.training.ranked import RankedMemories, rank_memories
from kmem.training.relax import Search
from kmem.training.worth import worth_of_heads

BRACKETS: tuple[tuple[str, Align], ...] = (("\n", "start"), ("\n", "end"), ("", "start"), ("", "end"), ("\n\n", "start"), ("\n\n", "end"))
"""Suffixes and alignments that are tried; the first is searched in."""
JUDGES = 32
"""Passages, besides those learnt from, that choose the bracket."""
ABLATED = 12
"""Probes that say what a head is worth."""
REFINED = 4
"""In the chosen bracket, one in so many steps is made again."""
STEPS_A_CHECKPOINT = 10


@dataclass(kw_only=True)
class State:
    """Where a calibration stands: `stage` stages are behind it; budgets [L, H] of the sizes searched; losses of all steps."""

    stage: int = 0
    bracket: int = 0
    bracket_losses: list[float] = field(default_factory=list)
    search: Search | None = None
    budgets: dict[str, list[list[float]]] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return self.__dict__ | {"search": None if self.search is None else self.search.to_dict()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "State":
        return cls(**{**data, "search": None if data["search"] is None else Search.from_dict(data["search"])})


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """profiles: one a size, largest first. worth: [L, H] nats per target token that each head's dense memory is worth."""

    profiles: tuple[Profile, ...]
    worth: Tensor


class Calibrator:
    """One calibration of a model on a corpus. `save` is handed the state after every ten steps and every stage.

    Raises ConfigError for more slots than the model has, and what reading the corpus raises.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        config: CalibrateConfig,
        *,
        state: State | None = None,
        save: Callable[[State], None] = lambda state: None,
        progress: Progress = silent,
    ) -> None:
        anatomy = examine(model)
        self.layers, self.heads = anatomy.layers, anatomy.heads
        most = self.layers * self.heads * SPAN_TOKENS
        if max(config.slots) > most:
            raise ConfigError(f"slots {max(config.slots)} are more than {self.layers} × {self.heads} heads can keep, which is {most}.")
        self.model, self.tokenizer, self.config = model.requires_grad_(False), tokenizer, config
        self.state, self._save, self._progress = state or State(), save, progress
        known = passages(config.corpus, held_out=False)
        self._learn = Objective(tokenizer, known[: config.passages], config.seed)
        self._judge = Objective(tokenizer, known[config.passages : config.passages + JUDGES] or known[:JUDGES], config.seed)
        self._ranked: dict[int, RankedMemories] = {}

    def run(self) -> Calibration:
        """The stages that are not behind the state, then the profiles."""
        largest, *smaller = sorted(self.config.slots, reverse=True)
        stages = [(self._search, largest), (self._choose_bracket, largest), (self._refine, largest)]
        stages += [(self._search, size) for size in smaller]
        for index, (stage, size) in enumerate(stages):
            if index >= self.state.stage:
                stage(size)
                self.state.stage, self.state.search = index + 1, None
                self._save(self.state)
        return Calibration(profiles=tuple(self._profile(size) for size in (largest, *smaller)), worth=self._worth())

    # ------------------------------------------------------------------ stages

    def _search(self, size: int) -> None:
        """From the size before, or half of everything."""
        if self.state.budgets:
            before = torch.tensor(self.state.budgets[min(self.state.budgets, key=int)])
        else:
            before = torch.full((self.layers, self.heads), SPAN_TOKENS / 2)
        self._follow(self.state.search or Search.begin(before, size), f"search {size}")

    def _choose_bracket(self, size: int) -> None:
        """The bracket in which these budgets lose least, on passages that they were not learnt from."""
        gates = gates_of(whole(torch.tensor(self.state.budgets[str(size)]), size))
        batches = self._judge.everything(self.config.batch_size)
        for index in range(len(self.state.bracket_losses), len(BRACKETS)):
            memories = rank_memories(self._encoder(index), self._judge.references(self.tokenizer))
            self.state.bracket_losses.append(whole_loss(self.model, memories, batches, gates))
            self._save(self.state)
            self._progress("bracket", index + 1, len(BRACKETS))
        self.state.bracket = min(range(len(BRACKETS)), key=self.state.bracket_losses.__getitem__)

    def _refine(self, size: int) -> None:
        """The last steps once more, in the bracket that was chosen."""
        budgets = torch.tensor(self.state.budgets[str(size)])
        late = replace(Search.begin(budgets, size), start=float(size), step=self.config.steps - self.config.steps // REFINED)
        self._follow(self.state.search or late, f"refine {size}")

    def _follow(self, search: Search, stage: str) -> None:
        memories, steps = self._memories(), self.config.steps
        self._progress(stage, search.step, steps)
        while search.step < steps:
            batch = self._learn.batch(len(self.state.losses), self.config.batch_size)
            search, loss = search.advanced(self.model, memories, batch, steps=steps)
            self.state.losses.append(loss)
            self.state.search = search
            self._progress(stage, search.step, steps)
            if search.step % STEPS_A_CHECKPOINT == 0:
                self._save(self.state)
        self.state.budgets[str(search.target)] = search.budgets.tolist()

    # ------------------------------------------------------------------ what they share

    def _encoder(self, bracket: int) -> Encoder:
        suffix, align = BRACKETS[bracket]
        like = Profile(name="any", budget=((1,),), selector=self.config.selector, prefix=self.config.prefix, suffix=suffix, align=align)
        return Encoder(self.model, self.tokenizer, dense_profile(self.layers, self.heads, like=like))

    def _memories(self) -> RankedMemories:
        bracket = self.state.bracket
        if bracket not in self._ranked:
            references = self._learn.references(self.tokenizer)
            self._ranked = {bracket: rank_memories(self._encoder(bracket), references, progress=self._progress)}
        return self._ranked[bracket]

    def _profile(self, size: int) -> Profile:
        suffix, align = BRACKETS[self.state.bracket]
        return Profile(
            name=f"calibrated-{size}",
            budget=whole(torch.tensor(self.state.budgets[str(size)]), size),
            selector=self.config.selector,
            prefix=self.config.prefix,
            suffix=suffix,
            align=align,
        )

    def _worth(self) -> Tensor:
        probes, rows = self._learn.first("title", ABLATED)
        return worth_of_heads(self.model, self._memories(), probes, rows, progress=self._progress)
