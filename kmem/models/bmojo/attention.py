"""B'MOJO's mixer: one softmax over eidetic tokens, read-outs of the fading state, and a window; some variants lack a part."""

import torch.nn.functional as F
from torch import Tensor, cat, nn

from kmem.kernels.chunked_window import Attended, KeyValue, Window, attend
from kmem.models.bmojo.config import BMojoConfig
from kmem.models.bmojo.fading import FadingMemory
from kmem.models.bmojo.interface import ALL_ATTENTION_FUNCTIONS, own_attention
from kmem.models.bmojo.priority import EMPTY
from kmem.models.bmojo.projections import Projections
from kmem.models.bmojo.ranking import Ranking
from kmem.models.bmojo.reach import Reach
from kmem.models.bmojo.rope import RotaryEmbedding, Rotation, apply_rotary_pos_emb, rotate
from kmem.models.bmojo.state import State, cut
from kmem.models.bmojo.store import Store, Tokens


class BMojoAttention(nn.Module):
    """layer_idx: its number among the layers that attend. ranking: how tokens to store are chosen, None = none is stored."""

    def __init__(self, config: BMojoConfig, layer_idx: int, window: Window, ranking: Ranking | None) -> None:
        super().__init__()
        self.config, self.layer_idx = config, layer_idx
        self.window, self.ranking = window, ranking
        self.attention = Projections(config, fades=window.fading > 0)
        self.fading = FadingMemory(config) if window.fading else None
        self.store = Store(
            window=window,
            capacity=config.eidetic,
            reach=None if config.reach is None else Reach(config.reach, RotaryEmbedding(config.head_dim, config.rope_base)),
            retrieve_above=config.retrieve_above,
            retrieve=config.retrieve,
            scaling=self.attention.scaling,
        )

    def forward(
        self, hidden: Tensor, state: State, past: int, *, position_embeddings: Rotation, goes_on: bool = True
    ) -> tuple[Tensor, State]:
        """[B, T, C], the tokens after `past` others, after a call that gave `state` → [B, T, C], and the state after them.

        goes_on: whether a call after this one wants the state, which is empty otherwise: then tokens that never leave the window are
        neither taken into the fading memory nor ranked, since nobody reads them there.
        """
        length = hidden.shape[1]
        last = past + length - 1
        behind = 0 if goes_on else min(length - 1, last + 1 - self.window.first(last))
        leaving = hidden[:, : length - behind]
        key, value = self.attention.keys(hidden)
        query, key = apply_rotary_pos_emb(self.attention.queries(hidden), key, *position_embeddings)
        near = _after(state, "window", KeyValue(key, value))
        after = _kept("window", near, last - self.window.kept(last) + 1)
        faded = read_out = None
        if self.fading is not None:
            read_out, carried = self.fading(leaving, state)
            fading_key, fading_value = self.attention.fading_keys(read_out)
            fading_key = rotate(fading_key, *(part[:, : length - behind] for part in position_embeddings))
            faded = _after(state, "fading", KeyValue(*(F.pad(part, [0, 0, 0, behind]) for part in (fading_key, fading_value))))
            after |= carried | _kept("fading", faded, last - self.window.kept_fading(last) + 1)
        if self.ranking is not None:
            fresh, known = self.ranking.rank(leaving, read_out, state, past)
            fresh = F.pad(fresh, [0, behind], value=EMPTY)
            priority = cat([state["window_priority"], fresh], dim=1) if state else fresh
            after |= known | {"window_priority": priority[:, -after["window_key"].shape[2] :].clone()}

        def alone(*, lse: bool = False) -> Attended:
            if self.ranking is None:
                return attend(query, near, self.window, end=last + 1, scaling=self.attention.scaling, fading=faded, lse=lse)
            read, stored = self.store.attend(Tokens(query, near, priority, faded, last + 1), state, lse=lse)
            after.update(stored)  # the store goes on while it is read, chunk by chunk
            return read

        attention = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, own_attention)
        output, _ = attention(self, query, key, value, None, scaling=self.attention.scaling, alone=alone)
        return self.attention.merged(output), after if goes_on else {}


def _after(state: State, name: str, new: KeyValue) -> KeyValue:
    """The remembered keys and values of this name with the new ones behind them."""
    if not state:
        return new
    return KeyValue(cat([state[f"{name}_key"], new.key], dim=2), cat([state[f"{name}_value"], new.value], dim=2))


def _kept(name: str, pair: KeyValue, tokens: int) -> dict[str, Tensor]:
    """What a later query can still see: the last `tokens`."""
    first = pair.key.shape[2] - tokens
    return {f"{name}_key": cut(pair.key, first), f"{name}_value": cut(pair.value, first)}
