"""The live connection between a model and a policy: it manages every KV cache that the model fills meanwhile."""

from collections.abc import Callable
from contextlib import nullcontext
from threading import Lock
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from kmem.encoder.anatomy import examine
from kmem.encoder.hook import answer, current_handler, managing, scaling_of
from kmem.errors import AttachError, UnsupportedModelError
from kmem.kernels.chunked_window import Attended
from kmem.runtime.managed.layer import ManagedLayer, Owner
from kmem.runtime.managed.memories import AttachedMemories
from kmem.runtime.managed.rules import Rules


class Manager:
    """What `with kmem.manage(...) as managed` yields. Figures are of the cache that was used last; layers with a sliding window, which
    bounds them already, are left alone and not counted.
    """

    def __init__(self, model: PreTrainedModel, rules: Rules, attached: AttachedMemories | None = None) -> None:
        self._anatomy, self._config, self._rules = examine(model), model.config, rules
        self._attached = attached
        self._owner = Owner()
        self._caches: WeakSet[Cache] = WeakSet()
        self._cache: Cache | None = None
        self._turn = Lock()  # one forward pass at a time

    # ------------------------------------------------------------------ what callers look at

    @property
    def seconds(self) -> float:
        """Spent on watching and scoring."""
        return self._rules.clock.seconds

    @property
    def waits_for_device(self) -> bool:
        """Whether `seconds` counts what a GPU does, for which it then waits each time; a benchmark sets it."""
        return self._rules.clock.synchronise

    @waits_for_device.setter
    def waits_for_device(self, waits: bool) -> None:
        self._rules.clock.synchronise = waits

    def kept(self) -> list[list[list[int]]]:
        """Tokens kept, by managed layer, batch row and key-value head."""
        return [[[int(count) for count in row] for row in _counts(layer, self._anatomy.heads)] for layer in self._layers()]

    @property
    def cache_fraction(self) -> float:
        """Tokens kept as a share of those read, over layers, rows and heads; padding counts as neither. 1 where nothing was read."""
        layers = self._layers()
        held = sum(int(_counts(layer, self._anatomy.heads).sum()) for layer in layers)
        read = sum(part.done * len(part.rows) * self._anatomy.heads for layer in layers for part in layer.parts)
        return held / read if read else 1.0

    def bytes(self) -> dict[str, int]:
        """`cache`: keys and values held; `full`: what they would be with every token, padding included, as without a policy; `statistics`:
        what the policy keeps beside them, `index`: what says which head has which token.
        """
        layers = self._layers()
        return {
            "cache": sum(_key_value_bytes(layer) for layer in layers),
            "full": sum(_full_bytes(layer) for layer in layers),
            "statistics": sum(part.watcher.nbytes for layer in layers for part in layer.parts),
            "index": sum(part.store.index_nbytes for layer in layers for part in layer.parts if part.store is not None),
        }

    # ------------------------------------------------------------------ around the model's forward

    def forward(self, original: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """In place of the decoder's forward."""
        if current_handler() is not None:  # the encoder is at work in the same model
            with managing(None):
                return original(**arguments)
        cache = arguments.get("past_key_values")
        if cache is None:
            if arguments.get("use_cache") is False:
                raise UnsupportedModelError(
                    "With use_cache=False there is no KV cache to manage; leave it on, or call outside kmem.manage."
                )
            cache = arguments["past_key_values"] = DynamicCache(config=self._config)
            arguments["use_cache"] = True
        with self._turn, managing(self):
            self._adopt(cache, arguments)
            self._cache = cache
            if self._attached is not None and _new_columns(arguments)[1] == 1:
                self._attached.decide(cache)
            return original(**arguments)

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: dict[str, Any]
    ) -> tuple[Tensor, Tensor | None]:
        """The model's own attention, memories included, over a layer that dropped nothing; else the layer's, which memories join."""
        assert self._cache is not None  # forward set it
        layer = self._cache.layers[int(module.layer_idx)]  # type: ignore[arg-type]
        if not isinstance(layer, ManagedLayer):
            return answer(module, query, key, value, mask, options)
        autocast = torch.is_autocast_enabled(query.device.type)
        with torch.autocast(query.device.type, enabled=False) if autocast else nullcontext():
            scaling, softcap = scaling_of(query, options), options.get("softcap")
            found = layer.attend(query, key, value, scaling=scaling, softcap=softcap)
            if self._attached is not None:
                self._attached.note(self._cache, int(module.layer_idx), query, layer.seen, scaling=scaling, softcap=softcap)  # type: ignore[arg-type]
        if found is None:
            return answer(module, query, key, value, mask, options)
        output, sums = found
        if current_handler() is None:
            return output.to(query.dtype).transpose(1, 2), None
        new = slice(key.shape[2] - query.shape[2], None)

        def alone(*, lse: bool = False) -> Attended:
            return Attended(output, sums)

        return answer(module, query, key[:, :, new], value[:, :, new], None, options | {"alone": alone})

    def close(self) -> None:
        """Give caches that are still alive and lost nothing their own layers back."""
        self._owner.open = False
        for cache in list(self._caches):
            cache.layers = [layer.whole() if isinstance(layer, ManagedLayer) and not layer.split else layer for layer in cache.layers]

    def _layers(self) -> list[ManagedLayer]:
        return [] if self._cache is None else [layer for layer in self._cache.layers if isinstance(layer, ManagedLayer)]

    def _adopt(self, cache: Cache, arguments: dict[str, Any]) -> None:
        """Put our layers in place of transformers' own, and check the padding."""
        if type(cache) is not DynamicCache or cache.offloading:
            raise UnsupportedModelError(
                f"Policies manage transformers' DynamicCache on the model's device, not {type(cache).__name__}"
                f"{' with offloading' if getattr(cache, 'offloading', False) else ''}; leave cache_implementation as it is."
            )
        if not cache.layers:
            cache.layers = DynamicCache(config=self._config).layers
        cache.layers = [self._own(layer, index) for index, layer in enumerate(cache.layers)]
        managed = [layer for layer in cache.layers if isinstance(layer, ManagedLayer)]
        batch, length = _new_columns(arguments)
        pads = _padding(arguments.get("attention_mask"), batch, length, begun=all(layer.begun for layer in managed))
        if pads is not None:
            for layer in managed:
                layer.begin(pads)
        self._caches.add(cache)

    def _own(self, layer: Any, index: int) -> Any:
        """Ours in place of transformers' own; others, as those with a sliding window, are left as they are."""
        if isinstance(layer, ManagedLayer) and not layer.belongs_to(self._owner):
            if layer.split:
                raise AttachError("This KV cache was managed in another block, and tokens of it are gone: read the text anew.")
            layer = layer.whole()
        return ManagedLayer.of(layer, self._rules, index, self._owner) if type(layer) is DynamicLayer else layer


