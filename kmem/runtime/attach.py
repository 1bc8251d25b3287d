"""`with kmem.attach(model, bank) as memory:` — memories join the model's attention, and leave no trace afterwards."""

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial
from types import TracebackType

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kmem.encoder.anatomy import examine
from kmem.encoder.bracket import bracket_of
from kmem.encoder.fingerprint import adapter_of, architecture_digest, display_name, identify, weights_digest
from kmem.encoder.hook import hooked, is_managed, is_wrapped, wrapped_forward
from kmem.errors import AttachError, ConfigError, WrongTypeError
from kmem.kstore.bank import Bank
from kmem.kstore.defaults import TOP_K
from kmem.kstore.index.null import NULL
from kmem.memories import Memories, MemorySpec
from kmem.runtime.cold import ColdSource
from kmem.runtime.defaults import AHEAD, DEVICE_BYTES, EVERY_TOKENS, MODE, RAM_BYTES, RetrievalMode, require_reading, require_tiers
from kmem.runtime.inputs import end_tokens
from kmem.runtime.replay import require_schedule
from kmem.runtime.schedule import Cadence, Span
from kmem.runtime.searching import hidden_states_for
from kmem.runtime.session import Session
from kmem.runtime.source import BankSource, FixedSource, Source


def attach(
    model: PreTrainedModel,
    memories: Bank | Memories,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    top_k: int = TOP_K,
    every: int = EVERY_TOKENS,
    mode: RetrievalMode = MODE,
    schedule: Sequence[Span] | None = None,
    device_bytes: int = DEVICE_BYTES,
    ram_bytes: int = RAM_BYTES,
    ahead: int = AHEAD,
    allow_mismatch: bool = False,
) -> "Attachment":
    """Let `model` read a bank, or fixed Memories, inside a `with` block; `model.generate` and plain forward calls both work.

    A bank is searched with the text of each prompt chunk of `every` tokens and after every `every` generated tokens. In mode `paper` a
    prompt chunk reads what its own text finds, in `shifted` what the chunk before it finds (the first one nothing), so that no token sees
    what later text chose; `once` searches with the whole prompt and never again. Fixed Memories are all read by every token. `schedule`,
    from an earlier `memory.schedule`, replays what was read then. Tokens that were in a KV cache before attaching read nothing. With beam
    search, memories come from the prompt alone. A row of a batch that generated an end of text reads nothing more.
    What was read of a bank stays on the model's device within `device_bytes`, as stored where the kernel there decodes it (int8 and vq on a
    GPU with Triton), else as numbers of the model's type, and in RAM within `ram_bytes`, as stored; the least recently used goes first.
    The model's own attention dropout does not apply where memories are read, in training either.
    After each retrieval a thread of its own reads the next `ahead` memories nearest to the query into the same RAM. 0 switches each off,
    and no answer depends on them.
    A bank built without encoding gets each memory when it is first read: it is encoded by `model`, stored in the bank and read from there;
    where the bank can't be written it stays in that RAM instead, and is encoded again once it had to go.

    `allow_mismatch` reads what the same model wrote before its weights changed, as before it was given an adapter or with another one;
    how much worse, `kmem.bench.mismatch.readable` measures. Architecture, tokenizer, bracket, budget and selector must agree even then.

    Raises IdentityMismatchError when another model wrote the memories, UnsupportedModelError for a model that can't read any,
    ConfigError on a bad option or an impossible schedule, MemoryNotFoundError when it names a memory that is not here, WrongTypeError for
    what is no model or no memories, AttachError for a bank without meaning; on entering the block, AttachError when something is attached
    already.
    """
    require_reading(top_k, every, mode)
    require_tiers(device_bytes, ram_bytes, ahead)
    _require_types(model, memories, tokenizer)
    examine(model)
    source: Source
    if isinstance(memories, Memories):
        source = FixedSource(memories)
        cadence = Cadence(mode="once", every=every)
    else:
        if tokenizer is None:
            raise ConfigError("Attaching a bank needs the model's tokenizer, to turn tokens into search text; pass tokenizer=….")
        if memories.manifest.index.embedder.get("name") == NULL:
            raise AttachError(f"{memories.place} was built with --embedder {NULL} and finds nothing: build it with another one.")
        hidden = hidden_states_for(memories, model, tokenizer)
        source = BankSource(memories, tokenizer, top_k, ram_bytes=ram_bytes, ahead=ahead, hidden=hidden)
        if memories.manifest.on_demand and not (allow_mismatch and bool(memories.encoded(memories.ids.tolist()).all())):
            source = ColdSource(source, model, tokenizer)
        cadence = Cadence(mode=mode, every=every, ends=end_tokens(model, tokenizer))
    checked = partial(require_same_writer, model, tokenizer, source.spec, allow_mismatch=allow_mismatch)
    checked()
    if schedule is not None:
        schedule = require_schedule(schedule)
        source.require(list({memory_id for span in schedule for memory_id in span.ids}))
    begin = partial(Session, model, source, cadence=cadence, schedule=schedule, device_bytes=device_bytes)
    return Attachment(model, begin, checked)


