"""What a model remembers of the tokens it has read, layer by layer; the object that generate hands on."""

from torch import Tensor
from transformers.cache_utils import Cache

from kmem.errors import ConfigError
from kmem.models.bmojo.state import State


class BMojoCache(Cache):  # type: ignore[misc]  # transformers is untyped here
    """States of the layers after `seen` tokens of every row. It can't go back: what a state has taken in can't be taken out again."""

    def __init__(self, layers: int) -> None:
        super().__init__(layers=[])
        self.states: list[State] = [{} for _ in range(layers)]
        self.seen = 0

    def bytes_per_layer(self) -> list[dict[str, int]]:
        """Bytes of each layer's tensors by name: window, fading and eidetic keys and values, the fading state, and what predictors need."""
        return [{name: part.nbytes for name, part in state.items()} for state in self.states]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.seen

    def get_max_length(self, layer_idx: int | None = None) -> int:
        """There is none."""
        return -1

    @property
    def is_compileable(self) -> bool:
        return False

    @property
    def is_croppable(self) -> bool:
        return False

    @property
    def batch_size(self) -> int:
        return next((len(part) for state in self.states for part in state.values()), -1)

    def reset(self) -> None:
        self.states, self.seen = [{} for _ in self.states], 0

    def crop(self, tokens_to_remove: int) -> None:
        """Raises ConfigError unless there is nothing to remove."""
        if tokens_to_remove:
            raise ConfigError(f"A B'MOJO cache can't forget its last {tokens_to_remove} tokens; read the text anew without them.")

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Row b becomes what row beam_idx[b] was."""
        self.states = [{name: part.index_select(0, beam_idx.to(part.device)) for name, part in state.items()} for state in self.states]

    def batch_select_indices(self, indices: Tensor) -> None:
        self.reorder_cache(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        self.states = [{name: part.repeat_interleave(repeats, dim=0) for name, part in state.items()} for state in self.states]
