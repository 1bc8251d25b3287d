"""`with kmem.attach(model, bank) as memory:` — memories join the model's attention, and leave no trace afterwards."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kmem.encoder.bracket import bracket_of
from kmem.encoder.fingerprint import architecture_digest, display_name, identify, weights_digest
from kmem.encoder.hook import hooked, is_hooked, wrapped_forward
from kmem.errors import AttachError, ConfigError, WrongTypeError
from kmem.kstore.bank import Bank
from kmem.kstore.defaults import TOP_K
from kmem.memories import Memories, MemorySpec
from kmem.runtime.defaults import EVERY_TOKENS
from kmem.runtime.schedule import Span
from kmem.runtime.session import Session
from kmem.runtime.source import BankSource, FixedSource, Source


@contextmanager
def attach(
    model: PreTrainedModel,
    memories: Bank | Memories,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    top_k: int = TOP_K,
    every: int | None = EVERY_TOKENS,
    schedule: Sequence[Span] | None = None,
) -> Iterator[Session]:
    """Let `model` read a bank, or fixed Memories, inside the block; `model.generate` and plain forward calls both work.

    A bank is searched with the text of each prompt span of `every` tokens and after every `every` generated tokens; `every=None` retrieves
    once. Fixed Memories are all read by every token. `schedule`, from an earlier `memory.schedule`, replays what was read then.
    Tokens that were in a KV cache before attaching read nothing. With beam search, memories come from the prompt alone.

    Raises IdentityMismatchError when another model wrote the memories, UnsupportedModelError for a model that can't read any,
    AttachError when something is attached already, ConfigError on a bad option, WrongTypeError for what is no model or no memories.
    """
    _require_types(model, memories)
    if top_k < 1 or (every is not None and every < 1):
        raise ConfigError(f"top_k and every must be at least 1, not {top_k} and {every}.")
    if is_hooked(model):
        raise AttachError("This model already has memories attached; leave that block first, or attach both sets as one.")
    source = _source(memories, tokenizer, top_k)
    require_same_writer(model, tokenizer, source.spec)
    session = Session(model, source, every=None if isinstance(memories, Memories) else every, schedule=schedule)
    with hooked(model), wrapped_forward(model.get_decoder(), session.forward):
        refusing = model.register_forward_pre_hook(session.before_generation_step, with_kwargs=True)
        try:
            yield session
        finally:
            refusing.remove()
            session.close()


def _require_types(model: object, memories: object) -> None:
    if not hasattr(model, "get_decoder"):
        raise WrongTypeError(f"attach needs a transformers model (kmem.load_model), not {type(model).__name__}.")
    if not isinstance(memories, Bank | Memories):
        raise WrongTypeError(f"attach needs an open bank (kmem.open) or Memories, not {type(memories).__name__}.")


def _source(memories: Bank | Memories, tokenizer: PreTrainedTokenizerBase | None, top_k: int) -> Source:
    if isinstance(memories, Memories):
        return FixedSource(memories)
    if tokenizer is None:
        raise ConfigError("Attaching a bank needs the model's tokenizer, to turn tokens into search text; pass tokenizer=….")
    return BankSource(memories, tokenizer, top_k)


def require_same_writer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None, spec: MemorySpec) -> None:
    """Raise IdentityMismatchError unless this model wrote memories of this spec; without a tokenizer, its part is not compared."""
    if tokenizer is None:
        here = replace(spec.identity, architecture=architecture_digest(model), weights=weights_digest(model), model=display_name(model))
    else:
        here = identify(model, tokenizer, spec.profile, bracket_of(spec.profile, tokenizer))
    spec.identity.require_compatible(here)
