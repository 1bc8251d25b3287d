"""Rows of a batch that have as much padding before them: their tokens are watched and dropped together, by one count, without padding."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from kmem.kernels.attention_columns import Attention
from kmem.kernels.memory_attention.context import is_learning
from kmem.runtime.managed.attend import attend_kept
from kmem.runtime.managed.kept import kept
from kmem.runtime.managed.rules import Rules
from kmem.runtime.managed.store import Store
from kmem.runtime.managed.watcher import Watcher
from kmem.runtime.policies.protocol import Tokens

Attended = tuple[Tensor, Tensor]
"""Output [b, Q, q, D] and log-sum-exp [b, Q, q]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """A forward pass in one layer: query [b, Q, q, D], key and value [b, H, q, D] of the new tokens, which begin at position `first`.

    prompt: tokens of the prompt, as far as it was read.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    first: int
    prompt: int
    scaling: float
    softcap: float | None

    @property
    def end(self) -> int:
        return self.first + self.query.shape[2]

    @property
    def suits_columns(self) -> bool:
        """Whether what watches its rows may attend them as well: no gradient is asked for, and the CPU's kernel is at work."""
        return self.query.device.type == "cpu" and not is_learning(self.query, self.key, self.value)

    def of(self, tensor: Tensor, start: int, stop: int) -> Tensor:
        """Its columns of the tokens start … stop − 1."""
        return tensor[:, :, start - self.first : stop - self.first]


class Part:
    """rows [b] of the batch, with `pads` columns of padding. done: tokens watched so far. store: None until a token was dropped."""

    def __init__(self, rules: Rules, layer: int, rows: Tensor, pads: int, *, done: int = 0) -> None:
        self.rules, self.layer, self.rows, self.pads = rules, layer, rows, pads
        self.done = done
        self.watcher = Watcher(rules)
        self.store: Store | None = None

    def scan(self, step: Step, key: Tensor) -> Tensor | None:
        """Watch the new tokens, with all keys [b, H, n, D] there, until some are to be dropped: then what stays [b, H, done]."""
        position = torch.arange(step.end, device=key.device).expand(*key.shape[:2], -1)
        for stop, fires in self._stops(step):
            seen = key[:, :, :stop], position[..., :stop]
            self._watch(step, stop, *seen, None, fires=fires)
            if fires:
                stays = self._fire(step, *seen)
                if stays is not None:
                    return stays
        return None

    def split(self, step: Step, key: Tensor, value: Tensor, stays: Tensor | None) -> Attended:
        """From now on in a store: key, value [b, H, n, D] of all tokens so far, less what `scan` found is to go.

        Returns the attention of the new tokens that were watched.
        """
        self.store = Store.of(key[:, :, : self.done], value[:, :, : self.done])
        attended = self._attend(step, step.first, self.done)
        if stays is not None:
            self.store.drop(stays)
        return attended

    def advance(self, step: Step) -> Attended:
        """Store, attend, watch and drop; returns the attention of the new tokens that were not watched before."""
        store = self.store
        assert store is not None  # split made it
        parts = [self._attend(step, self.done, self.done)]
        start = self.done
        for stop, fires in self._stops(step):
            store.append(step.of(step.key, start, stop), step.of(step.value, start, stop))
            key, value, position = store.keys(), store.values(), store.positions()
            # Rows that are watched at once are attended there: their softmax is taken once.
            together = fires and step.suits_columns
            watched = self._watch(step, start, key, position, value if together else None, fires=fires)
            rest = stop if watched is None else stop - watched.lse.shape[2]
            parts.append(self._attend(step, start, rest, key, value, position))
            if watched is not None:
                parts.append((watched.output, watched.lse))
            if fires:
                stays = self._fire(step, key, position)
                if stays is not None:
                    store.drop(stays)
            start = stop
        return torch.cat([output for output, _ in parts], dim=2), torch.cat([lse for _, lse in parts], dim=2)

    def select(self, rows: Tensor, places: Tensor, pads: int | None = None) -> "Part":
        """Those of its rows that stand at `places`, which become `rows` of the batch; before their first token, `pads` anew."""
        chosen = Part(self.rules, self.layer, rows, self.pads if pads is None else pads, done=self.done)
        chosen.watcher = self.watcher.select(places)
        if self.store is not None:
            chosen.store = self.store.select(places)
            chosen.watcher.forget(self.store.widest - chosen.store.widest)
        return chosen

    def _stops(self, step: Step) -> Iterator[tuple[int, bool]]:
        """Where to stop on the way to the last new token, and whether the policy fires there; what is left behind is done."""
        delay = self.rules.policy.delay
        if not delay:
            self.done = step.end
        while self.done < step.end:
            boundary = (self.done // delay + 1) * delay
            stop = min(boundary, step.end)
            self.watcher.add(step.of(step.query, self.done, stop), self.done, boundary)
            self.done = stop
            yield stop, stop == boundary

    @torch.no_grad()
    def _watch(self, step: Step, start: int, key: Tensor, position: Tensor, value: Tensor | None, *, fires: bool) -> Attention | None:
        with self.rules.clock as clock:
            found = self.watcher.read(key, position, whole=fires, scaling=step.scaling, softcap=step.softcap, value=value, since=start)
            if found is not None:
                clock.seconds -= found.seconds
        return found

    def _attend(
        self,
        step: Step,
        start: int,
        stop: int,
        key: Tensor | None = None,
        value: Tensor | None = None,
        position: Tensor | None = None,
    ) -> Attended:
        store = self.store
        assert store is not None  # split made it
        if start == stop:
            nothing = step.query[:, :, :0]
            return nothing.new_zeros(*nothing.shape[:3], step.value.shape[-1]), nothing.new_zeros(nothing.shape[:3])
        return attend_kept(
            step.of(step.query, start, stop),
            store.keys() if key is None else key,
            store.values() if value is None else value,
            store.positions() if position is None else position,
            start,
            scaling=step.scaling,
            softcap=step.softcap,
        )

    @torch.no_grad()
    def _fire(self, step: Step, key: Tensor, position: Tensor) -> Tensor | None:
        """What stays [b, H, n], or None where nothing goes."""
        with self.rules.clock:
            width, statistics = self.rules.policy.watch.width, self.watcher.statistics
            if statistics is None:
                statistics = torch.zeros(*key.shape[:3], width, device=key.device)
            real = position >= 0
            tokens = Tokens(
                layer=self.layer,
                layers=self.rules.layers,
                key=key,
                position=position,
                real=real,
                statistics=pad(statistics, (0, 0, 0, key.shape[2] - statistics.shape[2])),
                end=self.done,
                budget=self.rules.budget,
            )
            stays = kept(self.rules.policy, tokens, prompt=step.prompt, greediest=self.rules.greediest)
            found = None if bool((stays == real).all()) else stays
            self.watcher.fired(found)
        return found
