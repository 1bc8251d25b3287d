"""Attached memories under a policy: those that a prompt hardly read are not read by what is generated after it."""

from collections.abc import Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import Cache

from kmem.kernels.attention_columns import Rows
from kmem.kernels.memory_attention import LayerMemory
from kmem.runtime.managed.layer import ManagedLayer
from kmem.runtime.managed.part import Part
from kmem.runtime.managed.rules import Rules
from kmem.runtime.policies.namm import NammPolicy
from kmem.runtime.policies.protocol import Tokens
from kmem.runtime.schedule import Ids, Span
from kmem.runtime.session import Session


@dataclass(kw_only=True, eq=False)
class _Noted:
    """query [B, Q, m, D] after RoPE, of the last columns up to column `end`; scaling and softcap as the layer's."""

    query: Tensor
    end: int
    scaling: float
    softcap: float | None


class AttachedMemories:
    """When the first token after a prompt comes, each row's memories are scored: their slots stand in every managed layer and head as
    tokens that were read just before their span began, and are scored among the cache's own, by how the prompt's last tokens read them.

    A memory's score is the mean over all its slots. The best stay, as many as make up the `share` of those attached and at least one;
    their order is what the policy says, its threshold, which was learnt on the cache's own tokens, is not asked.
    """

    def __init__(self, rules: Rules, session: Session, share: float) -> None:
        self._rules, self._session, self._share = rules, session, share
        self._noted: WeakKeyDictionary[Cache, dict[int, _Noted]] = WeakKeyDictionary()

    @torch.no_grad()
    def note(self, cache: Cache, index: int, query: Tensor, end: int, *, scaling: float, softcap: float | None) -> None:
        """A layer's queries [B, Q, q, D] of a forward pass, up to column `end`: a prompt's last ones are what is watched."""
        length, layers = query.shape[2], self._noted.setdefault(cache, {})
        if length == 1:
            return
        before = layers.get(index)
        if before is not None and before.end == end - length:
            query = torch.cat([before.query, query], dim=2)
        watch = self._rules.policy.watch
        query = query[:, :, -(watch.tokens + watch.context) :].clone()
        layers[index] = _Noted(query=query, end=end, scaling=scaling, softcap=softcap)

    @torch.no_grad()
    def decide(self, cache: Cache) -> None:
        """Before the first token after a prompt is read."""
        layers = self._noted.pop(cache, None)
        if not layers:
            return
        first = next(iter(layers))
        if len(layers[first].query) != sum(len(part.rows) for part in cache.layers[first].parts):
            return  # rows were repeated or chosen since: whose queries these are is not known
        with self._rules.clock:
            for part, place, row in _rows(cache, layers):
                span = self._session.handed(cache, row)
                if span is not None and len(span.ids) > 1:
                    self._session.keep(cache, row, self._best(cache, layers, part, place, span))

    def _best(self, cache: Cache, layers: dict[int, _Noted], part: int, place: int, span: Span) -> Ids:
        totals, slots = torch.zeros(len(span.ids)), torch.zeros(len(span.ids))
        for index, noted in layers.items():
            layer = cache.layers[index]
            memory, resident = self._session.memory(index, span.ids)
            if not memory.filled.shape[1]:
                continue
            scores, filled = self._scores(layer.parts[part], layer, place, noted, memory, resident, span.start)
            totals += scores.masked_fill(~filled, 0.0).sum((0, 2)).cpu()
            slots += filled.sum((0, 2)).cpu()
        most = max(1, int(self._share * len(span.ids)))
        best = set((totals / slots.clamp(min=1)).argsort(descending=True, stable=True)[:most].tolist())
        return tuple(memory_id for number, memory_id in enumerate(span.ids) if number in best)

    def _scores(
        self, part: Part, layer: ManagedLayer, place: int, noted: _Noted, memory: LayerMemory, resident: Tensor, start: int
    ) -> tuple[Tensor, Tensor]:
        """Scores [H, R, s] of the slots of R memories, s of the head that has most, and which of them there are."""
        policy, watch = self._rules.policy, self._rules.policy.watch
        key, position = _context(part, layer, place)
        slots, filled = _by_head(memory, resident)  # [H, R·s, D], [H, R·s]
        bracket = memory.bracket_key.to(key)
        heads, others = key.shape[0], bracket.shape[1]
        begins = position.new_full((heads, others), start), torch.where(filled, start, -1)
        keys, positions = torch.cat([bracket, slots.to(key), key], dim=1), torch.cat([*begins, position], dim=1)
        order = positions.argsort(dim=1, stable=True)  # in order of time, the slots before the span's first token
        keys, positions = keys.gather(1, order[..., None].expand_as(keys)), positions.gather(1, order)
        statistics = keys.new_zeros(1, *positions.shape, watch.width)
        query, first, read = _last_rows(noted.query[int(part.rows[place])][None], part.done, watch.tokens, watch.hop, watch.context)
        rows = Rows(query=query, key=keys[None], position=positions[None], first=first, scaling=noted.scaling, softcap=noted.softcap)
        statistics, _ = policy.read(rows, None, statistics)
        if isinstance(policy, NammPolicy):
            statistics = policy.of_few(statistics, read)
        tokens = Tokens(
            layer=part.layer,
            layers=self._rules.layers,
            key=keys[None],
            position=positions[None],
            real=positions[None] >= 0,
            statistics=statistics,
            end=part.done,
            budget=None,
        )
        scores = policy.scores(tokens)[0].float()
        back = torch.empty_like(scores).scatter_(1, order, scores)[:, others : others + slots.shape[1]]
        shape = (heads, len(resident), -1)
        return back.reshape(shape), filled.reshape(shape)