def _new_columns(arguments: dict[str, Any]) -> tuple[int, int]:
    """Rows and columns of this forward pass."""
    given = arguments.get("input_ids")
    given = arguments["inputs_embeds"] if given is None else given
    return int(given.shape[0]), int(given.shape[1])


def _padding(mask: object, batch: int, length: int, *, begun: bool) -> Tensor | None:
    """[B] columns of padding before each row's tokens so far, None where all rows have tokens already.

    Raises UnsupportedModelError where there is padding behind a token.
    """
    if mask is None:
        return None if begun else torch.zeros(batch, dtype=torch.int64)
    if not isinstance(mask, Tensor) or mask.ndim != 2:
        raise UnsupportedModelError(
            "A managed model takes attention masks of two dimensions, 1 for a token and 0 for padding; give such a one."
        )
    real = (mask[:, -length:] if begun else mask).bool().cpu()
    if bool((real[:, 1:] < real[:, :-1]).any()) or (begun and not bool(real.all())):
        raise UnsupportedModelError("Padding must come before a row's tokens where a policy manages the KV cache; pad on the left.")
    return None if begun else (~real).sum(-1)


def _counts(layer: ManagedLayer, heads: int) -> Tensor:
    """[B, H]."""
    counts = torch.zeros(sum(len(part.rows) for part in layer.parts), heads, dtype=torch.int64)
    for part in layer.parts:
        counts[part.rows] = part.store.held.cpu() if part.store is not None else torch.tensor(part.done)
    return counts


def _key_value_bytes(layer: ManagedLayer) -> int:
    whole = 0 if layer.keys is None else int(layer.keys.nbytes + layer.values.nbytes)
    return whole + sum(part.store.nbytes for part in layer.parts if part.store is not None)


def _full_bytes(layer: ManagedLayer) -> int:
    if layer.keys is None:
        return 0
    batch, heads, _, dim = layer.keys.shape
    return int(batch * heads * layer.seen * (dim + layer.values.shape[-1]) * layer.keys.element_size())
