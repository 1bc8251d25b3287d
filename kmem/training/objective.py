"""What calibration minimises: the loss of three kinds of probes, reading one memory or the right one among five."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kmem.errors import SourceNotFoundError
from kmem.training.gates import GatedReader, gated_nll
from kmem.training.passages import Passage
from kmem.training.probes import PROBES, Probe, reference_ids
from kmem.training.ranked import RankedMemories

SHARES = {"title": 0.75, "continuation": 0.15, "question": 0.1}
"""Weight of each kind of probe. Questions need least: with a fifth of them, short answers were read better than from the text."""
ASKS = {"title": "title → text", "continuation": "first words → the rest", "question": "blanked name or number"}
"""What each kind of probe asks, for a profile's provenance."""
AMONG = 5
"""Memories beside each other (Memory³ reads five) …"""
AMONG_EVERY = 3
"""… in one batch of so many."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Probes with the rows of the memories each reads, [B, 1 or 5], its own first; weight [B] of each nat of its target."""

    probes: tuple[Probe, ...]
    rows: Tensor
    weight: Tensor


class Objective:
    """Probes of N passages; row i of the memories is passage i's. Raises SourceNotFoundError when no probe can be made."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, passages: Sequence[Passage], seed: int) -> None:
        self.passages, self._seed = tuple(passages), seed
        self._probes: dict[str, list[tuple[int, Probe]]] = {}
        for kind, make in PROBES.items():
            made = [(row, make(tokenizer, passage)) for row, passage in enumerate(passages)]
            found = [(row, probe) for row, probe in made if probe is not None and probe.target]
            if found:
                self._probes[kind] = found
        if not self._probes:
            raise SourceNotFoundError("The corpus gives no probe to calibrate with; name one whose documents have titles and sentences.")

    @property
    def shares(self) -> dict[str, float]:
        """The weight of each kind that these passages give probes of; their sum is 1."""
        present = {kind: SHARES[kind] for kind in self._probes}
        return {kind: share / sum(present.values()) for kind, share in present.items()}

    def __str__(self) -> str:
        """What is minimised, for a profile's provenance."""
        kinds = ", ".join(f"{share:.2g} {ASKS[kind]}" for kind, share in self.shares.items())
        return f"nats a target token: {kinds}; one batch in {AMONG_EVERY} reads {AMONG} memories"

    def batch(self, step: int, size: int) -> Batch:
        """The batch of a step, a matter of seed and step alone."""
        chance = random.Random(f"{self._seed} {step}")
        counts = {kind: max(1, round(size * share)) for kind, share in self.shares.items()}
        picked = [(kind, chance.choice(self._probes[kind])) for kind, count in counts.items() for _ in range(count)]
        return self._batch(picked, among=AMONG if step % AMONG_EVERY == AMONG_EVERY - 1 else 1, chance=chance)

    def references(self, tokenizer: PreTrainedTokenizerBase) -> list[tuple[int, ...]]:
        """Token ids of the passages' references, in order."""
        return [reference_ids(tokenizer, passage) for passage in self.passages]

    def first(self, kind: str, count: int) -> tuple[list[Probe], list[int]]:
        """The first probes of a kind, or of any where that kind has none, and the rows of their passages."""
        found = self._probes.get(kind) or next(iter(self._probes.values()))
        return [probe for _, probe in found[:count]], [row for row, _ in found[:count]]

    def everything(self, size: int) -> list[Batch]:
        """All probes, once alone and once among five; over all batches each kind has its share."""
        chance = random.Random(self._seed)
        shares = self.shares
        batches = []
        for kind, probes in self._probes.items():
            for start in range(0, len(probes), size):
                picked = [(kind, probe) for probe in probes[start : start + size]]
                part = shares[kind] * len(picked) / len(probes) / 2
                for among in (1, AMONG):
                    batch = self._batch(picked, among=among, chance=chance)
                    batches.append(replace(batch, weight=batch.weight * part))
        return batches

    def _batch(self, picked: Sequence[tuple[str, tuple[int, Probe]]], *, among: int, chance: random.Random) -> Batch:
        tokens = {kind: sum(len(probe.target) for other, (_, probe) in picked if other == kind) for kind, _ in picked}
        shares = sum(SHARES[kind] for kind in tokens)
        everyone = range(len(self.passages))
        others = [[other for other in everyone if other != row] for _, (row, _) in picked]
        rows = [[row, *chance.sample(other, min(among - 1, len(other)))] for (_, (row, _)), other in zip(picked, others, strict=True)]
        weight = [SHARES[kind] / shares / tokens[kind] for kind, _ in picked]
        return Batch(probes=tuple(probe for _, (_, probe) in picked), rows=torch.tensor(rows), weight=torch.tensor(weight))


def loss_of(model: PreTrainedModel, memories: RankedMemories, batch: Batch, gates: Tensor) -> Tensor:
    """Mean nats a target token, each kind by its share; differentiable in gates [1, L, H, 128]."""
    losses = gated_nll(model, batch.probes, GatedReader(memories, batch.rows, gates))
    return (losses * batch.weight.to(losses.device)).sum()


def whole_loss(model: PreTrainedModel, memories: RankedMemories, batches: Sequence[Batch], gates: Tensor) -> float:
    """Sum of the batches' losses, without a gradient."""
    with torch.inference_mode():
        return sum(float(loss_of(model, memories, batch, gates)) for batch in batches)
