"""One door into any transformers-v5 model: the attention function named `kmem`.

`hooked(model)` points the model at it and puts everything back on leaving. While no handler is active in this context, or the handler
declines, the model's own attention function is called with its arguments untouched. Nothing is put into the KV cache: a prefix in the
cache loses keys silently under SDPA (`is_causal` with more keys than queries).
"""

import inspect
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from threading import Lock
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from kmem.errors import UnsupportedModelError

NAME = "kmem"
BASES = ("sdpa", "eager")
Attention = Callable[..., tuple[Tensor, Tensor | None]]


class Handler(Protocol):
    """What may stand in for a model's attention during one forward pass."""

    materialise_mask: bool
    """Whether masks must be explicit booleans [B, 1, q, n] even where SDPA's `is_causal` flag would do."""

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: dict[str, Any]
    ) -> tuple[Tensor, Tensor | None]:
        """Query [B, Q, q, D] and key [B, H, n, D] after RoPE, value [B, H, n, D] → output [B, q, Q, D] and optional weights.

        What it doesn't want to answer itself, `base_attention(module)` does.
        """
        ...


class Keeper(Protocol):
    """What manages a model's KV cache during one forward pass. It stands before the handler, and `answer` is what comes after it."""

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: dict[str, Any]
    ) -> tuple[Tensor, Tensor | None]:
        """As Handler's; key and value are what the layer's part of the cache gave back."""
        ...


_active: ContextVar[Handler | None] = ContextVar("kmem_handler", default=None)
_keeper: ContextVar[Keeper | None] = ContextVar("kmem_keeper", default=None)
_base_names: dict[int, str] = {}  # id of each config of a hooked model → the implementation it had; configs are not hashable
_holders: Counter[int] = Counter()  # id of the config of a hooked model → how many hold it: the last one to leave puts it back
_change = Lock()


def current_handler() -> Handler | None:
    """Who answers for attention in this context."""
    return _active.get()


@contextmanager
def handling(handler: Handler | None) -> Iterator[None]:
    """Make `handler` answer for every hooked model's attention in this context; None puts the models' own attention back."""
    token = _active.set(handler)
    try:
        yield
    finally:
        _active.reset(token)


@contextmanager
def managing(keeper: Keeper | None) -> Iterator[None]:
    """Let `keeper` manage the cache of every hooked model in this context; None: nobody."""
    token = _keeper.set(keeper)
    try:
        yield
    finally:
        _keeper.reset(token)


@contextmanager
def hooked(model: PreTrainedModel) -> Iterator[None]:
    """Route the model's attention through `kmem`; reentrant, also from threads; when the last holder leaves, the model is as before.

    Raises UnsupportedModelError for an attention implementation other than sdpa and eager.
    """
    whole = id(model.config)
    try:
        with _change:
            _holders[whole] += 1
            if _holders[whole] == 1:
                _point_at_kmem(model)
        yield
    finally:
        with _change:
            _holders[whole] -= 1
            if _holders[whole] == 0:
                _put_back(model)
                del _holders[whole]


def _parts(model: PreTrainedModel) -> set[int]:
    return {id(part.config) for part in model.modules() if isinstance(part, PreTrainedModel)}


def _point_at_kmem(model: PreTrainedModel) -> None:
    base = model.config._attn_implementation
    if base not in BASES:
        raise UnsupportedModelError(
            f"Attention implementation {base!r} can't take memories; load the model with attn_implementation='sdpa' or 'eager'."
        )
    _base_names.update(dict.fromkeys(_parts(model), base))
    model.set_attn_implementation(NAME)


def _put_back(model: PreTrainedModel) -> None:
    base = _base_names.get(id(model.config))
    if base is not None:
        model.set_attn_implementation(base)
        for part in _parts(model):
            del _base_names[part]


def base_attention(module: nn.Module) -> Attention:
    """What a layer of a hooked model would call if it were not hooked."""
    name, modeling = _base_names.get(id(module.config), "sdpa"), sys.modules[type(module).__module__]
    functions = getattr(modeling, "ALL_ATTENTION_FUNCTIONS", ALL_ATTENTION_FUNCTIONS)  # a model may have its own under these names
    base: Attention = functions.get_interface(name, getattr(modeling, "eager_attention_forward", None))
    return base


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, Tensor | None]:
    keeper = _keeper.get()
    if keeper is not None:
        return keeper.attend(module, query, key, value, attention_mask, options)
    return answer(module, query, key, value, attention_mask, options)


def answer(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: dict[str, Any]
) -> tuple[Tensor, Tensor | None]:
    """The active handler's attention, or the model's own; arguments as Handler.attend's."""
    handler = _active.get()
    if handler is None:
        return base_attention(module)(module, query, key, value, mask, **options)
    return handler.attend(module, query, key, value, mask, options)


def _mask(*, allow_is_causal_skip: bool = True, config: Any = None, **arguments: Any) -> Tensor | None:
    handler = _active.get()
    explicit = handler is not None and handler.materialise_mask
    name = "sdpa" if explicit else _base_names.get(id(config), "sdpa")
    mask: Tensor | None = ALL_MASK_ATTENTION_FUNCTIONS[name](
        allow_is_causal_skip=allow_is_causal_skip and not explicit, config=config, **arguments
    )
    return mask


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, _mask)


def visible(mask: Tensor) -> Tensor:
    """True where a boolean or additive mask lets attention through."""
    return mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2


def boolean_mask(mask: Tensor | None, query: Tensor, key: Tensor) -> Tensor:
    """[B, 1, q, n] True where a query [B, Q, q, D] may look at keys [B, H, n, D], from a boolean or additive mask [B, 1, q, ≥n].

    None comes from `generate()` with a static cache, which makes its masks before any handler is active: plain causal from the first key.
    """
    length, keys = query.shape[2], key.shape[2]
    if mask is None:
        last_seen = torch.arange(length, device=query.device) if length > 1 else torch.full((1,), keys, device=query.device)
        return (torch.arange(keys, device=query.device)[None] <= last_seen[:, None]).expand(query.shape[0], 1, -1, -1)
    return visible(mask[..., :keys])


def scaling_of(query: Tensor, options: dict[str, Any]) -> float:
    """What a model's attention multiplies its scores by: its own factor, or 1/√D for queries [B, Q, q, D] of a model that names none."""
    return float(options.get("scaling") or query.shape[-1] ** -0.5)


def is_wrapped(module: nn.Module) -> bool:
    """Whether someone holds this module in `wrapped_forward` now."""
    return getattr(module.__dict__.get("forward"), "wrapped_by_kmem", False)


def is_managed(module: nn.Module) -> bool:
    """Whether the last one to wrap it manages its cache."""
    return getattr(module.__dict__.get("forward"), "managed_by_kmem", False)


@contextmanager
def wrapped_forward(
    module: nn.Module, around: Callable[[Callable[..., Any], dict[str, Any]], Any], *, manages: bool = False
) -> Iterator[None]:
    """Call `around(original, arguments by name)` in place of the module's forward; put the original back on leaving.

    A wrapper, not a pair of hooks: torch runs `always_call` hooks after an Exception, but not after Ctrl-C.
    """
    own = module.__dict__.get("forward")
    original = module.forward
    signature = inspect.signature(original)

    @wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        arguments = dict(bound.arguments)
        return around(original, arguments | arguments.pop("kwargs", {}))

    forward.wrapped_by_kmem = True  # type: ignore[attr-defined]
    forward.managed_by_kmem = manages  # type: ignore[attr-defined]
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if own is not None:
            module.forward = own
