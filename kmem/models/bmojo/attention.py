"""B'MOJO's mixer: one softmax over eidetic tokens, read-outs of the fading state, and a window; some variants lack a part."""

from torch import Tensor, cat, nn

from kmem.kernels.chunked_window import Attended, KeyValue, Window, attend
from kmem.models.bmojo.config import BMojoConfig
from kmem.models.bmojo.fading import FadingMemory
from kmem.models.bmojo.interface import ALL_ATTENTION_FUNCTIONS, own_attention
from kmem.models.bmojo.projections import Projections
from kmem.models.bmojo.ranking import Ranking
from kmem.models.bmojo.rope import Rotation, apply_rotary_pos_emb, rotate
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
            retrieve_above=config.retrieve_above,
            retrieve=config.retrieve,
            scaling=self.attention.scaling,
        )

    def forward(self, hidden: Tensor, state: State, past: int, *, position_embeddings: Rotation) -> tuple[Tensor, State]:
        """[B, T, C], the tokens after `past` others, after a call that gave `state` → [B, T, C], and the state after them."""
        last = past + hidden.shape[1] - 1
        key, value = self.attention.keys(hidden)
        query, key = apply_rotary_pos_emb(self.attention.queries(hidden), key, *position_embeddings)
        near = _after(state, "window", KeyValue(key, value))
        after = _kept("window", near, last - self.window.kept(last) + 1)
        faded = read_out = None
        if self.fading is not None:
            read_out, carried = self.fading(hidden, state)
            fading_key, fading_value = self.attention.fading_keys(read_out)
            faded = _after(state, "fading", KeyValue(rotate(fading_key, *position_embeddings), fading_value))
            after |= carried | _kept("fading", faded, last - self.window.kept_fading(last) + 1)
        if self.ranking is not None:
            fresh, known = self.ranking.rank(hidden, read_out, state, past)
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
        return self.attention.merged(output), after


def _after(state: State, name: str, new: KeyValue) -> KeyValue:
    """The remembered keys and values of this name with the new ones behind them."""
    if not state:
        return new
    return KeyValue(cat([state[f"{name}_key"], new.key], dim=2), cat([state[f"{name}_value"], new.value], dim=2))


def _kept(name: str, pair: KeyValue, tokens: int) -> dict[str, Tensor]:
    """What a later query can still see: the last `tokens`."""
    first = pair.key.shape[2] - tokens
    return {f"{name}_key": cut(pair.key, first), f"{name}_value": cut(pair.value, first)}
