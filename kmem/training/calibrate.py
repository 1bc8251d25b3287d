"""Calibration: budgets per head, bracket and alignment that make memories readable for a model that was never trained on them.

The largest size is searched first, from half of everything downwards; with its budgets the bracket is chosen, and the budgets are
searched a little further in it; each smaller size goes on from the one before, in the same three stages.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kmem import __version__
from kmem.encoder.anatomy import examine
from kmem.encoder.encode import Encoder
from kmem.encoder.fingerprint import architecture_digest, display_name, tokenizer_digest, weights_digest
from kmem.encoder.profiles import dense_profile
from kmem.errors import ConfigError, WrongTypeError
from kmem.identity import content_id
from kmem.profile import SPAN_TOKENS, Align, Profile
from kmem.progress import Progress, silent
from kmem.training.budgets import whole
from kmem.training.config import CalibrateConfig
from kmem.training.gates import gates_of
from kmem.training.objective import SHARES, Objective, whole_loss
from kmem.training.passages import Passage, part, passages
from kmem.training.provenance import provenance
from kmem.training.ranked import RankedMemories, rank_memories
from kmem.training.relax import Search
from kmem.training.state import State
from kmem.training.worth import worth_of_heads

BRACKETS: tuple[tuple[str, Align], ...] = (("\n", "start"), ("\n", "end"), ("", "start"), ("", "end"), ("\n\n", "start"), ("\n\n", "end"))
"""Suffixes and alignments that are tried; the largest size is searched in the first."""
JUDGES = 32
"""Passages, besides those learnt from, that choose the bracket."""
ABLATED = 12
"""Probes that say what a head is worth."""
REFINED = 4
"""In the chosen bracket, one in so many steps is made again."""
STEPS_A_CHECKPOINT = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """profiles: one a size, largest first. worth: [L, H] nats per target token that each head's dense memory is worth.

    learnt: passages that were learnt from. judges: further ones that chose the brackets, 0 where there were none. objective: what was
    minimised, in words.
    """

    config: CalibrateConfig
    profiles: tuple[Profile, ...]
    worth: Tensor
    learnt: int
    judges: int
    objective: str


class Calibrator:
    """One calibration of a model on a corpus, or on the passages `known`, in their order.

    Raises ConfigError for more slots than the model has, and what reading the corpus raises.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        config: CalibrateConfig,
        *,
        known: Sequence[Passage] | None = None,
        progress: Progress = silent,
    ) -> None:
        anatomy = examine(model)
        self.layers, self.heads = anatomy.layers, anatomy.heads
        most = self.layers * self.heads * SPAN_TOKENS
        if max(config.slots) > most:
            raise ConfigError(f"slots {max(config.slots)} are more than {self.layers} × {self.heads} heads can keep, which is {most}.")
        self.model, self.tokenizer, self.config = model, tokenizer, config
        self.state, self._progress = State(), progress
        self._save: Callable[[State], None] = lambda state: None
        known = passages(config.corpus, held_out=False) if known is None else known
        learnt, further = known[: config.passages], known[config.passages : config.passages + JUDGES]
        self._learn = Objective(tokenizer, learnt, config.seed)
        self._judge = Objective(tokenizer, further or known[:JUDGES], config.seed)
        self._learnt, self._judges = len(learnt), len(further)
        self._ranked: dict[int, RankedMemories] = {}

    @property
    def sizes(self) -> tuple[int, ...]:
        """Largest first."""
        return tuple(sorted(self.config.slots, reverse=True))

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All that decides what comes out, as JSON gives it back: options, version, model, texts, and the constants behind the state."""
        passages = (passage.id for objective in (self._learn, self._judge) for passage in objective.passages)
        settings = self.config.to_dict() | {
            "kmem": __version__,
            "architecture": architecture_digest(self.model),
            "weights": weights_digest(self.model),
            "tokenizer": tokenizer_digest(self.tokenizer),
            "documents": f"{content_id(*passages):016x}",
            "brackets": BRACKETS,
            "shares": SHARES,
        }
        found: dict[str, Any] = json.loads(json.dumps(settings))
        return found

    def state_of(self, data: Mapping[str, Any]) -> State:
        """The state of a JSON object. Raises KeyError, ValueError or TypeError where it is none of this calibration's."""
        return State.from_dict(data, sizes=self.sizes, shape=(self.layers, self.heads), brackets=len(BRACKETS))

    def run(self, state: State | None = None, save: Callable[[State], None] = lambda state: None) -> Calibration:
        """The stages that are not behind the state, then the profiles; the model is left as it was.

        `save` is handed the state after every ten steps and every stage.
        """
        self.state, self._save = state or State(), save
        stages = [(stage, size) for size in self.sizes for stage in (self._search, self._choose_bracket, self._refine)]
        with _no_gradients_for(self.model):
            for index, (stage, size) in enumerate(stages):
                if index >= self.state.stage:
                    stage(size)
                    self.state.stage, self.state.search = index + 1, None
                    self._save(self.state)
            profiles = tuple(self._profile(size) for size in self.sizes)
            worth = self._worth()
        return Calibration(
            config=self.config,
            profiles=profiles,
            worth=worth,
            learnt=self._learnt,
            judges=self._judges,
            objective=str(self._learn),
        )

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
        references = self._judge.references(self.tokenizer)
        losses = self.state.bracket_losses.setdefault(str(size), [])
        self._progress(f"bracket {size}", len(losses), len(BRACKETS))
        for index in range(len(losses), len(BRACKETS)):
            memories = rank_memories(self._encoder(index), references, progress=self._progress)
            losses.append(whole_loss(self.model, memories, batches, gates))
            self._save(self.state)
            self._progress(f"bracket {size}", index + 1, len(BRACKETS))
        self.state.brackets[str(size)] = min(range(len(BRACKETS)), key=losses.__getitem__)

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
        self.state.budgets[str(search.target)] = search.found.tolist()

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
        suffix, align = BRACKETS[self.state.brackets[str(size)]]
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


