"""Run a model's layer prefix and hand every layer's queries, keys and values to a receiver."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from kmem.encoder.anatomy import Anatomy, examine
from kmem.encoder.hook import base_attention, handling, hooked, scaling_of
from kmem.errors import UnsupportedModelError


@dataclass(frozen=True, kw_only=True, eq=False)
class Projections:
    """What one layer's attention is given, hidden [B, T, C], and makes of it: query [B, Q, T, D], key and value [B, H, T, D], all after
    RoPE; cos and sin [B, T, ·].
    """

    layer: int
    module: nn.Module
    hidden: Tensor
    query: Tensor
    key: Tensor
    value: Tensor
    cos: Tensor
    sin: Tensor
    scaling: float


class _LastLayerReached(Exception):
    """Leaves the forward pass where nothing further is needed: that layer's attention, output projection and MLP are never run."""


class Recorder:
    """Hands every layer's projections on while the model runs as usual."""

    materialise_mask = False

    def __init__(self, receive: Callable[[Projections], None], last_layer: int) -> None:
        self.receive, self.last_layer = receive, last_layer
        self.hidden: Tensor | None = None
        self.rotation: tuple[Tensor, Tensor] | None = None

    def note_inputs(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.hidden = args[0] if args else kwargs.get("hidden_states")
        self.rotation = kwargs.get("position_embeddings")
        if self.rotation is None:
            raise UnsupportedModelError(f"{type(module).__name__} is not given its rotary embedding by name, so it can't be undone.")
        if self.hidden is None:
            raise UnsupportedModelError(f"{type(module).__name__} is not given its hidden states first, so tokens can't be judged by them.")

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: dict[str, Any]
    ) -> tuple[Tensor, Tensor | None]:
        assert self.hidden is not None  # note_inputs ran just before, on the same module
        assert self.rotation is not None
        layer = int(module.layer_idx)  # type: ignore[arg-type]
        cos, sin = self.rotation
        self.receive(
            Projections(
                layer=layer,
                module=module,
                hidden=self.hidden,
                query=query,
                key=key,
                value=value,
                cos=cos,
                sin=sin,
                scaling=scaling_of(query, options),
            )
        )
        if layer == self.last_layer:
            raise _LastLayerReached
        return base_attention(module)(module, query, key, value, mask, **options)


@contextmanager
def _noting_inputs(anatomy: Anatomy, recorder: Recorder) -> Iterator[None]:
    handles = [attention.register_forward_pre_hook(recorder.note_inputs, with_kwargs=True) for attention in anatomy.attentions]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def run_prefix(
    model: PreTrainedModel,
    input_ids: Tensor,
    attention_mask: Tensor,
    position_ids: Tensor,
    *,
    last_layer: int,
    receive: Callable[[Projections], None],
    learning: bool = False,
) -> None:
    """Forward input_ids [B, T] up to the attention inputs of `last_layer`, calling `receive` once a layer, in order.

    attention_mask [B, T] is always passed on: without one, transformers takes a jump in position_ids for packed sequences.
    learning: what is handed on has the gradient that the caller's context allows, else none.
    """
    anatomy = examine(model)
    recorder = Recorder(receive, last_layer)
    mode = nullcontext() if learning else torch.inference_mode()
    with mode, hooked(model), _noting_inputs(anatomy, recorder), handling(recorder), suppress(_LastLayerReached):
        anatomy.decoder(input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, use_cache=False)
