"""One layer of a KV cache that forgets. It reports every token it has seen, so that positions and masks go on as without a policy."""

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer

from kmem.errors import AttachError, UnsupportedModelError
from kmem.runtime.managed.part import Attended, Part, Step
from kmem.runtime.managed.rules import Rules


class ManagedLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped here
    """Until a token is dropped it holds keys and values [B, H, n, D] exactly as transformers' own layer does, padding included; from then
    on its parts have theirs in stores, and `update` hands back the new tokens alone, for attention that goes through `attend`.
    """

    is_croppable = False

    def __init__(self, rules: Rules, layer: int, owner: "Owner") -> None:
        super().__init__()
        self.keys: Any = None
        self.values: Any = None
        self._rules, self._layer, self._owner = rules, layer, owner
        self.parts: list[Part] = []
        self.seen = self.prompt = 0

    @classmethod
    def of(cls, plain: DynamicLayer, rules: Rules, layer: int, owner: "Owner") -> "ManagedLayer":
        """With the content of transformers' own layer, which no policy has watched."""
        managed = cls(rules, layer, owner)
        if plain.get_seq_length():
            managed.lazy_initialization(plain.keys, plain.values)
            managed.keys, managed.values = plain.keys, plain.values
            managed.seen = managed.prompt = plain.get_seq_length()
        return managed

    @property
    def split(self) -> bool:
        """Whether a token was dropped."""
        return any(part.store is not None for part in self.parts)

    def belongs_to(self, owner: "Owner") -> bool:
        """Whether that is who manages it."""
        return self._owner is owner

    @property
    def begun(self) -> bool:
        """Whether every row has a token."""
        return bool(self.parts) and all(part.done for part in self.parts)

    def begin(self, pads: Tensor) -> None:
        """Group the rows of a batch that have no token yet by their columns of padding [B], so far."""
        if not self.parts:
            self.parts = [Part(self._rules, self._layer, torch.arange(len(pads)), 0)]
        waiting = [part for part in self.parts if not part.done]
        self.parts = [part for part in self.parts if part.done]
        for part in waiting:
            own = pads[part.rows]
            for count in sorted(set(own.tolist())):
                chosen = part.select(part.rows[own == count], (own == count).nonzero()[:, 0], pads=count)
                chosen.done = max(0, self.seen - count)  # what came before the block was entered
                self.parts.append(chosen)

    def update(self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object) -> tuple[Tensor, Tensor]:
        """Take in keys and values [B, H, q, D]; returns all of the layer's, or these alone once a token was dropped."""
        if self.split and not self._owner.open:
            raise AttachError("This KV cache was managed, and tokens of it are gone: go on inside kmem.manage, or read the text anew.")
        self.seen += key_states.shape[-2]
        if key_states.shape[-2] > 1:
            self.prompt = self.seen
        if self.split:
            return key_states, value_states
        held: tuple[Tensor, Tensor] = super().update(key_states, value_states)
        return held

    def attend(self, query: Tensor, key: Tensor, value: Tensor, *, scaling: float, softcap: float | None) -> Attended | None:
        """Watch, drop and attend, with what `update` gave back; None where the model's own attention over it is still right.

        query [B, Q, q, D] → output [B, Q, q, D] and log-sum-exp [B, Q, q].
        """
        before = self.seen - query.shape[2]
        steps = [self._step(part, query, key, value, before, scaling, softcap) for part in self.parts]
        done: list[Attended | None] = [None] * len(steps)
        if not self.split:
            stays = [part.scan(step, self._of(part, key, self.seen)) for part, step in zip(self.parts, steps, strict=True)]
            if all(one is None for one in stays):
                return None
            for index, (part, step, one) in enumerate(zip(self.parts, steps, stays, strict=True)):
                done[index] = part.split(step, self._of(part, key, self.seen), self._of(part, value, self.seen), one)
            self.keys, self.values = self.keys[:, :, :0].clone(), self.values[:, :, :0].clone()
        batch, query_heads, length = query.shape[:3]
        output = query.new_zeros(batch, query_heads, length, value.shape[-1])
        lse = torch.full(
            (batch, query_heads, length), -torch.inf, dtype=torch.promote_types(query.dtype, torch.float32), device=query.device
        )
        for part, step, first in zip(self.parts, steps, done, strict=True):
            pieces = [part.advance(step)] if first is None else [first, part.advance(step)]
            columns = slice(length - (step.end - step.first), length)
            output[part.rows, :, columns] = torch.cat([piece for piece, _ in pieces], dim=2).to(output.dtype)
            lse[part.rows, :, columns] = torch.cat([piece for _, piece in pieces], dim=2)
        return output, lse

    def whole(self) -> DynamicLayer:
        """Transformers' own layer with the same content, which must not be split."""
        plain = DynamicLayer()
        if self.is_initialized:
            plain.lazy_initialization(self.keys, self.values)
            plain.keys, plain.values = self.keys, self.values
        return plain

    def get_seq_length(self) -> int:
        """All columns ever seen: positions count them."""
        return self.seen

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """As of a layer that dropped nothing; attention over a split one needs no mask from outside."""
        return self.seen + query_length, 0

    def reset(self) -> None:
        """As new."""
        super().reset()
        self.parts, self.seen, self.prompt = [], 0, 0

    def crop(self, tokens_to_remove: int) -> None:
        """Raises UnsupportedModelError unless there is nothing to remove."""
        if tokens_to_remove:
            raise UnsupportedModelError(
                "A managed KV cache can't take tokens back, as assisted decoding does; generate without assistant_model and "
                "prompt_lookup_num_tokens."
            )

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Row b becomes what row beam_idx[b] was."""
        if not self.seen:
            return
        source = beam_idx.cpu()
        if not self.split:
            self.keys, self.values = (part.index_select(0, beam_idx.to(part.device)) for part in (self.keys, self.values))
        self.parts = [chosen for part in self.parts if (chosen := _select(part, source)) is not None]

    def batch_select_indices(self, indices: Tensor) -> None:
        """Only those rows."""
        self.reorder_cache(torch.arange(sum(len(part.rows) for part in self.parts))[indices.cpu()])

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Every row so many times."""
        self.reorder_cache(torch.arange(sum(len(part.rows) for part in self.parts)).repeat_interleave(repeats))

    def _step(self, part: Part, query: Tensor, key: Tensor, value: Tensor, before: int, scaling: float, softcap: float | None) -> Step:
        """What is new for a part; the layer's keys may come whole or new alone, and padding may be among them."""
        first, end = max(0, before - part.pads), max(0, self.seen - part.pads)
        new = end - first
        return Step(
            query=_rows(query, part)[:, :, query.shape[2] - new :],
            key=_rows(key, part)[:, :, key.shape[2] - new :],
            value=_rows(value, part)[:, :, value.shape[2] - new :],
            first=first,
            prompt=self.prompt - part.pads,
            scaling=scaling,
            softcap=softcap,
        )

    def _of(self, part: Part, tensor: Tensor, end: int) -> Tensor:
        """[b, H, n, D] a part's real tokens among all columns."""
        return _rows(tensor, part)[:, :, min(part.pads, end) :]


class Owner:
    """Stands for a `with kmem.manage` block; a deep copy of a cache belongs to the same one."""

    def __init__(self) -> None:
        self.open = True

    def __deepcopy__(self, memo: dict[int, object]) -> "Owner":
        return self


def _rows(tensor: Tensor, part: Part) -> Tensor:
    return tensor if len(part.rows) == len(tensor) else tensor[part.rows.to(tensor.device)]


def _select(part: Part, source: Tensor) -> Part | None:
    """The part of a batch whose row b was row source[b]; None where none of its rows is left."""
    place = {row: index for index, row in enumerate(part.rows.tolist())}
    rows = [row for row, old in enumerate(source.tolist()) if old in place]
    if not rows:
        return None
    return part.select(torch.tensor(rows), torch.tensor([place[int(source[row])] for row in rows]))