def calibrate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: str | Path | Sequence[str | tuple[str, str]],
    slots: int = 720,
    *,
    config: CalibrateConfig | None = None,
    progress: Progress = silent,
) -> Profile:
    """The profile of so many slots in which `model`, never trained on memories, reads them best; its provenance says how it was found.

    texts: a source as `kmem calibrate --corpus` takes it, or texts, each alone or as (title, text); titles help. One in four, by its hash,
    is left to benchmarks. config: the other options; model and corpus are those given here. The model is left as it was.
    Raises ConfigError for more slots than the model has, WrongTypeError for texts that are none, SourceNotFoundError for too few.
    """
    known, corpus = None, str(texts)
    if not isinstance(texts, str | Path | Sequence):
        raise WrongTypeError(f"texts must be a source or a list of texts, not {texts!r:.40}.")
    if not isinstance(texts, str | Path):
        corpus = f"{len(texts)} texts"
        known = part((_passage(text) for text in texts), f"The list of {corpus}", held_out=False)
    config = replace(config or CalibrateConfig(), slots=(slots,), model=display_name(model), corpus=corpus)
    found = Calibrator(model, tokenizer, config, known=known, progress=progress).run()
    command = f"kmem.calibrate(model, tokenizer, {corpus!r}, slots={slots})"
    return replace(found.profiles[0], provenance=provenance(found, command))


def _passage(text: object) -> Passage:
    match text:
        case str():
            return Passage("", " ".join(text.split()))
        case (str() as title, str() as body):
            return Passage(title, " ".join(body.split()))
    raise WrongTypeError(f"A text must be a string or (title, text), not {text!r:.40}.")


@contextmanager
def _no_gradients_for(model: PreTrainedModel) -> Iterator[None]:
    """Only budgets need gradients; the caller's weights get back what they had."""
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)
