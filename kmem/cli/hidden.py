"""The model whose hidden states a bank's index was made of: loaded by the command that searches them, and by no other."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kmem.encoder.hidden import HiddenStates
    from kmem.kstore.manifest import Manifest


def hidden_states(model: str | None = None) -> "Callable[[Manifest], HiddenStates]":
    """For `open_bank`. model: where it is now, None = where it was when the bank was built."""

    def load(manifest: "Manifest") -> "HiddenStates":
        from kmem.runtime.searching import loaded_hidden_states

        return loaded_hidden_states(manifest, model=model)

    return load
