"""Policies and models for tests of managed caches."""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from kmem.models.namm.config import NammConfig
from kmem.models.namm.scorer import Namm, vector, with_vector
from kmem.runtime.managed.manager import Manager
from kmem.runtime.policies import Tokens
from kmem.runtime.policies.unwatched import Unwatched

CONFIG = NammConfig(n_fft=8, hop=4, ema=0.9, hidden=6, delay=16, protect=2)


def choosy(config: NammConfig = CONFIG, *, seed: int = 0, spread: float = 0.4) -> Namm:
    """A NAMM with seeded parameters that drops about half of what it sees."""
    namm = Namm(config)
    generator = torch.Generator().manual_seed(seed)
    return with_vector(namm, torch.randn(len(vector(namm)), generator=generator) * spread).requires_grad_(False)


def tokens(count: int, *, rows: int = 1, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (rows, count), generator=torch.Generator().manual_seed(seed))


def pieces(model: PreTrainedModel, ids: Tensor, sizes: list[int], mask: Tensor | None = None) -> Tensor:
    """Logits [B, n, V] of tokens fed so many at a time, in one cache."""
    cache, start, found = DynamicCache(config=model.config), 0, []
    for size in sizes:
        stop = start + size
        seen = None if mask is None else mask[:, :stop]
        positions = None if mask is None else (mask.cumsum(-1) - 1).clamp(min=0)[:, start:stop]
        found.append(model(ids[:, start:stop], attention_mask=seen, position_ids=positions, past_key_values=cache).logits)
        start = stop
    return torch.cat(found, dim=1)


def sizes_of(total: int, size: int) -> list[int]:
    return [min(size, total - start) for start in range(0, total, size)]


def held(managed: Manager) -> list[list[list[list[int]]]]:
    """Positions that are left, by layer, batch row and head."""
    found = []
    for layer in managed._layers():
        rows: dict[int, list[list[int]]] = {}
        for part in layer.parts:
            for index, row in enumerate(part.rows.tolist()):
                if part.store is None:
                    rows[row] = [list(range(part.done))] * 2
                else:
                    rows[row] = [[place for place in head.tolist() if place >= 0] for head in part.store.positions()[index]]
        found.append([rows[row] for row in sorted(rows)])
    return found


@dataclass(frozen=True, kw_only=True)
class Forget(Unwatched):
    """Drops tokens by a rule of position, layer and head: `score` is 1 or −1."""

    delay: int = 16
    protect: int = 1
    decides: bool = True

    def scores(self, tokens: Tokens) -> Tensor:
        heads = torch.arange(tokens.position.shape[1])[:, None]
        return 1.0 - 2.0 * ((tokens.position * 7 + heads * 3 + tokens.layer) % 5 < 3)


@dataclass(frozen=True, kw_only=True)
class Oracle(Unwatched):
    """Drops keys that no query after the firing gives more than 1e-7; `given` by layer is the most that any query head gave, [H, q, n]."""

    given: list[Tensor]
    delay: int = 16
    protect: int = 1
    decides: bool = True

    def scores(self, tokens: Tokens) -> Tensor:
        later = self.given[tokens.layer][:, tokens.end :]
        most = later.amax(1) if later.shape[1] else torch.ones(later.shape[0], later.shape[2])
        return most[None].gather(2, tokens.position.clamp(min=0)) - 1e-7


def tensors_of(cache: DynamicCache) -> list[Tensor]:
    """Every tensor that a cache holds alive, found through its objects."""
    found: dict[int, Tensor] = {}
    waiting: list[object] = list(cache.layers)
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, Tensor):
            found[one.untyped_storage().data_ptr()] = one
        elif isinstance(one, list | tuple):
            waiting += one
        elif type(one).__name__ in ("ManagedLayer", "Part", "Store", "Watcher"):
            waiting += [value for name, value in vars(one).items() if name != "rows"]
    return list(found.values())
