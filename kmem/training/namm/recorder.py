"""A policy that keeps everything, and writes down what a NAMM would have been shown."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from kmem.kernels.attention_columns import Rows, column_sums
from kmem.models.namm.scorer import Namm
from kmem.runtime.policies import NammPolicy, Tokens, Watch


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One layer at one firing, after `end` tokens: averaged spectra [H, n, bins], and attention that each token got so far [H, n]."""

    end: int
    statistics: Tensor
    received: Tensor


@dataclass
class Recorder:
    """Reads as the policy of `namm` does, and sums of columns beside. Of one prompt at a time."""

    namm: Namm
    seen: dict[int, list[Seen]] = field(default_factory=dict)
    """By layer, a firing each."""
    protect: int = 1
    decides: bool = True

    @property
    def delay(self) -> int:
        return self.namm.config.delay

    @property
    def watch(self) -> Watch:
        own = self._policy.watch
        return replace(own, width=own.width + 1)

    def read(self, rows: Rows, known: Tensor | None, statistics: Tensor) -> tuple[Tensor, Tensor | None]:
        """Spectra as NammPolicy has them, and the columns' sums of the rows that are new."""
        spectra, last = self._policy.read(rows, known, statistics[..., :-1])
        context = self.watch.context
        sums = column_sums(replace(rows, query=rows.query[:, :, context:], first=rows.first + context))
        received = statistics[..., -1] + sums.to(statistics)
        return torch.cat([spectra.to(statistics), received[..., None]], dim=-1), last

    def skip(self, statistics: Tensor, tokens: int) -> Tensor:
        """Spectra fade, sums stay."""
        return torch.cat([self._policy.skip(statistics[..., :-1], tokens), statistics[..., -1:]], dim=-1)

    def scores(self, tokens: Tokens) -> Tensor:
        """Notes the firing; all stay."""
        statistics = tokens.statistics[0].float().cpu().clone()
        self.seen.setdefault(tokens.layer, []).append(Seen(end=tokens.end, statistics=statistics[..., :-1], received=statistics[..., -1]))
        return tokens.real.float()

    @property
    def _policy(self) -> NammPolicy:
        return NammPolicy(self.namm)