class Attachment(AbstractContextManager[Session]):
    """What `attach` gives: entering it attaches, leaving it detaches. One that is never entered did nothing, and says so when it goes."""

    def __init__(self, model: PreTrainedModel, begin: Callable[[], Session], require_writer: Callable[[], None]) -> None:
        self._model, self._begin, self._require_writer = model, begin, require_writer
        self._used = False
        self._held = ExitStack()

    def __repr__(self) -> str:
        return "<kmem.attach(…): use it as `with kmem.attach(…) as memory:`>"

    def __getattr__(self, name: str) -> object:
        raise AttributeError(f"kmem.attach(…) has no {name!r} before it is entered: use it as `with kmem.attach(…) as memory:`.")

    def __enter__(self) -> Session:
        model = self._model
        if self._used:
            self._require_writer()  # its weights may have changed since the first time
        self._used = True
        if is_managed(model.get_decoder()):
            raise AttachError("A policy manages this model's KV cache: attach first, and enter kmem.manage inside that block.")
        if is_wrapped(model.get_decoder()):
            raise AttachError("This model already has memories attached; leave that block first, or attach both sets as one.")
        session = self._begin()
        with ExitStack() as stack:
            stack.callback(session.close)
            stack.enter_context(hooked(model))
            stack.enter_context(wrapped_forward(model.get_decoder(), session.forward))
            stack.callback(model.register_forward_pre_hook(session.before_generation_step, with_kwargs=True).remove)
            self._held = stack.pop_all()
        return session

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._held.__exit__(kind, error, trace)

    def __del__(self) -> None:
        if not self.__dict__.get("_used", True):
            warnings.warn("kmem.attach(…) was never entered, so nothing was attached: use it in a `with` statement.", stacklevel=2)


def _require_types(model: object, memories: object, tokenizer: object) -> None:
    if not hasattr(model, "get_decoder"):
        raise WrongTypeError(f"attach needs a transformers model (kmem.load_model), not {type(model).__name__}.")
    if not isinstance(memories, Bank | Memories):
        raise WrongTypeError(f"attach needs an open bank (kmem.open) or Memories, not {type(memories).__name__}.")
    if tokenizer is not None and not hasattr(tokenizer, "bos_token_id"):
        raise WrongTypeError(f"attach needs the model's tokenizer (kmem.load_model gives it), not {type(tokenizer).__name__}.")


def require_same_writer(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None, spec: MemorySpec, *, allow_mismatch: bool = False
) -> None:
    """Raise IdentityMismatchError unless this model wrote memories of this spec; without a tokenizer, its part is not compared.

    allow_mismatch: nor are weights and what was added to them.
    """
    if tokenizer is None:
        here = replace(
            spec.identity,
            architecture=architecture_digest(model),
            weights=weights_digest(model),
            adapter=adapter_of(model),
            model=display_name(model),
        )
    else:
        here = identify(model, tokenizer, spec.profile, bracket_of(spec.profile, tokenizer))
    if allow_mismatch:
        here = replace(here, weights=spec.identity.weights, adapter=spec.identity.adapter)
    spec.identity.require_compatible(here)
