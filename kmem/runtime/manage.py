"""`with kmem.manage(model, policy) as managed:` — the model's KV cache keeps what a policy says, and afterwards the model is as before."""

from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Literal, get_args

from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from kmem.arguments import require_count
from kmem.encoder.anatomy import examine
from kmem.encoder.hook import hooked, is_managed, wrapped_forward
from kmem.errors import AttachError, ConfigError, UnknownNameError, UnsupportedModelError, WrongTypeError
from kmem.models.namm.scorer import Namm
from kmem.runtime.managed.manager import Manager
from kmem.runtime.managed.memories import AttachedMemories
from kmem.runtime.managed.rules import Rules
from kmem.runtime.policies import Policy, policy_of
from kmem.runtime.session import Session

SHARE = 0.5
"""Of attached memories, that stay once a prompt was read."""
Heads = Literal["own", "greediest"]


def manage(
    model: PreTrainedModel,
    policy: str | Path | Policy | Namm,
    budget: int | None = None,
    *,
    heads: Heads = "own",
    memories: Session | None = None,
    share: float = SHARE,
) -> "Management":
    """Let `policy` decide inside a `with` block which tokens the KV cache keeps, of `model.generate` and of plain forward calls.

    policy: a name (`full`, `recency`, `l2`, `h2o`, `namm`), the path of a NAMM's file, a NAMM, or an object with a policy's members.
    budget: the most tokens a key-value head of each layer keeps at a firing, up to the next of which others join them; policies that only
    rank tokens need one. heads: `own`, each head keeps its own count; `greediest`, all heads of a layer as many as the one that wants to
    keep most (the paper's code).
    The policy fires when a row of the batch has read a multiple of its `delay` tokens; padding counts for nothing, and in how many pieces
    a prompt is read changes nothing (but a last piece of one token counts as generated, and the prompt's end is protected one token
    before it). Keys stay at the positions they were read at, and positions go on counting every token. Layers with
    a sliding window, which bounds them already, are left alone.
    With `kmem.attach`, attach first: memories are beside the cache, and left alone unless `memories` is what that block yields. Then, of
    the memories that a prompt read, what is generated after it reads on the `share` (by count, at least one) that the policy scores
    highest; it has to be one that looks at attention (`namm`, `h2o`).

    Raises UnsupportedModelError for a model that can't be managed, ConfigError for a budget that is missing or too small, UnknownNameError
    and WrongTypeError for what is no policy, model or session; on entering the block, AttachError when a policy manages the model already.
    """
    if not hasattr(model, "get_decoder"):
        raise WrongTypeError(f"manage needs a transformers model (kmem.load_model), not {type(model).__name__}.")
    if heads not in get_args(Heads):
        raise UnknownNameError("heads", str(heads), get_args(Heads))
    anatomy = examine(model)
    chosen = policy_of(policy)
    if budget is not None:
        require_count(budget, "budget", least=chosen.protect)
    elif chosen.delay and not chosen.decides:
        raise ConfigError(f"The policy {policy!r:.40} ranks tokens and needs to know how many to keep: pass budget=….")
    _require_growing(model)
    rules = Rules(policy=chosen, layers=anatomy.layers, budget=budget, greediest=heads == "greediest")
    return Management(model, rules, None if memories is None else _attached(rules, memories, share))


class Management(AbstractContextManager[Manager]):
    """What `manage` gives: entering it begins, leaving it ends."""

    def __init__(self, model: PreTrainedModel, rules: Rules, attached: AttachedMemories | None) -> None:
        self._model, self._rules, self._attached = model, rules, attached
        self._held = ExitStack()

    def __enter__(self) -> Manager:
        decoder = self._model.get_decoder()
        if is_managed(decoder):
            raise AttachError("A policy manages this model's KV cache already; leave that block first.")
        manager = Manager(self._model, self._rules, self._attached)
        with ExitStack() as stack:
            stack.callback(manager.close)
            stack.enter_context(hooked(self._model))
            stack.enter_context(wrapped_forward(decoder, manager.forward, manages=True))
            self._held = stack.pop_all()
        return manager

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._held.__exit__(kind, error, trace)


def _attached(rules: Rules, memories: object, share: float) -> AttachedMemories:
    if not isinstance(memories, Session):
        raise WrongTypeError(f"memories= takes what `with kmem.attach(…) as memory` yields, not {type(memories).__name__}.")
    if not rules.policy.watch.width:
        raise ConfigError("Only policies that look at attention, namm and h2o, can tell which memories are read; leave memories= out.")
    if not 0 < share <= 1:
        raise ConfigError(f"share must lie between 0 and 1, not {share}.")
    return AttachedMemories(rules, memories, share)


def _require_growing(model: PreTrainedModel) -> None:
    """Raise UnsupportedModelError for a model whose cache holds something else than all keys and values of at least one layer."""
    name = type(model).__name__
    if not model._supports_default_dynamic_cache():
        raise UnsupportedModelError(f"{name} has a cache of its own, which bounds itself; policies manage caches of keys and values.")
    if not any(type(layer) is DynamicLayer for layer in DynamicCache(config=model.config).layers):
        raise UnsupportedModelError(f"All layers of {name} have a sliding window, which bounds their caches already.")
