"""Queries that wait to be read a second time: a policy reads rows in blocks, and never those it would forget before it fires."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from kmem.kernels.attention_columns import Attention, Rows
from kmem.runtime.managed.rules import Rules

READ_ROWS = 64
"""Rows that are read at once in decoding."""


class Watcher:
    """The statistics [b, H, n, width] of one layer's tokens, for b rows of a batch that have as many tokens each."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.statistics: Tensor | None = None
        self._query: Tensor | None = None  # [b, Q, m, D] at positions from `_at` on, the context's rows first
        self._known: Tensor | None = None
        self._at = 0

    @property
    def nbytes(self) -> int:
        """Of all that is kept from one step to the next."""
        return sum(part.nbytes for part in (self.statistics, self._query, self._known) if part is not None)

    @torch.no_grad()
    def add(self, query: Tensor, first: int, boundary: int) -> None:
        """Queries [b, Q, m, D] of the tokens from position `first` on, none beyond the next firing at `boundary`."""
        watch = self._rules.policy.watch
        if not watch.tokens:
            return
        begin = boundary - watch.tokens - watch.context
        if self._query is None:
            at = max(begin, first)
            if at > begin and first:  # a cache that was not watched from its beginning
                at += -at % watch.hop
            if at >= first + query.shape[2]:
                return
            before = -begin if at == 0 and begin < 0 else 0  # no token came before the first, and nothing was seen
            self._query, self._at = pad(query[:, :, at - first :], (0, 0, before, 0)), at - before
        else:
            self._query = torch.cat([self._query, query], dim=2)

    def read(
        self,
        key: Tensor,
        position: Tensor,
        *,
        whole: bool,
        scaling: float,
        softcap: float | None,
        value: Tensor | None = None,
        since: int = 0,
    ) -> Attention | None:
        """Take what waits into the statistics, if it is enough to be worth it, or all that there is if `whole`.

        key [b, H, n, D] at position [b, H, n] are all that the rows may have seen and that are still here. value [b, H, n, V]: asks for
        the attention of the rows from position `since` on as well; what was found is of the newest rows, None where it was not.
        """
        watch = self._rules.policy.watch
        missing = key.shape[2] - (0 if self.statistics is None else self.statistics.shape[2])
        if self._query is None or not watch.width:
            return None
        rows = (self._query.shape[2] - watch.context) // watch.hop * watch.hop
        if rows < (1 if whole else READ_ROWS):
            return None
        if self.statistics is None:
            wide = torch.promote_types(key.dtype, torch.float32)
            self.statistics = torch.zeros(*key.shape[:3], watch.width, dtype=wide, device=key.device)
        elif missing:
            self.statistics = pad(self.statistics, (0, 0, 0, missing))
        length = watch.context + rows
        query = self._query[:, :, :length]
        new = value is not None and self._known is None and self._at >= since and length == self._query.shape[2]
        attention = Attention.of(value, query) if new and value is not None else None
        read = Rows(query=query, key=key, position=position, first=self._at, scaling=scaling, softcap=softcap, attention=attention)
        self.statistics, known = self._rules.policy.read(read, self._known, self.statistics)
        self._known = None if known is None else known.clone()  # not the whole block that it is the end of
        self._query, self._at = self._query[:, :, rows:].clone(), self._at + rows
        return attention if attention is not None and attention.done else None

    def fired(self, kept: Tensor | None) -> None:
        """After a firing that kept these [b, H, n] tokens, or None: all."""
        policy = self._rules.policy
        watch = policy.watch
        if self.statistics is None:
            return
        if kept is not None:
            missing = kept.shape[2] - self.statistics.shape[2]
            self.statistics = right_aligned(pad(self.statistics, (0, 0, 0, missing)), kept)
        if watch.tokens + watch.context <= policy.delay:
            self._query = self._known = None
        if watch.tokens < policy.delay:
            self.statistics = policy.skip(self.statistics, policy.delay - watch.tokens)

    def forget(self, places: int) -> None:
        """The first places, which no head fills any more."""
        if self.statistics is not None:
            self.statistics = self.statistics[:, :, places:]

    def select(self, rows: Tensor) -> "Watcher":
        """Of those of its batch rows."""
        chosen = Watcher(self._rules)
        chosen._at = self._at
        chosen.statistics, chosen._query, chosen._known = (
            None if part is None else part[rows.to(part.device)] for part in (self.statistics, self._query, self._known)
        )
        return chosen


def right_aligned(tensor: Tensor, kept: Tensor) -> Tensor:
    """[b, H, most, ·] the entries of [b, H, n, ·] that are kept [b, H, n], in order, zeros before those of a head that has fewer."""
    most = int(kept.sum(-1).max())
    order = kept.to(torch.int8).argsort(dim=-1, stable=True)[..., kept.shape[-1] - most :]
    chosen = tensor.gather(2, order[..., None].expand(-1, -1, -1, tensor.shape[-1]))
    return chosen * kept.gather(2, order)[..., None]