def _rows(cache: Cache, layers: dict[int, _Noted]) -> Iterator[tuple[int, int, int]]:
    """(part, place in it, row of the batch) of every row; parts are alike in all layers."""
    first = next(cache.layers[index] for index in layers)
    for part, own in enumerate(first.parts):
        for place, row in enumerate(own.rows.tolist()):
            yield part, place, row


def _context(part: Part, layer: ManagedLayer, place: int) -> tuple[Tensor, Tensor]:
    """Keys [H, n, D] of one row's context, at least float32, and their positions [H, n]."""
    if part.store is not None:
        key, position = part.store.keys()[place], part.store.positions()[place]
    else:
        key = layer.keys[int(part.rows[place]), :, part.pads :]
        position = torch.arange(key.shape[1], device=key.device).expand(key.shape[0], -1)
    return key.to(torch.promote_types(key.dtype, torch.float32)), position


def _by_head(memory: LayerMemory, resident: Tensor) -> tuple[Tensor, Tensor]:
    """Keys [H, R·s, D] of R memories head by head, s the largest budget, and which of them there are."""
    key = memory.slots.decoded()[0][resident]
    filled = memory.filled[resident]
    most = max(memory.budget)
    bounds = list(zip(memory.head_starts, memory.head_starts[1:], strict=False))
    keys = torch.stack([pad(key[:, one:two], (0, 0, 0, most - (two - one))) for one, two in bounds])
    there = torch.stack([pad(filled[:, one:two], (0, most - (two - one))) for one, two in bounds])
    return keys.flatten(1, 2), there.flatten(1, 2)


def _last_rows(query: Tensor, done: int, tokens: int, hop: int, context: int) -> tuple[Tensor, int, int]:
    """Queries of the last rows [1, Q, context + k·hop, D], the first one's position, and k·hop; rows before the text's first are 0."""
    read = -(-min(tokens, done, query.shape[2]) // hop) * hop
    wanted = context + read
    real = query[:, :, -min(wanted, done) :]
    return pad(real, (0, 0, wanted - real.shape[2], 0)), done - wanted, read
